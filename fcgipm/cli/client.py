"""The client's side of the control socket: HTTP/1.1 over a Unix socket, one request a connection.

http.client would cost 15 ms to import (the email package, ssl), a third of what a whole `fcgipmctl status` takes;
what is needed of it is in this file.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import quote

from fcgipm.verbs import ExitCode

MAX_HEAD: Final = 64 * 1024
MAX_LINE: Final = 1024 * 1024
"""Bytes of one line of a stream; what is longer did not come from fcgipm."""
MAX_BODY: Final = 256 * 1024 * 1024
_PIECE: Final = 64 * 1024
_SECOND_LOOK: Final = 5.0
"""Seconds, at most, until the next manager has told what kind of socket this is."""


class ClientError(Exception):
    """The request could not be made or its answer not be had; *code* is the exit code for it."""

    def __init__(self, text: str, code: ExitCode) -> None:
        super().__init__(text)
        self.code = code


class Lost(ClientError):
    """The connection ended before the answer was complete: the manager that was to give it has ended.

    If *mute*, not a byte came, and then whoever is there may be no fcgipm at all, such as an application.
    """

    def __init__(self, text: str, *, mute: bool) -> None:
        super().__init__(text, ExitCode.FAILED)
        self.mute = mute


class _Source:
    """What comes from the socket, by lines and by counts."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._data = bytearray()
        self.mute = True
        """Whether nothing came at all."""

    def _fill(self) -> bool:
        piece = self._sock.recv(_PIECE)
        self._data += piece
        self.mute = self.mute and not piece
        return bool(piece)

    def line(self, limit: int) -> bytes:
        """Return the next line without its end; raise `EOFError` where it is cut off, ValueError above *limit*."""
        start = 0
        while (end := self._data.find(b"\n", start)) < 0:
            start = len(self._data)
            if start > limit:
                raise ValueError("a line is too long")
            if not self._fill():
                raise EOFError
        text = bytes(self._data[:end])
        del self._data[: end + 1]
        return text.rstrip(b"\r")

    def begins_like(self, text: bytes) -> bool:
        """Return whether what came, and was not taken yet, is the beginning of *text*, or *text* that of it."""
        return self._data[: len(text)] == text[: len(self._data)]

    def some(self, most: int) -> bytes:
        """Return what there is, at least one byte, at most *most*; empty only at the end."""
        if not self._data and not self._fill():
            return b""
        piece = bytes(self._data[:most])
        del self._data[:most]
        return piece


