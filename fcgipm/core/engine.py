"""The engine: events in, commands out.  It decides everything and does nothing.

Its state changes in `Engine.step` only, and only by the event and the time that are given; the same events at the
same instants give the same commands.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from fcgipm.config.schema import Application, Dynamic
from fcgipm.core import events as ev
from fcgipm.core import scaling, taking, wishes
from fcgipm.core.books import Books
from fcgipm.core.commands import Command, Severity, Shutdown, Tell, Topic
from fcgipm.core.demand import PRESSED, on_grid
from fcgipm.core.events import Event, InstanceId, Instant
from fcgipm.core.explaining import explanation
from fcgipm.core.note import Memory, Mode, read
from fcgipm.core.picture import picture
from fcgipm.core.reconcile import expire, reconcile
from fcgipm.core.refusing import refused_at, refused_until
from fcgipm.core.view import AppView, Explanation, LiveInstance, Prospect
from fcgipm.core.world import World, terms_of_dynamic
from fcgipm.counting import counted

DYNAMIC_KNOWN = 1_000
"""How many dynamic applications are known at once."""

_WISHES = (
    ev.StartRequested | ev.StopRequested | ev.RestartRequested | ev.ReloadRequested | ev.ScaleRequested
    | ev.ConfigurationApplied | ev.SomebodyWaits | ev.Asked | ev.Opened
)  # fmt: skip
"""What has no meaning any more once the daemon is about to end."""


class Engine:
    """All applications.

    *published* is the published generation of each; 0 where none is, 1 where nothing is said at all.  *moved* are those
    whose published listener is not where their definition has it.  With *keeps_sockets* they outlive the daemon,
    whoever ends it.
    """

    def __init__(
        self,
        applications: Mapping[str, Application],
        *,
        dynamic: Dynamic | None = None,
        living: Sequence[LiveInstance] = (),
        published: Mapping[str, int] | None = None,
        moved: Collection[str] = (),
        notes: Mapping[str, str] | None = None,
        next_instance: int = 1,
        keeps_sockets: bool = False,
        now: Instant,
    ) -> None:
        self._next_instance = next_instance
        self._keeps_sockets = keeps_sockets
        self._ending: Shutdown | None = None
        self._cut = 0
        """Requests that were cut since the end has begun, of applications that are gone."""
        self._moved = frozenset(moved)
        self._outdated = frozenset((alive.app, alive.generation) for alive in living if alive.outdated)
        self._caught_up = False
        self._dynamic = None if dynamic is None else World(terms_of_dynamic(dynamic))
        self._books: dict[str, Books] = {}
        for name, definition in applications.items():
            self._books[name] = Books(
                definition,
                world=self._world_of(definition),
                number=self._number,
                memory=read((notes or {}).get(name, "")),
                published=1 if published is None else published.get(name, 0),
                living=[alive for alive in living if alive.app == name],
                moved=name in self._moved,
                now=now,
            )
        for name in {alive.app for alive in living} - applications.keys():
            left_over = [alive for alive in living if alive.app == name]
            self._books[name] = Books(
                Application(name=name, command=("",)),
                number=self._number,
                memory=Memory(mode=Mode.LEAVE, reason=wishes.DRAINING),
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
            _have_judged(concerned, event, now)
        for books in self._books.values() if concerned is None else concerned:
            expire(books, now, out)
        if isinstance(event, ev.Observed):
            moved = self._observe(event, now)
            concerned = None if concerned is None else [*{one.name: one for one in (*concerned, *moved)}.values()]
        if self._end_if_hopeless(now, out) or concerned is None:
            concerned = list(self._books.values())
        for books in sorted(concerned, key=lambda one: one.turn):
            reconcile(books, now, out)
            if wishes.is_gone(books):
                self._cut += books.cut
                del self._books[books.name]
                del books.world.members[books.name]
        for world in {id(books.world): books.world for books in concerned}.values():
            for books in world.short():
                reconcile(books, now, out)
            world.plan()
        if self._ending is not None and not self._books:
            why = f"every application is stopped; {counted(self._cut, 'connection')} cut"
            out.append(replace(self._ending, finished=True, why=why))
        return out

    def deadline(self) -> Instant | None:
        """Return when `step` must be called at the latest; None: not before something happens."""
        due = [at for books in self._books.values() for at in (books.due, books.demand.due) if at is not None]
        runs = (world.due for world in self._worlds() if world.due is not None)
        return min((*due, *runs), default=None)

    def looks(self, now: Instant) -> tuple[str, ...]:
        """Return the applications that must be looked at before the next step, which takes `Observed`."""
        runs = [name for world in self._worlds() if world.due is not None and world.due <= now
                for name in world.concerned()]  # fmt: skip
        due = [name for name, books in self._books.items() if _look_is_due(books, now)]
        return tuple(dict.fromkeys([*due, *runs]))

    def prospect(self, name: str, now: Instant) -> Prospect | None:
        """Return what somebody may expect who wants an instance of *name*; None where it is not known."""
        books = self._books.get(name)
        if books is None:
            return None
        ready = books.ready
        until = refused_until(books)
        return Prospect(
            ready=ready,
            refused="" if ready else refused_at(books, now),
            retry_after=None if until is None else max(until - now, 0),
        )

    def explain(self, name: str, now: Instant) -> Explanation | None:
        """Return why *name* has as many instances as it has; None where it is not known."""
        books = self._books.get(name)
        return None if books is None else explanation(books, now)

    def view(self, now: Instant) -> tuple[AppView, ...]:
        """Return all applications as pictures, in the order of the configuration."""
        return tuple(picture(books, now) for books in self._books.values())

    def view_of(self, name: str, now: Instant) -> AppView | None:
        """Return one application as a picture; None where it is not known."""
        books = self._books.get(name)
        return None if books is None else picture(books, now)

    def _world_of(self, definition: Application) -> World | None:
        """Return the world that *definition* shares with others; None: it is one by itself."""
        return self._dynamic if definition.is_dynamic else None

    def _worlds(self) -> list[World]:
        own = [books.world for books in self._books.values() if books.world is not self._dynamic]
        return own if self._dynamic is None else [*own, self._dynamic]

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
            if books.name == name or books.has(instance) or (books.due is not None and books.due <= now)
        ]

    def _take(self, event: Event, now: Instant, out: list[Command]) -> None:
        if not self._caught_up:
            self._caught_up = True
            if not isinstance(event, ev.ShutdownRequested):
                self._catch_up(now, out)
        match event:
            case ev.Tick() | ev.Observed():
                pass
            case ev.ShutdownRequested():
                self._end(event.status, "asked to end", now, out, keeps_sockets=event.keeps_sockets)
            case ev.ConfigurationApplied():
                self._apply(event, now, out)
            case ev.Opened():
                self._open(event, now, out)
            case ev.Spawned() | ev.SpawnFailed() | ev.BecameReady() | ev.Exited() | ev.Removed() | ev.RemovalRefused():
                books = next((one for one in self._books.values() if one.has(event.instance)), None)
                if books is not None:  # else it ended while this was under way
                    taking.of_instance(books, event, now, out)
            case _:
                if (of_name := self._books.get(event.app)) is not None:
                    taking.of_application(of_name, event, now, out)

    def _apply(self, event: ev.ConfigurationApplied, now: Instant, out: list[Command]) -> None:
        if event.dynamic is not None:
            if self._dynamic is None:
                self._dynamic = World(terms_of_dynamic(event.dynamic))
            self._dynamic.terms = terms_of_dynamic(event.dynamic)
        for name, books in self._books.items():
            if name not in event.applications:
                if not books.is_leaving:
                    wishes.remove(books, now, out)
            elif books.is_leaving:
                wishes.come_back(books, event.applications[name], now, out)
            elif (change := event.changes.get(name)) is not None:
                wishes.redefine(books, event.applications[name], change, now, out)
        for name, definition in event.applications.items():
            if name not in self._books:
                books = Books(
                    definition, world=self._world_of(definition), number=self._number, memory=None, published=1,
                    living=(), now=now,
                )  # fmt: skip
                self._books[name] = books
                out.append(books.message(Severity.INFO, Topic.APP_ADDED, "added by the configuration"))
        self._books = {name: self._books[name] for name in _in_order(event.applications, self._books)}

    def _observe(self, event: ev.Observed, now: Instant) -> list[Books]:
        """Take in all looks, and have the runs made that are due; return the applications that this concerns."""
        moved = []
        for name, sample in event.samples.items():
            books = self._books.get(name)
            if books is not None and scaling.observed(books, sample, now):
                moved.append(books)
        for books in self._books.values():
            if books.name not in event.samples and _look_is_due(books, now):
                books.demand.unseen(now)
                moved.append(books)
        for world in self._worlds():
            if world.due is not None and world.due <= now:
                world.run(now)
                moved += world.members.values()
        return moved

    def _open(self, event: ev.Opened, now: Instant, out: list[Command]) -> None:
        """Take up a dynamic application; the one that has not been used for longest makes room where that is needed."""
        definition = event.definition
        books = self._books.get(definition.name)
        if books is not None:
            if books.is_leaving:
                wishes.come_back(books, definition, now, out)
            return
        known = [books for books in self._books.values() if books.definition.is_dynamic]
        if len(known) >= DYNAMIC_KNOWN:
            unused = [one for one in known if not any(one.everybody()) and not one.is_leaving]
            if unused:
                longest_unused = min(unused, key=lambda one: one.demand.stirred_at or 0)
                wishes.forget(longest_unused, "others were used more lately", out)
        self._books[definition.name] = opened = Books(
            definition, world=self._world_of(definition), number=self._number, memory=None,
            published=event.generation, living=(), now=now,
        )  # fmt: skip
        out.append(opened.message(Severity.INFO, Topic.APP_OPENED, "known from now on: its script may be run"))
        reconcile(opened, now, out)

    def _catch_up(self, now: Instant, out: list[Command]) -> None:
        for name, books in self._books.items():
            outdated = {generation for app, generation in self._outdated if app == name}
            wishes.catch_up(books, now, out, outdated=outdated, moved=name in self._moved)

    def _end_if_hopeless(self, now: Instant, out: list[Command]) -> bool:
        """End the daemon where an application that it is for has failed; return whether that is so now."""
        for books in self._books.values():
            if books.definition.on_failure == "exit" and wishes.has_failed(books):
                self._end(1, f"{books.name} has failed ({books.reason}), and its on-failure is exit", now, out)
                return True
        return False

    def _end(self, status: int, why: str, now: Instant, out: list[Command], *, keeps_sockets: bool = False) -> None:
        if self._ending is not None:
            return
        self._ending = Shutdown(status=status, finished=False, why=why)
        self._cut = -sum(books.cut for books in self._books.values())
        out.append(self._ending)
        severity = Severity.ERROR if status else Severity.INFO
        out.append(Tell(severity=severity, topic=Topic.SHUTDOWN, app=None, text=f"shutting down: {why}"))
        for books in self._books.values():
            keeps = keeps_sockets or self._keeps_sockets
            wishes.leave(books, "fcgipm is shutting down", now, out, keeps_socket=keeps)


def _have_judged(concerned: list[Books] | None, event: Event, now: Instant) -> None:
    """Have those who are known to wait looked at anew where something else than time has happened."""
    if isinstance(event, ev.Tick | ev.Observed):
        return
    for books in concerned or ():
        if books.demand.crowd.waiting and books.is_observed:
            books.demand.judge_by(on_grid(Instant(now + PRESSED)))


def _look_is_due(books: Books, now: Instant) -> bool:
    return books.demand.due is not None and books.demand.due <= now


def _in_order(wanted: Mapping[str, object], present: Mapping[str, object]) -> list[str]:
    """Return the names of *present*: those of the configuration in its order, then the leaving ones."""
    return [name for name in wanted if name in present] + [name for name in present if name not in wanted]
