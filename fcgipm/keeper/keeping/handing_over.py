"""What the keeper has to hand over to the program that takes its place, and what keeps it from doing so."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fcgipm.keeper.keeping.heritage import LOG, given_key, listener_key, output_key, own_key
from fcgipm.linux.descriptors import LAST_STANDARD

if TYPE_CHECKING:
    from fcgipm.keeper.applying.apply import Applier
    from fcgipm.keeper.context import Context
    from fcgipm.keeper.daemon.answers import Answers
    from fcgipm.keeper.daemon.ending import Ending
    from fcgipm.keeper.daemon.progress import Progress
    from fcgipm.keeper.daemon.runtime import Runtime
    from fcgipm.keeper.daemon.signals import Signals
    from fcgipm.keeper.daemon.telling import Telling
    from fcgipm.keeper.instances.book import Book, Instance
    from fcgipm.keeper.instances.starting import Starting
    from fcgipm.keeper.keeping.record import Record
    from fcgipm.keeper.listening.listeners import Listeners
    from fcgipm.keeper.listening.own_sockets import OwnSockets


@dataclass(frozen=True, slots=True)
class HandingOver:
    """Who knows it."""

    context: Context
    runtime: Runtime
    signals: Signals
    book: Book
    listeners: Listeners
    own: OwnSockets
    starting: Starting
    progress: Progress
    applier: Applier
    answers: Answers
    ending: Ending
    record: Record
    telling: Telling

    def why_not(self) -> str:
        """Return why there can be no upgrade now; empty where there can."""
        if self.ending.decided is not None or self.context.dispatch.ended:
            return "fcgipm is about to end"
        if self.progress.is_awaited:
            return "its start is not over yet"
        if self.telling.owes_store:  # what waits here would never come there, and the socket is thought to be kept
            return "systemd does not read what it is told of the sockets that it keeps"
        # What could not bind its sockets anew would end: what is there may not be written to by then, either.
        return self.listeners.known.why_not_found() or self.context.keeping.why_not()

    def settle(self) -> list[Instance]:
        """Finish what may not be half done, and write everything down; return who was too late, and is killed."""
        late = self.starting.settle()
        self.context.keeping.settle()
        return late

    def unsettle(self, late: list[Instance]) -> None:
        """Go on with what there is: the manager, which knows those who were too *late*, hears of their ends."""
        self.starting.unsettle(late)

    def state(self) -> str:
        """Return what is known."""
        return self.record.text().decode()

    def instances(self) -> int:
        """Return how many instances there are."""
        return sum(not one.hidden for one in self.book)

    def untaken(self) -> list[int]:
        """Return the signals upon which nothing was done, and forget them."""
        return [*self.signals.untaken(), *self.answers.untaken()]

    def descriptors(self) -> dict[str, int]:
        """Return all that the next program needs of what is open."""
        context = self.context
        found = {listener_key(one.endpoint.inode): one.fileno() for one in self.listeners.known if one.sock is not None}
        for one in self.book:
            if one.starting is None:
                found |= {output_key(one.number, 1): one.stdout, output_key(one.number, 2): one.stderr}
        found |= {given_key(os.fstat(number).st_ino): number for number in context.given.descriptors()}
        found |= {own_key(name): number for name, number in self.own.handed()}
        log = context.log.sink.fileno()
        return {**found, **self.runtime.descriptors(), **({LOG: log} if log > LAST_STANDARD else {})}
