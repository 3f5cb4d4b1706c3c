"""The engine: events in, commands out.  It decides everything and does nothing.

Its state changes in `Engine.step` only, and only by the event and the time that are given; the same events at the
same instants give the same commands.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from fcgipm.config.schema import Application
from fcgipm.core import application as app
from fcgipm.core import events as ev
from fcgipm.core.books import Books
from fcgipm.core.commands import Command, Severity, Shutdown, Tell, Topic
from fcgipm.core.events import Event, InstanceId, Instant
from fcgipm.core.note import Memory, Mode, read
from fcgipm.core.reconcile import reconcile
from fcgipm.core.view import AppView, LiveInstance

_WISHES = (
    ev.StartRequested | ev.StopRequested | ev.RestartRequested | ev.ScaleRequested | ev.ConfigurationApplied
    | ev.SomebodyWaits
)  # fmt: skip
"""What has no meaning any more once the daemon is about to end."""


class Engine:
    """All applications.

    *published* is the published generation of each; 0 where none is, 1 where nothing is said at all.  *moved* are those
    whose published listener is not where their definition has it.
    """

    def __init__(
        self,
        applications: Mapping[str, Application],
        *,
        living: Sequence[LiveInstance] = (),
        published: Mapping[str, int] | None = None,
        moved: Collection[str] = (),
        notes: Mapping[str, str] | None = None,
        next_instance: int = 1,
        now: Instant,
    ) -> None:
        self._next_instance = next_instance
        self._ending: Shutdown | None = None
        self._moved = frozenset(moved)
        self._outdated = frozenset(alive.app for alive in living if alive.outdated)
        self._caught_up = False
        self._books: dict[str, Books] = {}
        for name, definition in applications.items():
            self._books[name] = Books(
                definition,
                number=self._number,
                memory=read((notes or {}).get(name, "")),
                published=1 if published is None else published.get(name, 0),
                living=[alive for alive in living if alive.app == name],
                now=now,
            )
        for name in {alive.app for alive in living} - applications.keys():
            left_over = [alive for alive in living if alive.app == name]
            self._books[name] = Books(
                Application(name=name, command=("",)),
                number=self._number,
                memory=Memory(mode=Mode.LEAVE, reason=app.DRAINING),
                published=0,
                living=left_over,
                now=now,
            )

    @property
    def shutting_down(self) -> bool:
        """Whether the daemon is about to end."""
        return self._ending is not None

    def step(self, event: Event, now: Instant) -> list[Command]:
        """Take in one event and return what is to be done, in order."""
        out: list[Command] = []
        concerned = self._concerned(event, now)
        if not (self.shutting_down and isinstance(event, _WISHES)):
            self._take(event, now, out)
        if self._end_if_hopeless(now, out) or concerned is None:
            concerned = list(self._books.values())
        for books in concerned:
            reconcile(books, now, out)
            if app.is_gone(books):
                del self._books[books.name]
        if self._ending is not None and not self._books:
            out.append(replace(self._ending, finished=True))
        return out

    def deadline(self) -> Instant | None:
        """Return when `step` must be called at the latest; None: not before something happens."""
        return min((books.due for books in self._books.values() if books.due is not None), default=None)

    def view(self, now: Instant) -> tuple[AppView, ...]:
        """Return all applications as pictures, in the order of the configuration."""
        return tuple(books.view(now) for books in self._books.values())

    def _number(self) -> InstanceId:
        number = InstanceId(self._next_instance)
        self._next_instance += 1
        return number

    def _concerned(self, event: Event, now: Instant) -> list[Books] | None:
        """Return the applications that *event* may have changed, and those with something due; None: all."""
        if not self._caught_up or isinstance(event, ev.ShutdownRequested | ev.ConfigurationApplied):
            return None
        name = getattr(event, "app", None)
        instance = getattr(event, "instance", None)
        return [
            books
            for books in self._books.values()
            if books.name == name or instance in books.instances or (books.due is not None and books.due <= now)
        ]

    def _take(self, event: Event, now: Instant, out: list[Command]) -> None:
        if not self._caught_up:
            self._caught_up = True
            if not isinstance(event, ev.ShutdownRequested):
                self._catch_up(now, out)
        match event:
            case ev.Tick():
                pass
            case ev.ShutdownRequested():
                self._end(event.status, "asked to end", now, out)
            case ev.ConfigurationApplied():
                self._apply(event, now, out)
            case ev.Observed() | ev.Opened():
                pass
            case ev.Spawned() | ev.SpawnFailed() | ev.BecameReady() | ev.Exited() | ev.Removed() | ev.RemovalRefused():
                self._take_of_instance(event, now, out)
            case _:
                if (books := self._books.get(event.app)) is not None:
                    _take_of_app(books, event, now, out)

    def _take_of_instance(
        self,
        event: ev.Spawned | ev.SpawnFailed | ev.BecameReady | ev.Exited | ev.Removed | ev.RemovalRefused,
        now: Instant,
        out: list[Command],
    ) -> None:
        books = next((one for one in self._books.values() if event.instance in one.instances), None)
        if books is None:
            return  # it ended while this was under way
        match event:
            case ev.Spawned():
                app.spawned(books, event, now, out)
            case ev.SpawnFailed():
                app.spawn_failed(books, event, now, out)
            case ev.BecameReady():
                app.became_ready(books, event, now, out)
            case ev.Exited():
                app.exited(books, event, now, out)
            case ev.Removed():
                app.removed(books, event, now, out)
            case ev.RemovalRefused():
                app.removal_refused(books, event, now, out)

    def _apply(self, event: ev.ConfigurationApplied, now: Instant, out: list[Command]) -> None:
        for name, books in self._books.items():
            if name not in event.applications:
                if books.mode is not Mode.LEAVE:
                    app.remove(books, now, out)
            elif books.mode is Mode.LEAVE:
                app.come_back(books, event.applications[name], now, out)
            elif (change := event.changes.get(name)) is not None:
                app.redefine(books, event.applications[name], change, now, out)
        for name, definition in event.applications.items():
            if name not in self._books:
                books = Books(definition, number=self._number, memory=None, published=1, living=(), now=now)
                self._books[name] = books
                out.append(books.message(Severity.INFO, Topic.APP_ADDED, "added by the configuration"))
        self._books = {name: self._books[name] for name in _in_order(event.applications, self._books)}

    def _catch_up(self, now: Instant, out: list[Command]) -> None:
        for name, books in self._books.items():
            app.catch_up(books, now, out, outdated=name in self._outdated, moved=name in self._moved)

    def _end_if_hopeless(self, now: Instant, out: list[Command]) -> bool:
        """End the daemon where an application that it is for has failed; return whether that is so now."""
        for books in self._books.values():
            if books.definition.on_failure == "exit" and app.has_failed(books):
                self._end(1, f"{books.name} has failed ({books.reason}), and its on-failure is exit", now, out)
                return True
        return False

    def _end(self, status: int, why: str, now: Instant, out: list[Command]) -> None:
        if self._ending is not None:
            return
        self._ending = Shutdown(status=status, finished=False, why=why)
        out.append(self._ending)
        severity = Severity.ERROR if status else Severity.INFO
        out.append(Tell(severity=severity, topic=Topic.SHUTDOWN, app=None, text=f"shutting down: {why}"))
        for books in self._books.values():
            app.leave(books, "fcgipm is shutting down", now, out)


def _take_of_app(
    books: Books,
    event: ev.Published
    | ev.PublishFailed
    | ev.SomebodyWaits
    | ev.Asked
    | ev.ProgramChanged
    | ev.StartRequested
    | ev.StopRequested
    | ev.RestartRequested
    | ev.ScaleRequested,
    now: Instant,
    out: list[Command],
) -> None:
    match event:
        case ev.Published():
            app.published(books, event, now, out)
        case ev.PublishFailed():
            app.publish_failed(books, event, now, out)
        case ev.SomebodyWaits():
            app.somebody_waits(books, event.generation, now)
        case ev.Asked():
            pass
        case ev.ProgramChanged():
            app.program_changed(books, out)
        case ev.StartRequested():
            app.start(books, now, out)
        case ev.StopRequested():
            app.stop(books, now, out)
        case ev.RestartRequested():
            app.restart(books, now, out)
        case ev.ScaleRequested():
            app.rescale(books, event.processes, out)


def _in_order(wanted: Mapping[str, object], present: Mapping[str, object]) -> list[str]:
    """Return the names of *present*: those of the configuration in its order, then the leaving ones."""
    return [name for name in wanted if name in present] + [name for name in present if name not in wanted]
