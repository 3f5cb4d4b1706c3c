"""A change of generations in progress.

An application with a listener for each generation changes by a `Switch`: the new generation is complete and proved
before it is published, then the old one drains.  Where all generations share one listener (TCP) the change is a `Roll`:
a canary is proved aside, then one replacement at a time takes the place of an old instance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from fcgipm.config.schema import Application, Duration
from fcgipm.core.commands import Topic
from fcgipm.core.events import InstanceId, Instant
from fcgipm.core.instance import Instance
from fcgipm.core.phases import Asking, Phase, Step, advance

_NEVER: Final = Instant(0)

Place: TypeAlias = tuple[str | None, int | None, str]
"""Where a public listener is: a path, or a port and an address."""


def place_of(definition: Application) -> Place:
    """Return where *definition* has the public listener."""
    return definition.socket, definition.port, definition.address


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
class Proof:
    """What a generation that nobody has met yet has shown of itself."""

    lived_at: Instant | None = None
    """When its instances will have lived for a moment; None: not all of them are ready, or they have."""
    asking: Asking = Asking.OPEN
    answer_by: Instant | None = None
    """When the answer to its probe is overdue."""


@dataclass(slots=True, kw_only=True)
class NewGeneration:
    """A generation on its way to take the place of another one."""

    generation: int
    why: str
    phase: Phase
    proof: Proof = field(default_factory=Proof)

    def take(self, step: Step) -> None:
        """Let *step* happen."""
        self.phase = advance(self.phase, step)

    @property
    def is_hidden(self) -> bool:
        """Whether it is still to be proved: nobody meets it, and an instance that it loses ends it."""
        return self.phase in (Phase.GATHERING, Phase.PROVING)

    @property
    def is_settled(self) -> bool:
        """Whether it is published as soon as that can be, whatever comes."""
        return self.phase in (Phase.CLEARING, Phase.PUBLISHING)


@dataclass(slots=True, kw_only=True)
class Switch(NewGeneration):
    """From the published generation to *generation*; 0 is none, nobody can reach the application then."""

    place: Place
    """Where its listener is public."""
    slots: list[Slot] = field(default_factory=list)
    then: str = ""
    """Why a newer one was asked for while it was being published: that takes milliseconds, and is not interrupted."""


@dataclass(slots=True, kw_only=True)
class Roll(NewGeneration):
    """To *generation* on the shared listener: a *canary* is proved, then one *replacement* at a time takes a place."""

    phase: Phase = Phase.GATHERING
    canary: InstanceId | None = None
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
