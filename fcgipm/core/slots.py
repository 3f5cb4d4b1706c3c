"""Places for instances: as many as are wanted, whether filled or not."""

from __future__ import annotations

from dataclasses import dataclass

from fcgipm.config.schema import Duration
from fcgipm.core.events import InstanceId, Instant


@dataclass(slots=True, kw_only=True, eq=False)
class Slot:
    """A place for one instance; empty, it may be filled from *not_before* on."""

    not_before: Instant
    instance: InstanceId | None = None
    why: str = "initial"
    """Why the next instance is started in it: a word for the counters."""


def in_a_row(count: int, delay: Duration, now: Instant) -> list[Slot]:
    """Return *count* slots that are filled one after the other, *delay* apart."""
    return [Slot(not_before=Instant(now + index * delay)) for index in range(count)]
