"""Reports: what a connector tells of one finished request, as a line of text that fits into a web server's log format.

``v1|STATUS|CONNECT|HEADER|RESPONSE|TARGET``, sent as a datagram to report.sock, with or without the head that syslog
puts before it.  STATUS is what the visitor got.  The times run from the beginning of the connect: until the connection
stood, until the answer's head was there, until its end.  They are seconds such as ``0.012``, or ``12ms``, ``12000us``;
of a list, as nginx has it where it tried several times, the last one counts.  ``-`` means that it did not come to
that, and no connect time at all that the application was not reached; an empty field is not known.  TARGET is the
name of an application, or the absolute path of a dynamic one's script, which a PATH_INFO may follow; in it, backslashes
begin what nginx, lighttpd and Apache write in place of a byte.

``v1|lost|COUNT`` says that so many reports could not be sent, for want of room or of a daemon.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_DATAGRAM: Final = 40 * 1024
"""Bytes of a report: the longest path that nginx takes (8 KiB), each byte written as four, and room for the rest."""
LONGEST: Final = 86_400.0
"""Seconds that a request may have taken; what claims more is a mistake, such as a clock that was set."""

NGINX: Final = "v1|$status|$upstream_connect_time|$upstream_header_time|$upstream_response_time|"
"""What begins a ``log_format`` of nginx; the target follows, as text or as a variable."""
APACHE: Final = "v1|%>s|||%Dus|"
"""What begins a ``LogFormat`` of Apache; the target follows."""
LIGHTTPD: Final = "v1|%s|||%Dus|"
"""What begins an ``accesslog.format`` of lighttpd; the target follows."""

_VERSION: Final = b"v1"
_LOST: Final = re.compile(rb"v1\|lost\|([0-9]{1,9})")
_MOST_LOST: Final = 999_999_999
_STATUSES: Final = {str(status).encode(): status for status in range(100, 600)}
_TIME: Final = re.compile(rb"([0-9]{1,15}(?:\.[0-9]{1,9})?)(us|ms)?")
_UNITS: Final = {None: 1.0, b"ms": 1e-3, b"us": 1e-6}
_LAST: Final = re.compile(rb".*[,:]", re.DOTALL)
_SYSLOG: Final = re.compile(rb"<[0-9]{1,3}>[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} (?:[^ :|]{1,255} )?[^ :|]{1,255}: ")
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.?))")
_SHORT: Final = {
    b'"': b'"', b"\\": b"\\", b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v", b"f": b"\f",
}  # fmt: skip
_UNPRINTABLE: Final = re.compile(rb"[^ -~]")
_ESCAPED: Final = re.compile(rb"[^ !#-\[\]-~]")

REASONS: Final = ("length", "version", "format", "status", "time", "encoding")
"""Why a report may be none; the words of a counter."""


class Malformed(ValueError):
    """What arrived is no report; *reason* is one of `REASONS`."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One finished request.  Times are seconds from the beginning of the connect; None is not known."""

    target: str
    """An application's name, or the absolute path of a script; what is no UTF-8 in it is as `os.fsdecode` has it."""
    status: int
    """What the visitor got, 100 to 599."""
    connect: float | None = None
    header: float | None = None
    response: float | None = None
    reached: bool = True
    """Whether a connection to the application came about, as far as is known."""


@dataclass(frozen=True, slots=True)
class Lost:
    """So many reports could not be sent before."""

    count: int


def parse(line: bytes) -> Report | Lost:
    """Return what *line* says, without its end and without syslog's head; raise `Malformed`, a ValueError."""
    if len(line) > MAX_DATAGRAM:
        raise Malformed("length", f"{len(line)} bytes; a report has at most {MAX_DATAGRAM}")
    if _UNPRINTABLE.search(line):
        raise Malformed("encoding", "there are bytes in it that must be escaped")
    fields = line.split(b"|", 5)
    if fields[0] != _VERSION:
        raise Malformed("version", f"it does not begin with {_VERSION.decode()}|")
    if len(fields) == 3 and (lost := _LOST.fullmatch(line)) is not None:
        return Lost(int(lost[1]))
    if len(fields) != 6 or not fields[5]:
        raise Malformed("format", "there are less than six fields")
    _, status, connect, header, response, target = fields
    number = _STATUSES.get(status)
    if number is None:
        raise Malformed("status", f"{_shown(status)} is no status")
    return Report(
        target=unescape(target).decode("utf-8", "surrogateescape") if b"\\" in target else target.decode(),
        status=number,
        connect=_seconds(connect),
        header=_seconds(header),
        response=_seconds(response),
        reached=not connect.endswith(b"-"),
    )


def encode(report: Report | Lost) -> bytes:
    """Return *report* as a line, without an end: a datagram as it stands."""
    if isinstance(report, Lost):
        return b"%s|lost|%d" % (_VERSION, min(report.count, _MOST_LOST))
    target = _ESCAPED.sub(lambda found: b"\\x%02X" % ord(found[0]), report.target.encode("utf-8", "surrogateescape"))
    connect = _written(report.connect) if report.reached else b"-"
    times = b"|".join((connect, _written(report.header), _written(report.response)))
    return b"%s|%d|%s|%s" % (_VERSION, report.status, times, target)


def without_syslog(datagram: bytes) -> bytes:
    """Return *datagram* without what syslog puts before a message, and without the end of a line."""
    if datagram.startswith(b"<"):
        head = _SYSLOG.match(datagram)
        if head is not None:
            datagram = datagram[head.end() :]
    return datagram.removesuffix(b"\n")


def unescape(text: bytes) -> bytes:
    r"""Return *text* with the bytes that ``\xHH`` and the short forms (``\"``, ``\n`` …) stand for.

    Raises `Malformed` for other backslashes: no web server writes them.
    """
    return _ESCAPE.sub(_meant, text)


def _meant(found: re.Match[bytes]) -> bytes:
    if found[1] is not None:
        return bytes((int(found[1], 16),))
    byte = _SHORT.get(found[2])
    if byte is None:
        raise Malformed("encoding", f"{_shown(found[0])} stands for nothing")
    return byte


def _seconds(field: bytes) -> float | None:
    """Return the last of the times in *field*, None where it is not known or it did not come to that."""
    if b"," in field or b":" in field:
        field = _LAST.sub(b"", field).strip(b" ")
    if field in (b"", b"-"):
        return None
    found = _TIME.fullmatch(field)
    seconds = -1.0 if found is None else float(found[1]) * _UNITS[found[2]]
    if not 0 <= seconds <= LONGEST:
        raise Malformed("time", f"{_shown(field)} is no time of a request")
    return seconds


def _written(seconds: float | None) -> bytes:
    return b"" if seconds is None else b"%.6f" % seconds


def _shown(field: bytes) -> str:
    return repr(field[:40].decode("latin-1"))
