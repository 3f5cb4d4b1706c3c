"""What somebody gets who has asked for an instance that is ready."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Ending(enum.Enum):
    """How a question ends; also the words of a counter."""

    READY = "ready"
    REFUSED = "refused"
    """There is no instance, and none is being started."""
    BUSY = "busy"
    """Too many ask for scripts that have to be looked at first."""
    LATE = "late"
    """None was ready in time."""
    UNKNOWN = "unknown"
    """There is no such application, and no such script."""
    FORBIDDEN = "forbidden"
    """There is such a script, and it may not be run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What somebody gets who has asked."""

    ending: Ending
    app: str
    address: str = ""
    """Where visitors reach it (`wire.ListenerFact.address`), if it is ready."""
    reason: str = ""
    """A sentence, if it is not."""
    retry_after: int | None = None
    """Seconds; None where asking again does not help."""
