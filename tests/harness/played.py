"""A keeper with its listeners, processes and visitors, played: as much of them as the core can see.

Nothing in it knows the engine: it is told what is ordered, and says what has happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from fcgipm.config.schema import SECOND, Application
from fcgipm.core import commands as cmd
from fcgipm.core import events as ev
from fcgipm.core.events import InstanceId, Instant
from fcgipm.core.view import LiveInstance

DEPTH = 2
"""Of every queue, which takes one more than that."""
LATE = 60 * SECOND
"""How long a listener is kept that nobody can reach any more."""


@dataclass(slots=True, eq=False)
class Visitor:
    """A connection."""

    came_at: int
    seen_at: int | None = None
    """When the manager first saw it in the queue."""
    gave_up: bool = False


@dataclass(slots=True, eq=False)
class Process:
    """An instance as the system has it."""

    number: InstanceId
    app: str
    generation: int
    why: str
    is_refuser: bool
    started_at: int | None = None
    ready_at: int | None = None
    ordered_away: bool = False
    """Whether its removal was ordered and not answered yet."""
    asked: bool = False
    killed: bool = False
    failed: bool = False
    """It was not ready in time."""
    serves: list[Visitor] = field(default_factory=list)
    size: int = 0
    """Resident bytes; 0: it was not looked at for that."""

    @property
    def accepts(self) -> bool:
        """Whether it takes connections."""
        return self.ready_at is not None and not self.killed

    @property
    def is_owing(self) -> bool:
        """Whether something is to be expected of it at once."""
        return self.ready_at is None or self.ordered_away or self.killed or bool(self.serves)


@dataclass(slots=True, eq=False)
class Listener:
    """A listening socket with its queue, and how the keeper watches it."""

    app: str
    generation: int
    is_public: bool = False
    queue: list[Visitor] = field(default_factory=list)
    watched: bool = False
    ordered: bool = False
    """Whether it is watched because the manager said so."""
    awaited: bool = False
    """Whether the manager was told of somebody, and no instance was started since."""
    closes_at: int | None = None


class Played:
    """All of it."""

    def __init__(self, now: Instant) -> None:
        self.now = now
        self.processes: dict[InstanceId, Process] = {}
        self.listeners: list[Listener] = []
        self.shared: set[str] = set()
        """Applications whose generations share one listener (TCP)."""
        self.removed: set[str] = set()
        """Applications that are in no configuration any more."""
        self.concurrency: dict[str, int] = {}
        self.news: list[ev.Event] = []
        """What the keeper has to tell."""
        self.integral: dict[str, int] = {}
        self.requests: dict[str, int] = {}
        self.lost = 0
        """Visitors that were with an instance when it ended unasked."""
        self.taken_busy = 0
        """Visitors that were lost because an instance was removed without being cut."""

    # ── listeners ────────────────────────────────────────────────────────────────────────────────────────────────

    def define(self, app: Application) -> None:
        """Take up a definition."""
        self.concurrency[app.name] = app.concurrency or 1
        if app.port is not None:
            self.shared.add(app.name)

    def public(self, app: str) -> Listener | None:
        """Return the listener that visitors of *app* reach."""
        return next((one for one in self.listeners if one.app == app and one.is_public), None)

    def of(self, app: str, generation: int) -> Listener | None:
        """Return the listener of a generation."""
        mine = [one for one in self.listeners if one.app == app]
        return next((one for one in mine if app in self.shared or one.generation == generation), None)

    def make(self, app: str, generation: int) -> Listener:
        """Return the listener of a generation, made where it is missing."""
        listener = self.of(app, generation)
        if listener is None:
            listener = Listener(app, generation)
            self.listeners.append(listener)
        return listener

    def publish(self, app: str, generation: int) -> None:
        """Let visitors reach the listener of *generation*, or none (0)."""
        before = [one for one in self.listeners if one.app == app and one.is_public]
        if generation:
            self.removed.discard(app)
        ordered = any(one.ordered and one.watched for one in before)
        new = self.make(app, generation) if generation else None
        for one in before:
            if one is not new:
                self._withdraw(one)
        if new is None:
            return
        new.is_public, new.closes_at = True, None
        if app in self.shared:
            new.generation = generation
        if ordered or not self._on(new):
            self._arm(new, ordered=ordered)

    def watch(self, app: str) -> None:
        """Tell once when somebody comes."""
        listener = self.public(app)
        if listener is not None:
            self._arm(listener, ordered=True)

    def remove(self, app: str) -> None:
        """Let nobody reach *app* any more, and close its listeners when its last instances have gone."""
        self.removed.add(app)
        for listener in [one for one in self.listeners if one.app == app]:
            self._withdraw(listener)

    def _withdraw(self, listener: Listener) -> None:
        listener.is_public = listener.watched = listener.ordered = False
        if self._on(listener):
            return
        if listener.app in self.removed:
            self.listeners.remove(listener)
        else:
            listener.closes_at = self.now + LATE
            self._arm(listener, ordered=False)

    def _arm(self, listener: Listener, *, ordered: bool) -> None:
        listener.watched, listener.ordered, listener.awaited = True, ordered, False

    def _on(self, listener: Listener) -> list[Process]:
        return [one for one in self.processes.values() if self.of(one.app, one.generation) is listener]

    # ── processes ────────────────────────────────────────────────────────────────────────────────────────────────

    def spawn(self, order: cmd.Spawn) -> None:
        """Take the order to start an instance; whether it works is said later."""
        listener = self.make(order.app, order.generation)
        listener.closes_at, listener.awaited = None, False
        if not listener.ordered:
            listener.watched = False
        self.processes[order.instance] = Process(
            number=order.instance,
            app=order.app,
            generation=order.generation,
            why=order.why,
            is_refuser=order.turns_away is not None,
        )

    def exec(self, process: Process) -> ev.Event:
        """Let it exist."""
        process.started_at = self.now
        return ev.Spawned(instance=process.number, pid=1000 + process.number, at=self.now)

    def become_ready(self, process: Process) -> ev.Event:
        """Let it accept connections."""
        process.ready_at = self.now
        return ev.BecameReady(instance=process.number, how=ev.Readiness.ACCEPTING, at=self.now)

    def end(self, process: Process, code: int | None = 1) -> ev.Event:
        """Let it be gone, or never have been."""
        del self.processes[process.number]
        if not process.killed:
            self.lost += len(process.serves)
        listener = self.of(process.app, process.generation)
        if listener is not None and not self._on(listener):
            if not listener.is_public:
                self._withdraw(listener)
            elif not listener.ordered:
                self._arm(listener, ordered=False)
        if process.started_at is None:
            return ev.SpawnFailed(instance=process.number, step="exec", error="ENOENT", at=self.now)
        signal = 9 if process.killed else None
        return ev.Exited(
            instance=process.number, code=None if signal else code, signal=signal, dumped=False, at=self.now
        )

    def retire(self, order: cmd.Retire) -> None:
        """Take the order to remove an instance: a cut is done at once, else it is answered later."""
        process = self.processes.get(order.instance)
        if process is None or process.killed:
            return
        if order.cut:
            process.failed = process.ready_at is None
            self.news.append(self.kill(process, ev.Removal.CUT))
        else:
            assert process.started_at is not None, "asked to verify a process that does not exist yet"
            process.ordered_away = True

    def kill(self, process: Process, how: ev.Removal) -> ev.Event:
        """Carry a removal out."""
        process.ordered_away, process.killed = False, True
        connections = len(process.serves)
        if how is not ev.Removal.CUT:
            self.taken_busy += connections
        process.serves.clear()
        behind = self.left_behind(process) if how is ev.Removal.CUT else 0
        return ev.Removed(instance=process.number, how=how, connections=connections, waiting=behind, at=self.now)

    def left_behind(self, process: Process) -> int:
        """Return how many wait at the listener of *process*, if nobody can reach that any more."""
        listener = self.of(process.app, process.generation)
        return 0 if listener is None or listener.is_public or process.app in self.shared else len(listener.queue)

    def answer(self, process: Process, obstacle: ev.Refusal | None) -> ev.Event:
        """Answer the order to remove it, as the keeper would: kill it unless it serves, or *obstacle*."""
        listener = self.of(process.app, process.generation)
        why = obstacle
        if process.serves:
            why = ev.Refusal.BUSY
        elif listener is not None and not listener.is_public and listener.queue and len(self._on(listener)) == 1:
            why = ev.Refusal.QUEUE
        if why is None:
            return self.kill(process, ev.Removal.KILLED)
        process.ordered_away = False
        return ev.RemovalRefused(instance=process.number, why=why, at=self.now)

    def living(self) -> list[LiveInstance]:
        """Return what a new manager is told of instances; what is under way is finished before that."""
        for process in list(self.processes.values()):
            process.ordered_away, process.why = False, "found"
            if process.started_at is None or process.killed:
                self.end(process)
        return [
            LiveInstance(
                instance=one.number,
                app=one.app,
                generation=one.generation,
                pid=1000 + one.number,
                started_at=Instant(one.started_at or 0),
                ready_at=None if one.ready_at is None else Instant(one.ready_at),
                asked=one.asked,
                turns_away=one.is_refuser,
            )
            for one in self.processes.values()
        ]

    # ── visitors ─────────────────────────────────────────────────────────────────────────────────────────────────

    def come(self, listener: Listener, *, noticed: bool) -> Visitor | None:
        """Let somebody connect; None: the queue is full.  *noticed*: an instance does not take him first."""
        if len(listener.queue) > DEPTH:
            return None
        visitor = Visitor(self.now)
        listener.queue.append(visitor)
        if noticed:
            self._tell(listener)
        return visitor

    def settle(self) -> None:
        """Let instances take who waits, and the keeper tell of who stays there."""
        for listener in list(self.listeners):
            if not listener.is_public and listener.closes_at is not None and listener.closes_at <= self.now:
                self._close(listener)
                continue
            for process in self._on(listener):
                room = self.concurrency[process.app] if not process.is_refuser else DEPTH + 1
                while listener.queue and process.accepts and len(process.serves) < room:
                    visitor = listener.queue.pop(0)
                    if not visitor.gave_up and not process.is_refuser:
                        process.serves.append(visitor)
                        self.requests[process.app] = self.requests.get(process.app, 0) + 1
            if listener.queue:
                self._tell(listener)

    def _tell(self, listener: Listener) -> None:
        if listener.watched:
            listener.watched, listener.ordered, listener.awaited = False, False, True
            self.news.append(ev.SomebodyWaits(app=listener.app, generation=listener.generation))

    def _close(self, listener: Listener) -> None:
        if listener.queue:
            listener.closes_at = self.now + LATE
            listener.watched = True
            self._tell(listener)
        else:
            self.listeners.remove(listener)

    def waiting(self, app: str) -> Iterator[Visitor]:
        """Yield who waits at the public listener and has not given up."""
        listener = self.public(app)
        if listener is not None:
            yield from (one for one in listener.queue if not one.gave_up)

    def busy(self, app: str) -> int:
        """Return how many connections the instances of *app* hold."""
        return sum(len(one.serves) for one in self.processes.values() if one.app == app)

    def pass_to(self, now: Instant) -> None:
        """Let time pass."""
        for process in self.processes.values():
            spent = len(process.serves) * (now - self.now)
            self.integral[process.app] = self.integral.get(process.app, 0) + spent
        self.now = now

    def look(self, app: str) -> ev.Sample | None:
        """Return what there is to be seen; None: there is no listener."""
        listener = self.public(app)
        if listener is None:
            return None
        for visitor in listener.queue:
            visitor.seen_at = self.now if visitor.seen_at is None else visitor.seen_at
        since = [Instant(one.seen_at or 0) for one in self.waiting(app)]
        return ev.Sample(
            queued=len(listener.queue),
            limit=DEPTH,
            abandoned=len(listener.queue) - len(since),
            oldest_since=min(since, default=None),
            busy=self.busy(app),
            connection_time=self.integral.pop(app, 0),
            requests=self.requests.pop(app, 0),
            memory={one.number: one.size for one in self.processes.values() if one.app == app and one.size},
        )
