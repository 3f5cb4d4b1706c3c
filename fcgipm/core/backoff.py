"""Back-off: three short lives in a row, and an application is tried only every ten minutes.

Counted per application.  An instance that ended with status 0 counts neither way; a failed start is a life of 0.
A longer life heals, that of an ended instance or of a living one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fcgipm.config.schema import SECOND, Duration
from fcgipm.core.events import Instant

FAILURES: Final = 3
PAUSE: Final[Duration] = 600 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How the last lives of an application ended; in force from `FAILURES` short ones in a row on."""

    failures: int = 0

    @property
    def in_force(self) -> bool:
        """Whether starts have to wait."""
        return self.failures >= FAILURES

    def after(self, life: Duration, min_life: Duration, *, clean: bool) -> Backoff:
        """Return the back-off after an instance ended unasked; *clean*: with exit status 0."""
        if min_life == 0 or life >= min_life:
            return Backoff()
        if clean:
            return self
        return Backoff(failures=self.failures + 1)

    def next_start(self, last_start: Instant) -> Instant:
        """Return when one start may be tried, given the last one."""
        return Instant(last_start + PAUSE)
