"""What the manager orders: checked against the keeper's own books, limited in rate, carried out, answered.

The list of orders is closed.  It, and nothing else, is what somebody can do who has captured the manager.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fcgipm import wire
from fcgipm.config.schema import Application
from fcgipm.config.socketnames import LARGEST_GENERATION
from fcgipm.keeper.context import Context
from fcgipm.keeper.daemon.progress import Progress
from fcgipm.keeper.instances import retire
from fcgipm.keeper.instances.book import Book
from fcgipm.keeper.instances.outputs import Outputs
from fcgipm.keeper.instances.removals import Removals
from fcgipm.keeper.instances.shortage import is_one
from fcgipm.keeper.instances.starting import Starting
from fcgipm.keeper.instances.unseen import Unseen
from fcgipm.keeper.keeping.state import KeptNote
from fcgipm.keeper.listening.listeners import Listeners
from fcgipm.keeper.listening.sockets import SocketError
from fcgipm.keeper.roots.undeclared import Undeclared
from fcgipm.keeper.supervising.bucket import Bucket
from fcgipm.keeper.supervising.notes import Notes

MAX_INSTANCES: Final = 20_000
"""Of one application: twice what `processes` and `scale` may be, for a generation and the one that replaces it."""

MAX_CANARIES: Final = 4
"""Of one application: one is being proved, and those before it may take their time to end."""
MAX_RETRY_AFTER: Final = 24 * 3600
"""Seconds."""
MAX_QUEUE: Final = 2**31 - 1
"""Connections: the kernel's own."""


@dataclass(frozen=True, slots=True)
class Actions:
    """What the whole keeper does on an order."""

    apply: Callable[[wire.Apply], None]
    upgrade: Callable[[int], None]
    reopen_logs: Callable[[], None]
    shut_down: Callable[[int, bool], None]
    """With what exit status, and whether all is done for it."""
    hold: Callable[[bool], None]
    """Read the wire (True) or leave the orders in it (False)."""


