"""A change of generations in progress.

An application with a listener for each generation changes by a `Switch`: the new generation is complete before it is
published, then the old one drains.  Where all generations share one listener (TCP) the change is a `Roll`: one
replacement at a time.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from fcgipm.config.schema import Duration
from fcgipm.core.commands import Topic
from fcgipm.core.events import InstanceId, Instant
from fcgipm.core.instance import Instance


@dataclass(slots=True, kw_only=True)
class Slot:
    """A place for one instance; empty, it may be filled from *not_before* on."""

    not_before: Instant
    instance: InstanceId | None = None
    why: str = "initial"
    """Why the next instance is started in it: a word for the counters."""


def in_a_row(count: int, delay: Duration, now: Instant) -> list[Slot]:
    """Return *count* slots that are filled one after the other, *delay* apart."""
    return [Slot(not_before=Instant(now + index * delay)) for index in range(count)]


@dataclass(slots=True, kw_only=True)
class LateComer:
    """A visitor who reached an old listener at the moment of the switch: one instance is started for it."""

    slot: Slot
    gone_at: Instant
    """When the keeper has closed that listener: there is nobody left to be served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What somebody waits for; when it is done that is told, with how long it took and how many requests were cut."""

    topic: Topic
    """Of that message."""
    since: Instant | None
    """When it began; None: under a manager that has died."""
    cut: int
    """How many requests the application had lost until then."""


class Phase(enum.Enum):
    """How far a switch is."""

    GATHERING = "gathering"
    """The instances of the new generation are being started."""
    PUBLISHING = "publishing"
    """The order to publish it is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """A wish for a new generation."""

    why: str
    new_listener: bool


@dataclass(slots=True, kw_only=True)
class Switch:
    """From the published generation to *generation*; 0 is none, nobody can reach the application then."""

    generation: int
    why: str
    phase: Phase
    slots: list[Slot] = field(default_factory=list)
    then: Restart | None = None
    """What was asked for while it was being published: that takes milliseconds, and is not interrupted."""


@dataclass(slots=True, kw_only=True)
class Roll:
    """To *generation* on the shared listener, by one *replacement* at a time."""

    generation: int
    why: str
    replacement: InstanceId | None = None


@dataclass(slots=True, kw_only=True)
class Attempt:
    """To take *left* idle instances: one after the other is tried, and who is busy is spared."""

    rule: str
    """What led to it: ``kill-run``, ``slack-run`` or ``idle-stop``."""
    left: int
    victim: InstanceId | None = None
    """Whose removal is under way."""
    spared: set[InstanceId] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class Swap:
    """One instance for another, the replacement first."""

    outgoing: InstanceId
    why: str
    replacement: InstanceId


@dataclass(slots=True, kw_only=True)
class Recycling:
    """The replacement of worn instances, one after the other."""

    swap: Swap | None = None
    not_before: Instant
    """When the next one may begin."""


@dataclass(slots=True, kw_only=True)
class Turning:
    """What answers 503 on the application's listener; it is not among the instances."""

    refuser: Instance | None = None
    above: int | None = None
    """It turns visitors away while more than so many wait; None is not known, of one that another manager started."""
    not_before: Instant
    """When the next one may be started."""
