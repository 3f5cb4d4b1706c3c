"""Log lines: what is known of one, how it is written, how a stream of bytes becomes lines."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

MAX_LINE: Final = 8 * 1024
"""Bytes of one line of an application; longer ones are split."""

_CONTROL: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: *time* is seconds since 1970, *app* and *pid* whom it is about, None for the daemon itself."""

    time: float
    level: str
    text: str
    app: str | None = None
    pid: int | None = None


def wall_clock() -> float:
    """Return the time for people, in seconds since 1970; never for a decision."""
    return datetime.now(UTC).timestamp()


def escaped(text: str) -> str:
    r"""Return *text* with every control character but the tab written as ``\x1b`` or ``\u2028``."""
    return _CONTROL.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def timestamp(seconds: float) -> str:
    """Return local time as RFC 3339 writes it, with milliseconds: ``2026-01-31T12:00:00.123+01:00``."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(timespec="milliseconds")


def label(entry: Entry) -> str:
    """Return whom the line is about: ``blog[4711]: ``."""
    if entry.app is None:
        return ""
    return f"{entry.app}: " if entry.pid is None else f"{entry.app}[{entry.pid}]: "


def format_line(entry: Entry, form: str) -> str:
    """Return *entry* as one line without its line feed; *form* is ``text`` or ``json``."""
    if form == "json":
        fields = {"time": timestamp(entry.time), "level": entry.level, "app": entry.app, "pid": entry.pid}
        known = {name: value for name, value in fields.items() if value is not None}
        # ASCII only: json escapes every control character itself, and lone surrogates do no harm.
        return json.dumps({**known, "text": entry.text})
    return f"{timestamp(entry.time)} {entry.level} {label(entry)}{escaped(entry.text)}"


class LineSplitter:
    r"""Cut a stream of bytes into lines of at most *limit* bytes; what is not UTF-8 is written as ``\xff``."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that are complete now, without their ends."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        pieces = [piece for line in lines for piece in self._pieces(line.removesuffix(b"\r"))]
        while len(self._rest) > self._limit:
            head, self._rest = self._cut(self._rest)
            pieces.append(head)
        return [piece.decode(errors="backslashreplace") for piece in pieces]

    def end(self) -> list[str]:
        """Return the last line if it had no end."""
        rest, self._rest = self._rest, b""
        return [piece.decode(errors="backslashreplace") for piece in self._pieces(rest)] if rest else []

    def _pieces(self, line: bytes) -> list[bytes]:
        pieces = []
        while len(line) > self._limit:
            head, line = self._cut(line)
            pieces.append(head)
        return [*pieces, line]

    def _cut(self, line: bytes) -> tuple[bytes, bytes]:
        """Cut *line* at the limit, or up to three bytes before so that no character is cut in two."""
        at = self._limit
        while at > max(self._limit - 3, 1) and line[at] & 0xC0 == 0x80:
            at -= 1
        return line[:at], line[at:]
