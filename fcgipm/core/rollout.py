"""A change of generations in progress.

An application with a listener for each generation changes by a `Switch`: the new generation is complete and proved
before it is published, then the old one drains.  Where all generations share one listener (TCP) the change is a `Roll`:
a canary is proved aside, then one replacement at a time takes the place of an old instance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from fcgipm.config.schema import Application
from fcgipm.core.events import InstanceId, Instant
from fcgipm.core.phases import Asking, Phase, Step, advance
from fcgipm.core.slots import Slot

Place: TypeAlias = tuple[str | None, int | None, str]
"""Where a public listener is: a path, or a port and an address."""


def place_of(definition: Application) -> Place:
    """Return where *definition* has the public listener."""
    return definition.socket, definition.port, definition.address


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
