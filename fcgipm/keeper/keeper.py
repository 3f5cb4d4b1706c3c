"""The keeper put together: every part, what each asks of the others, and how they begin."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import fcgipm
from fcgipm import wire
from fcgipm.counting import counted
from fcgipm.keeper.applying.apply import Applier
from fcgipm.keeper.applying.changes import Changes
from fcgipm.keeper.context import Context
from fcgipm.keeper.daemon import public
from fcgipm.keeper.daemon.answers import Answers
from fcgipm.keeper.daemon.emptying import Emptying
from fcgipm.keeper.daemon.ending import Ending
from fcgipm.keeper.daemon.logfile import reopen_log
from fcgipm.keeper.daemon.powers import raise_limit
from fcgipm.keeper.daemon.progress import Outcome, Progress
from fcgipm.keeper.daemon.runtime import Runtime, StartError
from fcgipm.keeper.daemon.signals import Signals
from fcgipm.keeper.daemon.telling import Telling
from fcgipm.keeper.dispatch import Dispatch
from fcgipm.keeper.instances.book import Book
from fcgipm.keeper.instances.outputs import Outputs
from fcgipm.keeper.instances.programs import Programs
from fcgipm.keeper.instances.reaper import reap_all
from fcgipm.keeper.instances.starting import Starting
from fcgipm.keeper.instances.strays import Strays
from fcgipm.keeper.keeping import execing
from fcgipm.keeper.keeping.adopt import Adoption, left_by
from fcgipm.keeper.keeping.handing_over import HandingOver
from fcgipm.keeper.keeping.origin import Origin
from fcgipm.keeper.keeping.record import Books, Record
from fcgipm.keeper.keeping.state import KeptNote
from fcgipm.keeper.keeping.statefile import StateFile
from fcgipm.keeper.keeping.store import Store, is_stored
from fcgipm.keeper.keeping.takeback import Stored
from fcgipm.keeper.keeping.upgrading import Upgrading
from fcgipm.keeper.listening.given import Given
from fcgipm.keeper.listening.guard import Guard
from fcgipm.keeper.listening.listeners import Listeners
from fcgipm.keeper.listening.own_sockets import OwnSockets
from fcgipm.keeper.listening.place import Places
from fcgipm.keeper.listening.sockets import SocketError
from fcgipm.keeper.roots.undeclared import Undeclared
from fcgipm.keeper.supervising.conversation import Handover
from fcgipm.keeper.supervising.farewell import Farewell
from fcgipm.keeper.supervising.handover import Briefing
from fcgipm.keeper.supervising.orders import Actions, Orders
from fcgipm.keeper.supervising.supervise import Supervisor
from fcgipm.linux import pidfd as pidfds
from fcgipm.linux.sock_diag import Diag
from fcgipm.linux.systemd import Service
from fcgipm.log import Logger

if TYPE_CHECKING:
    from fcgipm.config.loaded import Loaded


class Keeper:
    """The daemon's main process."""

    def __init__(
        self,
        loaded: Loaded,
        log: Logger,
        stack: contextlib.ExitStack,
        runtime: Runtime,
        *,
        environ: Mapping[str, str],
        foreground: bool,
        manager_argv: Sequence[str],
        service: Service,
        given: Given,
        origin: Origin,
    ) -> None:
        """Put the parts together; what must be closed goes onto *stack*."""
        self._stack, self._runtime, self._service = stack, runtime, service
        self._origin = origin
        dispatch = Dispatch(log)
        stack.callback(dispatch.close)
        self._telling = Telling(dispatch, service, log.log)
        stack.callback(self._telling.close)
        # Before there is anything to clean up, and until all is: a signal must not end us in between.
        self._signals = stack.enter_context(Signals(dispatch, self._signalled))
        diag = Diag()
        stack.callback(diag.close)
        self._context = context = Context(dispatch, log, loaded, diag, origin.nofile(raise_limit()), given=given)
        context.store = Store(self._telling.tell, room=service.room, say=log.log)
        self._book = Book()
        self._guard = Guard(dispatch)
        stack.callback(self._guard.close)
        self._places = Places()
        self._listeners = Listeners(context, self._guard, self._places)
        stack.callback(self._listeners.close_all)
        self._notes: dict[str, KeptNote] = {}
        self._dynamic = Undeclared(context, self._book, self._listeners, self._notes)
        stack.callback(self._dynamic.close)
        self._outputs = Outputs(context)
        self._strays = Strays(context, self._is_known)
        self._programs = Programs(context)
        stack.callback(self._programs.close)
        self._own: OwnSockets
        self._progress: Progress
        self._environ, self._foreground = environ, foreground
        self._manager_argv = manager_argv
        self._starting: Starting
        self._orders: Orders
        self._supervisor: Supervisor
        self._ending: Ending
        self._answers: Answers
        self._kept: StateFile
        self._adoption: Adoption
        self._briefing: Briefing

    def open(self, report_start: Callable[[Outcome], None]) -> None:
        """Bind all sockets and make everything ready for `run`; raise `StartError` with all problems."""
        self._open_sockets()
        context = self._context
        origin = self._origin
        apps = context.loaded.config.applications

        def tell(outcome: Outcome) -> None:
            if not origin.is_upgrade:
                context.say("info" if outcome.status == 0 else "error", outcome.text)
                report_start(outcome)

        # After an upgrade nobody waits for its outcome: whoever did was told long ago.
        self._progress = Progress(() if origin.is_upgrade else apps.values(), tell, self._summary)
        self._starting = Starting(
            context,
            self._book,
            listeners=self._listeners,
            dynamic=self._dynamic,
            outputs=self._outputs,
            strays=self._strays,
            progress=self._progress,
        )
        actions = Actions(
            apply=self._apply,
            upgrade=self._upgrade,
            reopen_logs=lambda: reopen_log(context),
            shut_down=self._shut_down,
            hold=lambda reading: self._supervisor.hold(reading=reading),
        )
        self._orders = Orders(
            context,
            self._book,
            listeners=self._listeners,
            dynamic=self._dynamic,
            starting=self._starting,
            outputs=self._outputs,
            progress=self._progress,
            actions=actions,
            notes=self._notes,
        )
        self._supervisor = Supervisor(context, self._manager_argv, self._handover, self._orders.obey)
        context.reporter = self._supervisor
        self._supervisor.ended_early = self._progress.give_up
        changes = Changes(
            context, self._listeners, self._starting, self._programs, self._notes,
            dynamic=self._dynamic, progress=self._progress,
        )  # fmt: skip
        self._applier = Applier(
            context, changes, self._listeners, self._dynamic, environ=self._environ, foreground=self._foreground
        )
        emptying = Emptying(
            self._book,
            withdraw=lambda: public.withdraw_all(context, self._listeners),
            retire=lambda number: self._orders.obey(wire.Retire(instance=number, cut=False)),
        )
        self._ending = Ending(context, self._book, self._strays, self._supervisor, emptying)
        self._ending.announce = self._telling.stopping
        self._answers = Answers(
            context, self._ending, reap=self._reap, reloading=self._telling.reloading, upgrade=self._upgrade
        )
        self._applier.read = self._was_read
        self._telling.summary = self._state
        self._briefing = Briefing(
            context, self._book, self._starting, self._listeners, self._dynamic, self._orders, self._own,
            self._ending, self._answers, self._adoption, lambda: self._upgrading.last,
            started_at=origin.started_at, started_unix=origin.started_unix,
        )  # fmt: skip
        self._starting.one_less = self._ending.look
        handing = HandingOver(
            context, self._runtime, self._signals, self._book, self._listeners, self._own, self._starting,
            self._progress, self._applier, self._answers, self._ending, self._keep(),
            self._telling,
        )  # fmt: skip
        self._upgrading = Upgrading(handing, origin, self._manager_argv, foreground=self._foreground)
        self._stack.callback(self._upgrading.close)
        self._supervisor.attended = self._upgrading.attended
        self._programs.define(apps.values())
        self._starting.began = self._programs.began
        self._dynamic.dropped = self._starting.forget_recipes
        try:
            self._adoption.take_instances(self._starting, self._strays, self._orders, self._dynamic, self._progress)
            self._listeners.close_strange()
            self._dynamic.define()
        except OSError as error:
            raise StartError(f"scripts cannot be watched: {error}") from error

    def begin(self) -> None:
        """Start the manager, and all that follows from that."""
        pidfds.become_subreaper()
        dispatch = self._context.dispatch
        left = self._origin.state
        farewell = Farewell(self._context, None if left is None else left.manager)
        self._stack.callback(farewell.close)
        holders = (
            self._starting.looks, self._orders, self._supervisor, self._listeners, self._guard, self._outputs,
            self._strays, self._ending, self._applier, self._dynamic, self._programs, self._telling, self._kept,
            self._upgrading, farewell,
        )  # fmt: skip
        for holder in holders:
            dispatch.hold(holder)
        gc.collect()
        gc.freeze()  # what is here stays: no collection ever touches, and so copies, its pages after a fork
        path = self._context.loaded.path
        before = self._origin.upgraded
        how = "has started" if before is None else f"goes on in place of {before.before}"
        self._context.say("info", f"fcgipm {fcgipm.__version__} {how}: pid {os.getpid()}, {path}")
        self._supervisor.start(self._origin.manager())
        self._origin.heritage.close()
        execing.unblock_signals()  # the program before, or whoever started this one, may have blocked them
        if before is not None:
            self._reap()  # who has ended while nobody was there
        self._telling.ready()
        self._progress.begun()

    def run(self) -> int:
        """Go round until the end; return the exit status."""
        self._context.dispatch.run()
        self._kept.finish()
        self._context.say("info", f"fcgipm ends with status {self._ending.status}")
        return self._ending.status

    def _open_sockets(self) -> None:
        context, origin = self._context, self._origin
        state, unusable = origin.state, ""
        if state is None:
            state, unusable = left_by(context, self._runtime.fileno())
        stored = Stored(context, [one for one in self._service.passed if is_stored(one)])
        self._adoption = Adoption(
            context, self._book, self._listeners, self._places, self._guard, origin.heritage, stored, state,
            same_process=origin.is_upgrade,
        )  # fmt: skip
        self._stack.callback(self._let_go)
        self._adoption.take_sockets()
        problems = public.open_all(
            context, self._listeners, stored, () if state is None else state.listeners,
            has_one=self._adoption.has_listener, may_lack=self._adoption.is_doubtful, whatever_fails=origin.is_upgrade,
        )  # fmt: skip
        if problems and not origin.is_upgrade:
            raise StartError("\n".join(filter(None, (unusable, *problems))))
        for problem in problems:
            context.say("error", problem)
        # After the others: while those are refused, nobody must find a control socket that is about to go again.
        try:
            self._own = OwnSockets(
                context.loaded, context.diag, self._guard, self._places, context.tell, heritage=origin.heritage
            )
        except SocketError as error:
            raise StartError(f"cannot bind {error}") from error
        self._stack.callback(self._own.close)

    def _let_go(self) -> None:
        if not self._context.dispatch.ended:
            self._adoption.let_go()

    def _keep(self) -> Record:
        """Have what is in the books written down from now on; return who puts it together."""
        books = Books(
            self._book, self._listeners, self._strays, self._dynamic, self._supervisor, self._ending,
            self._notes.items, started_at=self._origin.started_at, started_unix=self._origin.started_unix,
        )  # fmt: skip
        record = Record(books)
        self._context.keeping = self._kept = StateFile(self._context, self._runtime.fileno(), record)
        self._context.dispatch.before_sleep = self._kept.settle
        self._book.changed = self._kept.changed
        self._kept.changed()
        return record

    def _is_known(self, pid: int) -> bool:
        return self._book.of_pid(pid) is not None or self._supervisor.pid == pid

    def _summary(self) -> str:
        apps = len(self._context.loaded.config.applications)
        return f"running (pid {os.getpid()}): {counted(apps, 'app')}, {counted(len(self._book), 'instance')}"

    def _state(self) -> str:
        apps, starting = len(self._context.loaded.config.applications), len(self._starting.looks)
        parts = ["stopping" if self._ending.decided is not None else counted(apps, "app")]
        parts.append(counted(len(self._book), "instance") + (f" ({starting} starting)" if starting else ""))
        if not self._supervisor.is_alive:
            parts.append("without a manager")
        return ", ".join(parts)

    # ── what the parts ask for ───────────────────────────────────────────────────────────────────────────────────

    def _handover(self) -> Handover:
        return self._briefing.handover()

    def _signalled(self, number: int) -> None:
        self._answers.answer(number)

    def _reap(self) -> None:
        reap_all(self._book, self._starting.ended, self._supervisor.ended)

    def _apply(self, order: wire.Apply) -> None:
        if order.is_whole:
            self._answers.applying()
        if not order.dry_run:
            self._telling.reloading()
        self._applier.apply(order)

    def _upgrade(self, request: int | None = None) -> None:
        self._upgrading.ask(request)

    def _was_read(self, problem: str) -> None:
        self._telling.reloaded(problem)
        self._upgrading.applied()

    def _shut_down(self, status: int, finished: bool) -> None:
        if finished:
            self._ending.begin(status)
        else:
            self._ending.decide(status)