class Orders:
    """Obeys the manager, within bounds."""

    def __init__(
        self,
        context: Context,
        book: Book,
        *,
        listeners: Listeners,
        dynamic: Undeclared,
        starting: Starting,
        outputs: Outputs,
        progress: Progress,
        actions: Actions,
        notes: dict[str, KeptNote],
    ) -> None:
        self._context = context
        self._book = book
        self._listeners = listeners
        self._dynamic = dynamic
        self._starting = starting
        self._outputs = outputs
        self._progress = progress
        self._actions = actions
        self._removals = Removals(context, book)
        self._unseen = Unseen()
        self.notes = Notes(context, notes, starting.digest)
        self._buckets: dict[type[object], Bucket] = {
            wire.Spawn: Bucket(burst=500, rate=300),
            wire.Retire: Bucket(burst=1000, rate=400),
            wire.Publish: Bucket(burst=500, rate=100),
            wire.Open: Bucket(burst=500, rate=100),
            wire.Watch: Bucket(burst=5000, rate=500),
            wire.Count: Bucket(burst=5000, rate=1000),
            wire.Connect: Bucket(burst=500, rate=100),
            wire.Note: Bucket(burst=20_000, rate=5_000),
            wire.Apply: Bucket(burst=20_000, rate=2_000),  # one for each SIGHUP, and all at once are answered at once
            wire.Upgrade: Bucket(burst=20, rate=2),
            wire.ReopenLogs: Bucket(burst=20, rate=2),
        }
        self._held: tuple[wire.Order, int] | None = None
        """The order that came too soon, and when it may be carried out; those behind it wait in the wire."""

    def obey(self, order: wire.Order) -> None:
        """Carry out *order* now, or hold it until its turn."""
        bucket = self._buckets.get(type(order))
        now = time.monotonic_ns()
        delay = 0 if bucket is None else bucket.wait(now)
        if delay:
            self._held = order, now + delay
            self._actions.hold(False)
        else:
            self._carry_out(order)

    def forget(self) -> None:
        """The manager whose order is held has gone."""
        self._held = None

    def deadline(self) -> int | None:
        """Return when the held order may be carried out."""
        return None if self._held is None else self._held[1]

    def expire(self, now: int) -> None:
        """Carry out the held order and read on."""
        assert self._held is not None, now
        order, _ = self._held
        self._held = None
        self._actions.hold(True)
        self.obey(order)

    def _carry_out(self, order: wire.Order) -> None:
        """Do it; whatever goes wrong, the manager gets an answer: it waits for one."""
        try:
            self._do(order)
        except Exception as error:
            self._answer_failure(order, error)
            if not isinstance(error, OSError | MemoryError):
                raise  # a mistake of ours: the loop says where

    def _answer_failure(self, order: wire.Order, error: Exception) -> None:
        why = str(error) if isinstance(error, OSError) else f"internal error: {error!r}"
        why = "out of memory" if isinstance(error, MemoryError) else why
        report, now = self._context.reporter.report, time.monotonic_ns()
        match order:
            case wire.Spawn():
                if self._book.get(order.instance) is None:  # else its end is what answers
                    self._starting.failed(order.app, order.instance, "spawn", why, shortage=is_one(error))
            case wire.Retire():
                self._removals.complain(self._book.get(order.instance), why)
                report(wire.RemovalRefused(instance=order.instance, why=retire.Result.UNSTOPPABLE.value, at=now))
            case wire.Publish():
                report(wire.PublishFailed(app=order.app, generation=order.generation, error=why))
            case wire.Connect():
                report(wire.ConnectFailed(app=order.app, generation=order.generation, error=why))
            case wire.Open():
                report(wire.OpenFailed(root=order.root, path=order.path, error=why, obstacle="forbidden"))
            case wire.Apply():
                report(
                    wire.Applied(
                        request=order.request, problems=(why,), warnings=(), changes=(), definitions=None, listeners=()
                    )
                )
            case wire.Upgrade():
                report(wire.UpgradeFailed(request=order.request, error=why))
            case _:
                self._context.say("error", f"the order {type(order).__name__} cannot be carried out: {why}")

    def _do(self, order: wire.Order) -> None:
        match order:
            case wire.Spawn():
                self._spawn(order)
            case wire.Open():
                self._dynamic.obey(order)
            case wire.Watch():
                self._watch(order)
            case wire.Count():
                self._count(order)
            case wire.Connect():
                self._connect(order)
            case wire.Retire():
                self._removals.retire(order)
            case wire.Publish():
                self._publish(order)
            case wire.Note():
                self._note(order)
            case _:
                self._steer(order)

    def _steer(self, order: wire.Apply | wire.Upgrade | wire.ReopenLogs | wire.Shutdown | wire.Heard) -> None:
        match order:
            case wire.Apply():
                self._actions.apply(order)
            case wire.Upgrade():
                self._actions.upgrade(order.request)
            case wire.ReopenLogs():
                self._actions.reopen_logs()
            case wire.Shutdown():
                self._actions.shut_down(order.status & 0xFF, order.finished)
            case wire.Heard():
                self._outputs.heard()

    def _deny(self, order: wire.Order, error: str) -> None:
        self._context.deny(type(order).__name__, error)

    # ── spawn ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _spawn(self, order: wire.Spawn) -> None:
        app = self._context.application(order.app)
        error = f"there is no application {order.app!r}" if app is None else self._why_not(order, app)
        if app is not None and not error:
            self._starting.spawn(app, order)
            return
        self._deny(order, error)
        if self._book.get(order.instance) is None:  # else that one is meant by every report of this number
            report = wire.SpawnFailed(instance=order.instance, step="check", error=error, at=time.monotonic_ns())
            self._context.reporter.report(report)

    def _why_not(self, order: wire.Spawn, app: Application) -> str:
        """Return why nothing is started by *order*, an empty text if nothing speaks against it."""
        if order.instance <= self._book.highest:
            return f"instance {order.instance} has existed, the highest is {self._book.highest}"
        if not 1 <= order.generation <= LARGEST_GENERATION:
            return f"{order.generation} is no generation"
        if self._book.count(order.app) >= MAX_INSTANCES:
            return f"{order.app} has {MAX_INSTANCES} instances"
        if order.turns_away is not None and app.overload_response != "503":
            return f"nobody is to be turned away from {order.app}: its overload-response is {app.overload_response}"
        if order.turns_away is not None and not 0 <= order.turns_away <= MAX_RETRY_AFTER:
            return f"{order.turns_away} is no Retry-After"
        if order.canary and (order.turns_away is not None or self._listeners.canaries.count(order.app) >= MAX_CANARIES):
            return f"{order.app} has {MAX_CANARIES} canaries" if order.turns_away is None else "nobody reaches a canary"
        if not 0 <= order.above <= MAX_QUEUE:
            return f"{order.above} is no length of a queue"
        return ""

    # ── publish, watch, count, note ──────────────────────────────────────────────────────────────────────────────────

    def _publish(self, order: wire.Publish) -> None:
        app = self._context.application(order.app)
        if order.generation == 0:
            self._listeners.take_away(order.app)
            self._progress.dropped(order.app)
            self._dynamic.forget(order.app)
            return
        try:
            if app is None:
                raise SocketError(f"there is no application {order.app!r}")
            if not 1 <= order.generation <= LARGEST_GENERATION:
                raise SocketError(f"{order.generation} is no generation")
            listener = self._listeners.of(app, order.generation)
            self._listeners.publish(listener)
            self._dynamic.keep(app.name)
        except (SocketError, LookupError, OSError) as error:
            report = wire.PublishFailed(app=order.app, generation=order.generation, error=str(error))
            self._context.reporter.report(report)
        else:
            self._context.reporter.report(wire.Published(listener=listener.fact(), at=time.monotonic_ns()))
            if not any(instance.generation == order.generation for instance in self._book.of_app(order.app)):
                self._progress.dropped(order.app)  # a public socket for nobody: it was stopped

    def _watch(self, order: wire.Watch) -> None:
        listener = self._listeners.known.published(order.app)
        if listener is None:
            self._deny(order, f"{order.app!r} has no public listener")
        else:
            self._listeners.watch(listener)

    def _count(self, order: wire.Count) -> None:
        if not self._listeners.known.of_app(order.app):  # one that was removed still serves at what was public
            self._deny(order, f"{order.app!r} has no listener")
            return
        connections = self._unseen.find(self._book.of_app(order.app), self._book.is_leader, self._context.diag)
        if connections is not None:
            self._context.reporter.report(wire.Unseen(app=order.app, connections=connections))

    def _connect(self, order: wire.Connect) -> None:
        try:
            connection = self._listeners.connect(order.app, order.generation)
        except (SocketError, OSError) as error:
            why = str(error) if isinstance(error, SocketError) else (error.strerror or str(error)).lower()
            failed = wire.ConnectFailed(app=order.app, generation=order.generation, error=why)
            self._context.reporter.report(failed)
            return
        with connection:
            report = wire.Connected(app=order.app, generation=order.generation)
            self._context.reporter.report(report, (connection.fileno(),))

    def _note(self, order: wire.Note) -> None:
        error = self.notes.why_not(order)
        if error:
            self._deny(order, error)
        else:
            self.notes.keep(order)
