"""What people can read back: events, and lines that instances wrote."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from fcgipm.codec import to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """One event, as `fcgipmctl events` shows it."""

    time: float
    """Seconds since 1970."""
    severity: str
    """A word of log-level."""
    topic: str
    """A `core.commands.Topic`, or a word of the keeper's."""
    app: str | None
    instance: int | None
    reason: str
    text: str
    lines: tuple[str, ...] = ()
    """The last lines that a crashed instance wrote."""

    @property
    def weight(self) -> int:
        """The bytes of its texts in memory."""
        return sys.getsizeof(self.text) + sum(map(sys.getsizeof, self.lines))

    def to_json(self) -> dict[str, Any]:
        """Return the object that stands for it on the control socket."""
        return dict(to_json(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line that an instance wrote, or one about its output (*stream* is then ``fcgipm``)."""

    time: float
    """Seconds since 1970."""
    app: str
    instance: int | None
    pid: int | None
    stream: str
    """``stdout``, ``stderr`` or ``fcgipm``."""
    text: str

    @property
    def weight(self) -> int:
        """The bytes of its text in memory."""
        return sys.getsizeof(self.text)

    def to_json(self) -> dict[str, Any]:
        """Return the object that stands for it on the control socket."""
        return dict(to_json(self))
