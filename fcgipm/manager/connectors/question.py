"""A connector's questions, read from HTTP without any I/O, and its answers as HTTP.

The grammar is httptools' affair, and it is strict; what of HTTP has no meaning here is refused, and ends the
connection: bodies, queries, a request that begins before the last one was answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import httptools

from fcgipm.logline import escaped
from fcgipm.manager.connectors.answer import Answer, Ending

MAX_HEAD: Final = 32 * 1024
"""Bytes of a request: room for the longest path, and for what nginx adds of a visitor's where nobody told it not to."""
PATH: Final = b"/v1/ensure"
_APP: Final = b"x-fcgipm-app"
_SCRIPT: Final = b"x-fcgipm-path"
_VERSIONS: Final = {"1.0", "1.1"}
_LONGEST_REASON: Final = 500

_REASONS: Final = {
    200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip
_STATUSES: Final = {
    Ending.READY: 200,
    Ending.REFUSED: 503,
    Ending.BUSY: 503,
    Ending.LATE: 503,
    Ending.UNKNOWN: 404,
    Ending.FORBIDDEN: 403,
}


class BadRequest(Exception):
    """What came is no question; *status* is that of the answer, after which the connection is closed."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Question:
    """Somebody wants *target*: an application's name, or the absolute path of a script, as `os.fsdecode` has it."""

    target: str
    keep: bool
    """Whether the connection stays for another question."""


class Reader:
    """Reads the questions of one connection, one at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._size = 0
        self._forget()

    @property
    def idle(self) -> bool:
        """Whether nothing of a question has come yet."""
        return self._size == 0

    def feed(self, data: bytes) -> Question | None:
        """Take *data*; return the question if it is complete, and raise `BadRequest` if it is none."""
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None
        except httptools.HttpParserError as error:
            raise BadRequest(f"this is no HTTP request: {error}") from None
        except httptools.HttpParserUpgrade:
            raise BadRequest("there is nothing to upgrade to") from None
        if self._size > MAX_HEAD:
            raise BadRequest(f"a request has at most {MAX_HEAD} bytes", 431)
        question = self._question
        if question is not None:
            self._size = 0
            self._forget()
        return question

    def _forget(self) -> None:
        self._url = b""
        self._given: dict[bytes, bytes] = {}
        self._question: Question | None = None

    def _target(self) -> str:
        app, script = self._given.get(_APP), self._given.get(_SCRIPT)
        if (app is None) == (script is None):
            raise BadRequest("exactly one of X-Fcgipm-App and X-Fcgipm-Path says what is wanted")
        if app is not None:
            if not app or app.startswith(b"/"):
                raise BadRequest("X-Fcgipm-App is the name of an application")
            return app.decode("utf-8", "surrogateescape")
        assert script is not None
        if not script.startswith(b"/"):
            raise BadRequest("X-Fcgipm-Path is the absolute path of a script")
        return script.decode("utf-8", "surrogateescape")

    # ── what the parser calls ────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        """Take it that a request begins."""
        if self._question is not None:
            raise BadRequest("a request came before the last one was answered")

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        name = name.lower()
        if name in (_APP, _SCRIPT):
            if name in self._given:
                raise BadRequest(f"{name.decode()} is there twice")
            self._given[name] = value.strip(b" \t")
        elif name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0")):
            raise BadRequest("a request has no body here")

    def on_headers_complete(self) -> None:
        """Take it that all headers have come."""
        version, method = self._parser.get_http_version(), self._parser.get_method()
        if version not in _VERSIONS:
            raise BadRequest(f"HTTP/{version} is not spoken here")
        if method != b"GET":
            raise BadRequest(f"{method.decode()} is not done here, only GET", 405)
        if self._url != PATH:
            query = b"?" in self._url
            text = "a query is not looked at: name what is wanted in a header" if query else "nothing is here"
            raise BadRequest(f"{text}; ask for {PATH.decode()}", 400 if query else 404)

    def on_body(self, body: bytes) -> None:  # noqa: ARG002
        """Refuse a body, although none was announced."""
        raise BadRequest("a request has no body here")

    def on_message_complete(self) -> None:
        """Take it that the request is complete."""
        self._question = Question(self._target(), self._parser.should_keep_alive())


def encode(answer: Answer, *, keep: bool) -> bytes:
    """Return *answer* as HTTP; without *keep* it says that the connection ends."""
    status = _STATUSES[answer.ending]
    if status == 200:
        lines = f"X-Fcgipm-Address: {answer.address}\r\nX-Fcgipm-App: {answer.app}\r\n"
        return _encode(status, lines, b"", keep=keep)
    reason = answer.reason
    if answer.ending is Ending.FORBIDDEN:
        reason = "this script may not be run; the log of fcgipm says why"
    reason = escaped(reason)[:_LONGEST_REASON]
    lines = f"X-Fcgipm-Reason: {reason}\r\n"
    if answer.retry_after is not None:
        lines += f"Retry-After: {answer.retry_after}\r\n"
    return _encode(status, lines, f"{reason}\n".encode("utf-8", "backslashreplace"), keep=keep)


def refuse(status: int, text: str, *, retry_after: int | None = None) -> bytes:
    """Return an answer that says *text* and ends the connection."""
    lines = "" if retry_after is None else f"Retry-After: {retry_after}\r\n"
    if status == 405:
        lines += "Allow: GET\r\n"
    return _encode(status, lines, f"{escaped(text)}\n".encode("utf-8", "backslashreplace"), keep=False)


def _encode(status: int, lines: str, body: bytes, *, keep: bool) -> bytes:
    kind = "Content-Type: text/plain; charset=utf-8\r\n" if body else ""
    end = f"Connection: {'keep-alive' if keep else 'close'}\r\n"
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\n{lines}{kind}Content-Length: {len(body)}\r\n{end}\r\n"
    return head.encode("utf-8", "surrogateescape") + body
