"""How much an application may write: a token bucket, so that a flood costs nobody else anything."""

from __future__ import annotations

from typing import Final

LINES_PER_SECOND: Final = 1_000
BURST: Final = 5_000
_LINE: Final = 1024
"""Bytes that count as one line: a line of 8 KiB counts as eight."""
_SECOND: Final = 1_000_000_000


class Allowance:
    """What one application may still write; *now* is in nanoseconds."""

    __slots__ = ("_tokens", "_updated")

    def __init__(self, now: int) -> None:
        self._tokens = BURST * _SECOND
        self._updated = now

    def refill(self, now: int) -> bool:
        """Add what has become free since the last time; return whether anything may be written."""
        self._tokens = min(BURST * _SECOND, self._tokens + (now - self._updated) * LINES_PER_SECOND)
        self._updated = now
        return self._tokens >= _SECOND

    def take(self, size: int) -> bool:
        """Take what a line of *size* bytes costs; return False where nothing is left."""
        if self._tokens < _SECOND:
            return False
        self._tokens -= (1 + size // _LINE) * _SECOND
        return True
