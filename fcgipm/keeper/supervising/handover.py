"""What a new manager is told: the definitions without secrets, and the keeper's books."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import fcgipm
from fcgipm import wire
from fcgipm.codec import to_json
from fcgipm.config.definitions import to_definition
from fcgipm.config.schema import Application, Daemon, Dynamic, External
from fcgipm.keeper.listening.rights import access_of
from fcgipm.keeper.supervising.conversation import Handover

if TYPE_CHECKING:
    from fcgipm.config.loaded import Loaded
    from fcgipm.keeper.context import Context
    from fcgipm.keeper.daemon.answers import Answers
    from fcgipm.keeper.daemon.ending import Ending
    from fcgipm.keeper.instances.book import Book
    from fcgipm.keeper.instances.starting import Starting
    from fcgipm.keeper.keeping.adopt import Adoption
    from fcgipm.keeper.listening.listeners import Listeners
    from fcgipm.keeper.listening.own_sockets import OwnSockets
    from fcgipm.keeper.roots.undeclared import Undeclared
    from fcgipm.keeper.supervising.orders import Orders


@dataclass(frozen=True, slots=True)
class Briefing:
    """Who knows what a new manager is told."""

    context: Context
    book: Book
    starting: Starting
    listeners: Listeners
    dynamic: Undeclared
    orders: Orders
    own: OwnSockets
    ending: Ending
    answers: Answers
    adoption: Adoption
    upgraded: Callable[[], wire.Upgraded | None]
    started_at: int
    """When the daemon was started, in monotonic nanoseconds."""
    started_unix: float
    """The same as seconds since 1970."""

    def handover(self) -> Handover:
        """Return everything that a new manager needs, after what still was under way for the one before."""
        self.orders.forget()
        self.starting.drop_canaries()
        self.starting.settle()
        unseen, ends = self.adoption.unseen()
        snapshot = wire.Snapshot(
            version=fcgipm.__version__,
            pid=os.getpid(),
            uid=os.geteuid(),
            started_at=self.started_at,
            started_unix=self.started_unix,
            definitions=definitions_of(self.context.loaded, without=self.dynamic.leaving()),
            instances=(*(self.starting.fact(instance) for instance in self.book if not instance.hidden), *unseen),
            listeners=self.listeners.known.facts(),
            notes={app: note.text for app, note in self.orders.notes.known.items()},
            next_instance=self.book.highest + 1,
            ending=self.ending.decided,
            keeps_sockets=self.context.store.keeps,
            upgraded=self.upgraded(),
        )
        handed = [(wire.Handed(what=what), (descriptor,)) for what, descriptor in self.own.handed()]
        handed.append((wire.Handed(what="log"), (self.context.log.sink.fileno(),)))
        pipes = [
            (wire.Handed(what="pipes", instance=instance.number), (instance.stdout, instance.stderr))
            for instance in self.book
            if not instance.hidden
        ]
        return Handover(snapshot, [*handed, *pipes], [*self.answers.missed(), *ends, *self.listeners.known.awaited()])


def definitions_of(loaded: Loaded, *, without: Container[str] = ()) -> wire.Definitions:
    """Return the configuration as the manager gets it, *without* some of the applications.

    What has its default value is left out, which the manager fills in again: that makes it a tenth as large.
    """
    config = loaded.config
    return wire.Definitions(
        daemon=sparse(config.daemon),
        applications=tuple(sparse(app) for name, app in config.applications.items() if name not in without),
        externals=tuple(sparse(external) for external in config.externals.values()),
        dynamic=None if config.dynamic is None else sparse(config.dynamic),
        access=access_of(config.daemon),
    )


def sparse(table: Application | External | Daemon | Dynamic) -> dict[str, Any]:
    """Return the definition of *table* without what has its default value."""
    definition, defaults = to_definition(table), _DEFAULTS[type(table)]
    return {name: value for name, value in definition.items() if name not in defaults or defaults[name] != value}


def _defaults(kind: type[Any]) -> dict[str, Any]:
    """Return the defaults of a table's fields, as JSON."""
    found = {}
    for item in fields(kind):
        if item.default is not MISSING:
            found[item.name] = to_json(item.default)
        elif item.default_factory is not MISSING:
            found[item.name] = to_json(item.default_factory())
    return found


_DEFAULTS: Final[Mapping[type[Any], Mapping[str, Any]]] = {
    kind: _defaults(kind) for kind in (Application, Daemon, Dynamic, External)
}
