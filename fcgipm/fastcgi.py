"""FastCGI 1.0 without I/O: bytes in, values out, and back.

The web server's side: `encode_request` makes the bytes of one request, `ResponseParser` is fed what comes back, in any
pieces.  The application's side: `RequestParser` is fed what the web server sends, `encode_stream` and `encode_end` make
the answer.  Nothing here reads a socket or a clock, and whatever arrives, the only exception is `FastCGIError`.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

_HEADER: Final = struct.Struct("!BBHHBx")  # version, kind, request id, content length, padding length
_BEGIN: Final = struct.Struct("!HB5x")  # role, flags
_END: Final = struct.Struct("!IB3x")  # application status, protocol status
_VERSION: Final = 1
_KEEP_CONN: Final = 1
_MAX_CONTENT: Final = 0xFFF8  # the largest content that needs no padding
_MAX_PARAMS: Final = 1 << 20
_MAX_HEAD: Final = 1 << 16
_LONG: Final = 1 << 31


class FastCGIError(ValueError):
    """What arrived is not FastCGI, not for us, or more than was allowed."""


class Refused(FastCGIError):
    """The application ended the request without serving it; `status` says why."""

    def __init__(self, status: ProtocolStatus) -> None:
        super().__init__(f"the application refused the request: {status.name.lower().replace('_', ' ')}")
        self.status = status


class Kind(enum.IntEnum):
    """Record types."""

    BEGIN_REQUEST = 1
    ABORT_REQUEST = 2
    END_REQUEST = 3
    PARAMS = 4
    STDIN = 5
    STDOUT = 6
    STDERR = 7
    DATA = 8
    GET_VALUES = 9
    GET_VALUES_RESULT = 10
    UNKNOWN_TYPE = 11


class Role(enum.IntEnum):
    """What the web server asks of an application."""

    RESPONDER = 1
    AUTHORIZER = 2
    FILTER = 3


class ProtocolStatus(enum.IntEnum):
    """How a request ended, apart from what the application says of itself."""

    REQUEST_COMPLETE = 0
    CANT_MPX_CONN = 1
    OVERLOADED = 2
    UNKNOWN_ROLE = 3


@dataclass(frozen=True, slots=True)
class Record:
    """One record without its padding.  `kind` is a plain number, since unknown ones may come."""

    kind: int
    request_id: int
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One complete request as the application gets it.  Texts are Latin-1, one character for a byte."""

    request_id: int
    role: int
    keep_conn: bool
    params: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One complete answer.  Names and values of `headers` are Latin-1, in the order in which they came."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    stderr: bytes
    app_status: int

    def header(self, name: str) -> str | None:
        """Return the value of the first header called *name*, whatever its case; None if there is none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


def encode_record(record: Record) -> bytes:
    """Return the bytes of *record*, padded to a multiple of 8.  Its content is at most 65,535 bytes long."""
    padding = -len(record.content) % 8
    head = _HEADER.pack(_VERSION, record.kind, record.request_id, len(record.content), padding)
    return head + record.content + bytes(padding)


def encode_stream(kind: Kind, request_id: int, data: bytes, *, end: bool = False) -> bytes:
    """Return *data* as records of a stream.  *end* adds the empty record that ends it."""
    pieces = [data[start : start + _MAX_CONTENT] for start in range(0, len(data), _MAX_CONTENT)]
    if end:
        pieces.append(b"")
    return b"".join(encode_record(Record(kind, request_id, piece)) for piece in pieces)


def encode_end(
    request_id: int, app_status: int = 0, protocol_status: ProtocolStatus = ProtocolStatus.REQUEST_COMPLETE
) -> bytes:
    """Return the record that ends a request.  *app_status* is what a CGI program would give to exit()."""
    return encode_record(Record(Kind.END_REQUEST, request_id, _END.pack(app_status, protocol_status)))


def encode_response(request_id: int, stdout: bytes, *, stderr: bytes = b"", app_status: int = 0) -> bytes:
    """Return a whole answer.  *stdout* is a CGI answer: header lines, an empty line, the body."""
    errors = encode_stream(Kind.STDERR, request_id, stderr, end=True) if stderr else b""
    return errors + encode_stream(Kind.STDOUT, request_id, stdout, end=True) + encode_end(request_id, app_status)


def encode_request(
    params: Mapping[str, str],
    body: bytes = b"",
    *,
    role: Role = Role.RESPONDER,
    keep_conn: bool = False,
    request_id: int = 1,
) -> bytes:
    """Return the bytes of one whole request.  Names and values of *params* are Latin-1, one character for a byte."""
    begin = _BEGIN.pack(role, _KEEP_CONN if keep_conn else 0)
    return (
        encode_record(Record(Kind.BEGIN_REQUEST, request_id, begin))
        + encode_stream(Kind.PARAMS, request_id, encode_pairs(params), end=True)
        + encode_stream(Kind.STDIN, request_id, body, end=True)
    )


def encode_pairs(pairs: Mapping[str, str]) -> bytes:
    """Return name-value pairs with their lengths in one byte (below 128) or four."""
    parts = []
    for name, value in pairs.items():
        raw = name.encode("latin-1"), value.encode("latin-1")
        parts += [_encode_length(len(raw[0])), _encode_length(len(raw[1])), *raw]
    return b"".join(parts)


def decode_pairs(data: bytes) -> dict[str, str]:
    """Return the name-value pairs in *data*; the last of equal names wins."""
    pairs: dict[str, str] = {}
    at = 0
    while at < len(data):
        name_length, at = _decode_length(data, at)
        value_length, at = _decode_length(data, at)
        middle, end = at + name_length, at + name_length + value_length
        if end > len(data):
            raise FastCGIError("a name-value pair is longer than its stream")
        pairs[data[at:middle].decode("latin-1")] = data[middle:end].decode("latin-1")
        at = end
    return pairs


def _encode_length(length: int) -> bytes:
    return bytes((length,)) if length < 128 else struct.pack("!I", length | _LONG)


def _decode_length(data: bytes, at: int) -> tuple[int, int]:
    if at < len(data) and data[at] < 128:
        return data[at], at + 1
    if at + 4 > len(data):
        raise FastCGIError("a name-value pair ends within its length")
    return int.from_bytes(data[at : at + 4], "big") & ~_LONG, at + 4


class RecordReader:
    """Cuts a stream of bytes into records.  Holds at most one incomplete record: 64 KiB."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> bool:
        """Whether the beginning of a record waits for its rest."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[Record]:
        """Take *data*, then yield each record that is complete."""
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            version, kind, request_id, length, padding = _HEADER.unpack_from(self._buffer)
            if version != _VERSION:
                raise FastCGIError(f"not FastCGI: a record of version {version}")
            size = _HEADER.size + length
            if len(self._buffer) < size + padding:
                return
            content = bytes(self._buffer[_HEADER.size : size])
            del self._buffer[: size + padding]
            yield Record(kind, request_id, content)


class ResponseParser:
    """Reads the answer to one request.  *limit* bounds standard output and standard error, together, in bytes."""

    def __init__(self, request_id: int = 1, *, limit: int = 16 << 20) -> None:
        self._id = request_id
        self._limit = limit
        self._reader = RecordReader()
        self._stdout = bytearray()
        self._stderr = bytearray()
        self._response: Response | None = None

    def feed(self, data: bytes) -> Response | None:
        """Take *data*; return the answer if it is complete now, else None.

        Raises `Refused` if the application would not serve the request, `FastCGIError` for all else that is wrong.
        """
        for record in self._reader.feed(data):
            self._take(record)
        if self._response is not None and self._reader.pending:
            raise FastCGIError("something follows the end of the answer")
        return self._response

    def close(self) -> Response:
        """Say that the connection has ended; return the answer.  Raises `FastCGIError` if it is incomplete."""
        if self._response is None and self._stdout:
            raise FastCGIError(
                f"the application closed the connection within an answer, after {len(self._stdout)} bytes"
            )
        if self._response is None:
            raise FastCGIError("the application closed the connection without an answer")
        return self._response

    def _take(self, record: Record) -> None:
        if record.request_id == 0:
            return  # about the connection, not about a request: nothing was asked
        if record.request_id != self._id:
            raise FastCGIError(f"an answer to request {record.request_id}, which was not sent")
        if self._response is not None:
            raise FastCGIError("something follows the end of the answer")
        if record.kind == Kind.STDOUT:
            self._append(self._stdout, record.content)
        elif record.kind == Kind.STDERR:
            self._append(self._stderr, record.content)
        elif record.kind == Kind.END_REQUEST:
            self._end(record.content)

    def _append(self, stream: bytearray, content: bytes) -> None:
        if len(self._stdout) + len(self._stderr) + len(content) > self._limit:
            raise FastCGIError(f"the answer is longer than {self._limit} bytes")
        stream += content

    def _end(self, content: bytes) -> None:
        if len(content) != _END.size:
            raise FastCGIError(f"an END_REQUEST of {len(content)} bytes instead of {_END.size}")
        app_status, protocol_status = _END.unpack(content)
        if protocol_status not in set(ProtocolStatus):
            raise FastCGIError(f"unknown protocol status {protocol_status}")
        if protocol_status != ProtocolStatus.REQUEST_COMPLETE:
            raise Refused(ProtocolStatus(protocol_status))
        status, reason, headers, body = parse_cgi(bytes(self._stdout))
        self._response = Response(
            status=status, reason=reason, headers=headers, body=body, stderr=bytes(self._stderr), app_status=app_status
        )


def parse_cgi(data: bytes) -> tuple[int, str, tuple[tuple[str, str], ...], bytes]:
    """Return (status, reason, headers, body) of the CGI answer in *data*.

    The status comes from a ``Status`` header, which is not in *headers* then, or from a first line ``HTTP/1.x`` as
    nph programs write it; else it is 302 beside a ``Location``, else 200.
    """
    lines, body = _split_head(data)
    status, reason = None, ""
    if lines and lines[0].startswith("HTTP/"):
        status, reason = _status(lines.pop(0).partition(" ")[2])
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise FastCGIError(f"not a header line: {line[:80]!r}")
        if name.lower() == "status":
            status, reason = _status(value)
        else:
            headers.append((name, value.strip()))
    if status is None:
        status = 302 if any(name.lower() == "location" for name, _ in headers) else 200
    return status, reason, tuple(headers), body


def _split_head(data: bytes) -> tuple[list[str], bytes]:
    """Return the header lines and what follows the empty line.  Lines end with LF, or CR LF."""
    lines: list[str] = []
    at = 0
    while (end := data.find(b"\n", at, _MAX_HEAD)) >= 0:
        line = data[at:end].removesuffix(b"\r").decode("latin-1")
        at = end + 1
        if not line:
            return lines, data[at:]
        lines.append(line)
    if not data:
        raise FastCGIError("the answer is empty")
    raise FastCGIError(f"no empty line after the headers within the first {min(len(data), _MAX_HEAD)} bytes")


def _status(text: str) -> tuple[int, str]:
    number, _, reason = text.strip().partition(" ")
    if not (len(number) == 3 and number.isascii() and number.isdigit() and 100 <= int(number) <= 599):
        raise FastCGIError(f"not a status: {text.strip()[:80]!r}")
    return int(number), reason.strip()


@dataclass(slots=True)
class _Incoming:
    """The request that is being received."""

    request_id: int
    role: int
    keep_conn: bool
    params: bytearray = field(default_factory=bytearray)
    params_done: bool = False
    body: bytearray = field(default_factory=bytearray)


class RequestParser:
    """Reads the requests that come over one connection, one at a time; *limit* bounds a request's body, in bytes.

    A request is complete at the end of its body, one to an authorizer at the end of its parameters.
    What must be answered without an application's help is collected in `replies`: questions about the connection,
    unknown records, requests beside the one under way, roles that do not exist.
    """

    def __init__(self, *, limit: int = 16 << 20) -> None:
        self._limit = limit
        self._reader = RecordReader()
        self._current: _Incoming | None = None
        self._replies: list[bytes] = []

    def feed(self, data: bytes) -> list[Request]:
        """Take *data*; return the requests that are complete now.  Raises `FastCGIError`."""
        requests = [self._take(record) for record in self._reader.feed(data)]
        return [request for request in requests if request is not None]

    def replies(self) -> bytes:
        """Return, once, what has to be sent back to the web server."""
        replies, self._replies = b"".join(self._replies), []
        return replies

    def _take(self, record: Record) -> Request | None:
        if record.request_id == 0:
            self._manage(record)
        elif record.kind == Kind.BEGIN_REQUEST:
            self._begin(record)
        elif self._current is None or record.request_id != self._current.request_id:
            pass  # the rest of a request that was refused or given up: to be ignored
        elif record.kind == Kind.ABORT_REQUEST:
            self._replies.append(encode_end(record.request_id))
            self._current = None
        elif record.kind == Kind.PARAMS:
            return self._take_params(self._current, record.content)
        elif record.kind == Kind.STDIN:
            return self._take_body(self._current, record.content)
        return None

    def _begin(self, record: Record) -> None:
        if len(record.content) != _BEGIN.size:
            raise FastCGIError(f"a BEGIN_REQUEST of {len(record.content)} bytes instead of {_BEGIN.size}")
        role, flags = _BEGIN.unpack(record.content)
        if self._current is not None:
            self._replies.append(encode_end(record.request_id, 0, ProtocolStatus.CANT_MPX_CONN))
        elif role not in set(Role):
            self._replies.append(encode_end(record.request_id, 0, ProtocolStatus.UNKNOWN_ROLE))
        else:
            self._current = _Incoming(record.request_id, role, bool(flags & _KEEP_CONN))

    def _take_params(self, current: _Incoming, content: bytes) -> Request | None:
        if current.params_done:
            raise FastCGIError("parameters after their end")
        current.params_done = not content
        current.params += content
        if len(current.params) > _MAX_PARAMS:
            raise FastCGIError(f"the parameters are longer than {_MAX_PARAMS} bytes")
        # An authorizer is sent no body, and by lighttpd not even the end of one.
        return self._complete(current) if current.params_done and current.role == Role.AUTHORIZER else None

    def _take_body(self, current: _Incoming, content: bytes) -> Request | None:
        if not current.params_done:
            raise FastCGIError("a body before the end of the parameters")
        current.body += content
        if len(current.body) > self._limit:
            raise FastCGIError(f"the body is longer than {self._limit} bytes")
        return None if content else self._complete(current)

    def _complete(self, current: _Incoming) -> Request:
        self._current = None
        return Request(
            request_id=current.request_id,
            role=current.role,
            keep_conn=current.keep_conn,
            params=decode_pairs(bytes(current.params)),
            body=bytes(current.body),
        )

    def _manage(self, record: Record) -> None:
        if record.kind == Kind.GET_VALUES:
            known = {"FCGI_MAX_CONNS": "1", "FCGI_MAX_REQS": "1", "FCGI_MPXS_CONNS": "0"}
            asked = {name: known[name] for name in decode_pairs(record.content) if name in known}
            self._replies.append(encode_record(Record(Kind.GET_VALUES_RESULT, 0, encode_pairs(asked))))
        else:
            unknown = bytes((record.kind,)) + bytes(7)
            self._replies.append(encode_record(Record(Kind.UNKNOWN_TYPE, 0, unknown)))
