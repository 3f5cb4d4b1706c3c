"""How often something may be ordered."""

from __future__ import annotations

from dataclasses import dataclass

from fcgipm.config.schema import SECOND


@dataclass(slots=True)
class Bucket:
    """So many at once, and so many a second in the long run."""

    burst: int
    rate: int
    _full_at: int = 0
    """When all of the burst is there again."""

    def wait(self, now: int) -> int:
        """Take one and return 0, or return how many nanoseconds it takes until there is one."""
        interval = SECOND // self.rate
        full_at = max(self._full_at, now) + interval
        excess = full_at - now - self.burst * interval
        if excess > 0:
            return excess
        self._full_at = full_at
        return 0