@dataclass(slots=True)
class Answer:
    """The head of an answer; the body is read once, whole or piece by piece."""

    status: int
    headers: Mapping[str, str]
    _source: _Source = field(repr=False)

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it comes; raise `EOFError` where it ends too early."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunks()
        elif "content-length" in self.headers:
            yield from self._counted(int(self.headers["content-length"]))
        else:
            while piece := self._source.some(_PIECE):
                yield piece

    def _counted(self, left: int) -> Iterator[bytes]:
        while left > 0:
            piece = self._source.some(left)
            if not piece:
                raise EOFError
            left -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._source.line(1024).partition(b";")[0], 16):
            yield from self._counted(size)
            self._source.line(2)
        while self._source.line(MAX_HEAD):  # trailers
            pass

    def body(self) -> bytes:
        """Return the whole body."""
        whole = bytearray()
        for piece in self.pieces():
            whole += piece
            if len(whole) > MAX_BODY:
                raise ValueError("the answer is too long")
        return bytes(whole)

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the body as they come, without their ends."""
        rest = b""
        for piece in self.pieces():
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines
            if len(rest) > MAX_LINE:
                raise ValueError("a line is too long")
        if rest:
            yield rest


class Client:
    """Talks to the daemon behind the control socket at *path*, waiting at most *timeout* seconds for each step.

    Its connections are closed at the end of the ``with`` block that it is used in.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.timeout = timeout
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def get(self, verb: str, query: list[tuple[str, str]] | None = None, *, endless: bool = False) -> Answer:
        """Ask for *verb*; *endless*: the body may take any time, as it follows what happens."""
        pairs = "&".join(f"{name}={quote(value, safe='', errors='surrogateescape')}" for name, value in query or ())
        return self._ask("GET", f"/v1/{verb}" + (f"?{pairs}" if pairs else ""), b"", endless=endless)

    def get_path(self, path: str) -> Answer:
        """Ask for *path*, which is none of a verb."""
        return self._ask("GET", path, b"", endless=False)

    def post(self, verb: str, body: Mapping[str, Any]) -> Answer:
        """Send *body* to *verb*."""
        return self._ask("POST", f"/v1/{verb}", json.dumps(body).encode(), endless=False)

    def document(self, answer: Answer) -> dict[str, Any]:
        """Return the JSON object that *answer* holds."""
        found = self.item(self.body(answer))
        if "version" not in found:
            raise self._stranger("it has no version")
        return found

    def body(self, answer: Answer) -> bytes:
        """Return the whole body of *answer*."""
        whole: bytes = self._guarded(answer.body)
        return whole

    def item(self, data: bytes) -> dict[str, Any]:
        """Return the JSON object that *data* is."""
        try:
            found = json.loads(data)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._stranger("no JSON object")
        return found

    def lines(self, answer: Answer) -> Iterator[bytes]:
        """Yield the lines of *answer* as they come, until its end or the daemon's."""
        stream = answer.lines()
        while (line := self._guarded(lambda: next(stream, None))) is not None:
            yield line

    def is_there(self) -> bool:
        """Return whether anybody listens at the socket."""
        try:
            self._connect().close()
        except ClientError:
            return False
        return True

    def check_fcgipm(self, lost: Lost, within: float) -> None:
        """Raise `ClientError` if it was no fcgipm that *lost* tells of: what is mute a second time is none.

        It asks something small, which the next manager answers as soon as it is there.  Where no answer comes within
        some seconds, *within* at most, or nobody listens any more, it is taken for an fcgipm that is in trouble.
        """
        if not lost.mute:
            return
        with Client(self.path, min(within, _SECOND_LOOK)) as second:
            try:
                second.document(second.get(""))  # nothing is there, and that is an answer
            except Lost as again:
                if again.mute and self.is_there():
                    text = f"no fcgipm answers at {self.path}: it closes connections without a word"
                    raise ClientError(f"{text}; {_WHICH}", ExitCode.NO_DAEMON) from None
            except ClientError as error:
                if error.code is not ExitCode.TIMED_OUT and self.is_there():
                    raise

    def _ask(self, method: str, target: str, body: bytes, *, endless: bool) -> Answer:
        head = f"{method} {target} HTTP/1.1\r\nHost: fcgipm\r\nConnection: close\r\n"
        if method == "POST":
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        sock = self._open.enter_context(self._connect())
        source = _Source(sock)
        try:
            answer: Answer = self._guarded(lambda: _exchange(sock, source, f"{head}\r\n".encode() + body))
        except Lost as lost:
            lost.mute = source.mute
            raise
        if endless:
            _set_timeout(sock, 0)
        return answer

    def _connect(self) -> socket.socket:
        """Connect, blocking: a non-blocking connect to a Unix socket with a full queue fails at once."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _set_timeout(sock, self.timeout)
            sock.connect(self.path)
        except BlockingIOError:
            sock.close()
            raise self._timed_out() from None
        except OSError as error:
            sock.close()
            reason = _reason(error, self.path)
            raise ClientError(f"cannot reach fcgipm at {self.path}: {reason}", ExitCode.NO_DAEMON) from None
        return sock

    def _guarded(self, step: Any) -> Any:
        """Do *step*, giving what can go wrong on the way its words and exit code."""
        try:
            return step()
        except BlockingIOError:
            raise self._timed_out() from None
        except (EOFError, ConnectionError):
            text = f"fcgipm at {self.path} closed the connection before its answer was complete"
            raise Lost(text, mute=False) from None
        except ValueError as error:
            raise self._stranger(str(error)) from None

    def _stranger(self, why: str) -> ClientError:
        return ClientError(f"cannot understand the answer of {self.path}: {why}; {_WHICH}", ExitCode.NO_DAEMON)

    def _timed_out(self) -> ClientError:
        return ClientError(f"no answer from fcgipm at {self.path} within {self.timeout:g} s", ExitCode.TIMED_OUT)


_WHICH: Final = "is it the control.sock of fcgipm?"


def _exchange(sock: socket.socket, source: _Source, request: bytes) -> Answer:
    with contextlib.suppress(BrokenPipeError):  # refused before it was read whole: the answer says why
        sock.sendall(request, socket.MSG_NOSIGNAL)
    try:
        first = source.line(MAX_HEAD)
    except EOFError:
        if source.begins_like(b"HTTP/1."):
            raise
        first = b""
    version, status = [*first.split(b" ", 2), b""][:2]
    if not version.startswith(b"HTTP/1.") or not status.isdigit():
        raise ValueError("this is not HTTP")
    headers: dict[str, str] = {}
    while line := source.line(MAX_HEAD):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return Answer(int(status), headers, source)


def _set_timeout(sock: socket.socket, seconds: float) -> None:
    """Bound every wait for *sock* in the kernel; 0 is for ever."""
    value = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)


def _reason(error: OSError, path: str) -> str:
    match error:
        case FileNotFoundError():
            return "no such file; is it running?"
        case ConnectionRefusedError() if not _is_socket(path):
            return "it is no socket"
        case ConnectionRefusedError():
            return "nobody listens there any more; is it running?"
        case PermissionError():
            return "permission denied"
        case _:
            return (error.strerror or str(error)).lower()


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return True  # gone or hidden meanwhile: nothing is known against it
