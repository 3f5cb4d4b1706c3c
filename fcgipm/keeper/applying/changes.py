"""What an apply changes: sockets first, because they may fail, and then everything else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fcgipm import wire
from fcgipm.config.plan import KeyChange
from fcgipm.config.schema import Application, Change
from fcgipm.keeper.context import Context
from fcgipm.keeper.listening.listener import Listener
from fcgipm.keeper.listening.listeners import Listeners
from fcgipm.keeper.listening.sockets import SocketError

if TYPE_CHECKING:
    from fcgipm.config.loaded import Loaded
    from fcgipm.keeper.daemon.progress import Progress
    from fcgipm.keeper.instances.programs import Programs
    from fcgipm.keeper.instances.starting import Starting
    from fcgipm.keeper.keeping.state import KeptNote
    from fcgipm.keeper.roots.undeclared import Undeclared

_OF_THE_SOCKET: Final = frozenset({"socket-mode", "socket-owner", "socket-group", "listen-queue-depth"})


@dataclass(slots=True)
class Plan:
    """What is about to change."""

    orders: list[wire.Apply]
    """What it is for: they want the same, and the first one is told all."""
    loaded: Loaded
    changes: tuple[KeyChange, ...]
    pending: tuple[KeyChange, ...] = ()
    """Differences that are left as they are."""
    made: list[Listener] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def names(self, effect: object) -> list[str]:
        """Return the applications (old and new ones) that have a change of this *effect*."""
        return list(dict.fromkeys(change.app for change in self.changes if change.effect == effect and change.app))

    @contextmanager
    def warned(self, what: str) -> Iterator[None]:
        """Turn a failure of what is done in it into a warning: the other changes are made all the same."""
        try:
            yield
        except (SocketError, LookupError, OSError) as error:
            self.warnings.append(f"{what}: {error}")


class Changes:
    """Makes the changes of a plan."""

    def __init__(
        self,
        context: Context,
        listeners: Listeners,
        starting: Starting,
        programs: Programs,
        notes: dict[str, KeptNote],
        *,
        dynamic: Undeclared,
        progress: Progress,
    ) -> None:
        self._context = context
        self._listeners = listeners
        self._starting = starting
        self._programs = programs
        self._notes = notes
        self._dynamic = dynamic
        self._progress = progress

    def bind(self, plan: Plan) -> None:
        """Make the listeners that are wanted; where one cannot be, none is left, and *plan* has the problems."""
        apps = plan.loaded.config.applications
        for name in [*plan.names("added"), *plan.names(Change.LISTENER)]:
            app = apps.get(name)
            if app is None or self._listeners.known.shared(app) is not None:
                continue
            try:
                plan.made.append(self._listeners.make(app, self._listeners.known.highest(name) + 1))
            except (SocketError, LookupError, OSError) as error:
                plan.problems.append(f"app.{name}: {error}")
        if plan.problems:
            for listener in plan.made:
                self._listeners.discard(listener)

    def commit(self, plan: Plan) -> None:
        """Let the new configuration hold, and change what follows from that; what fails is a warning in *plan*."""
        apps = plan.loaded.config.applications
        removed = [name for name in self._context.loaded.config.applications if name not in apps]
        self._context.loaded = plan.loaded
        self._dynamic.applied()
        daemon = plan.loaded.config.daemon
        self._context.log.level, self._context.log.form = daemon.log_level, daemon.log_format
        self._starting.forget_recipes()
        self._progress.only(apps)
        for listener in plan.made:
            self._listeners.enter(listener)
        for name in plan.names("added"):
            self._publish_added(plan, apps.get(name))
        for name in removed:
            self._notes.pop(name, None)
            with plan.warned(f"app.{name}: its socket could not be taken away"):
                self._listeners.remove(name)
        for name in self._with_other_sockets(plan):
            with plan.warned(f"app.{name}: its sockets could not be changed"):
                self._listeners.change(apps[name])
        with plan.warned("changes of programs are not noticed"):
            self._programs.define(apps.values())

    def _publish_added(self, plan: Plan, app: Application | None) -> None:
        listener = next((item for item in plan.made if app is not None and item.app == app.name), None)
        if listener is None:
            return
        with plan.warned(f"app.{listener.app}"):
            self._listeners.publish(listener)

    @staticmethod
    def _with_other_sockets(plan: Plan) -> list[str]:
        apps = plan.loaded.config.applications
        changed = [change.app for change in plan.changes if change.key in _OF_THE_SOCKET]
        return list(dict.fromkeys(name for name in changed if name is not None and name in apps))
