"""What can be under way in an application beside a change of its generations, as data; others carry it on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from fcgipm.config.schema import Duration
from fcgipm.core.commands import Topic
from fcgipm.core.events import InstanceId, Instant
from fcgipm.core.instance import Instance
from fcgipm.core.slots import Slot

_NEVER: Final = Instant(0)


@dataclass(slots=True, kw_only=True)
class LateComer:
    """Visitors at an old listener: one instance is started for them; see `core.late_comers`."""

    slot: Slot
    gone_at: Instant
    """When the keeper has closed that listener, unless it has told of them again: there is nobody left to be served."""
    waiting: int
    """How many they were when the last instance there was cut; 0: that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What somebody waits for; its end is told, with how long it took and how many connections were cut."""

    topic: Topic
    """Of that message."""
    since: Instant | None
    """When it began; None: under a manager that has died."""
    cut: int
    """How many requests the application had lost until then."""


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
class Shortage:
    """What the system has too little of to start instances, and when that is tried again; see `core.shortage`."""

    why: str = ""
    """As it was said; empty: there is enough."""
    reason: str = ""
    """The application's, made of that."""
    pause: Duration = 0
    until: Instant = _NEVER
    again_at: Instant | None = None
    """When a generation may be tried again that was given up for want of something; None: it was for other reasons."""


@dataclass(slots=True, kw_only=True)
class Turning:
    """What answers 503 on the application's listeners; it is not among the instances."""

    refuser: Instance | None = None
    """That on the public one."""
    aside: list[Instance] = field(default_factory=list)
    """Those on old ones, for the late-comers there."""
    above: int | None = None
    """It turns visitors away while more than so many wait; None is not known, of one that another manager started."""
    not_before: Instant
    """When the next one may be started."""
    shortage: str = ""
    """What was said last of a shortage that kept it from being started; see `core.shortage`."""
