"""Turns events into orders: the one place where the engine is asked, and where its deadline is kept."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fcgipm import wire
from fcgipm.config.schema import Change
from fcgipm.core import events
from fcgipm.core.commands import Command, Note, Probe, Severity, Shutdown, Spawn, Tell, Topic
from fcgipm.core.events import Instant
from fcgipm.log import wall_clock
from fcgipm.manager import translate
from fcgipm.manager.connectors.ensuring import Ensuring
from fcgipm.manager.observing.observe import Observer
from fcgipm.manager.probing import Probing
from fcgipm.manager.state import Member, State
from fcgipm.manager.telling.record import EventRecord

_NANOSECONDS: Final = 1_000_000_000
LAST_LINES: Final = 10
LAST_BYTES: Final = 4096
"""What is attached at most to the event of a crash."""
_GOODBYE: Final = 1.0
"""Seconds that the daemon's end waits at most for the answers to those who asked for it."""
_CRASHES: Final = {Topic.INSTANCE_ENDED, Topic.START_FAILED}

Say = Callable[[Severity, str | None, str], None]
"""Writes one message of fcgipm's own to the log: severity, application, text."""
Effects = Callable[[Mapping[str, Change]], Mapping[str, Change]]
"""Alters the effects that changed definitions have, by application."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """An apply that the keeper was asked for."""

    future: asyncio.Future[wire.Applied]
    effects: Effects
    whole: bool
    """Whether all of the file was to be taken over: only then it says how good the file is."""


class Driver:
    """Steps the engine of *state*, sends orders by *send*, and says things by *say*."""

    def __init__(
        self, state: State, send: Callable[[wire.Order], None], say: Say, fail: Callable[[Exception], None]
    ) -> None:
        self.state = state
        self.say = say
        self._fail = fail
        self._send = send
        self._armed: Instant | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._numbers = itertools.count(1)
        self._applies: dict[int, _Asked] = {}
        self._upgrades: dict[int, asyncio.Future[wire.UpgradeFailed]] = {}
        self._kept: set[asyncio.Task[None]] = set()
        self.ending: Shutdown | None = None
        """Set once the daemon is about to end."""
        self._mourners: set[asyncio.Future[None]] = set()
        self.ensuring = Ensuring(state, self.step, send, say)
        """Answers those who want an instance that is ready."""
        self.observer = Observer(state, say, send)
        self.probing = Probing(state, self.step, send, self.keep)

    def step(self, event: events.Event) -> None:
        """Give *event* to the engine, carry out what it commands, and keep its deadline.

        Applications that it wants to be looked at are looked at first; that is also what time passing leads to.  An
        error on the way ends the manager, whoever brought the event: what the engine holds is in doubt then.
        """
        try:
            now = self.state.now()
            looked_for = self.state.engine.looks(now)
            if looked_for:
                self._give(self.observer.observe(looked_for, now), now)
            if not looked_for or not isinstance(event, events.Tick):
                self._give(event, now)
            self._arm()
        except Exception as error:
            self._fail(error)
            raise
        self.state.changed.notify()
        self.ensuring.after_step()

    def glance(self, now: Instant) -> Mapping[str, events.Sample]:
        """Return what is to be seen of every application, for people.

        The engine is told of somebody at an application that it lets rest: he came before the keeper watched for him.
        """
        samples = self.observer.glance(now)
        stirred = self.observer.stirred(samples, now)
        if stirred:
            self.step(self.observer.observe(stirred, now))
        return samples

    def _give(self, event: events.Event, now: Instant) -> None:
        # Notes first: what the keeper does while a child is between fork and exec costs it most.
        commands = self.state.engine.step(event, now)
        for command in sorted(commands, key=lambda one: not isinstance(one, Note)):
            self._carry_out(command)

    def note(self, tell: Tell, severity: str) -> None:
        """Keep *tell* as an event, with an instance's last words where it crashed."""
        lines: tuple[str, ...] = ()
        if tell.topic in _CRASHES and tell.severity >= Severity.WARNING and tell.app and tell.instance is not None:
            lines = self.state.logs.last_words(tell.app, tell.instance, lines=LAST_LINES, size=LAST_BYTES)
        self.record(
            EventRecord(
                time=wall_clock(),
                severity=severity,
                topic=tell.topic.value,
                app=tell.app,
                instance=tell.instance,
                reason=tell.reason,
                text=tell.text,
                lines=lines,
            )
        )

    def record(self, record: EventRecord) -> None:
        """Keep *record* and give it to who follows the events."""
        self.state.events.publish(record)

    def ask_apply(
        self,
        *,
        apps: tuple[str, ...] | None = None,
        dry_run: bool = False,
        effects: Effects = dict,
    ) -> asyncio.Future[wire.Applied]:
        """Order the configuration to be read again; the future gets the keeper's answer.

        With *apps* only their definitions are taken over, in a *dry_run* none.  *effects* may alter what the engine is
        told of the changes before it acts upon them.
        """
        number = next(self._numbers)
        future: asyncio.Future[wire.Applied] = asyncio.get_running_loop().create_future()
        self._applies[number] = _Asked(future, effects, whole=apps is None and not dry_run)
        self._send(wire.Apply(request=number, apps=apps, dry_run=dry_run))
        return future

    def ask_upgrade(self) -> asyncio.Future[wire.UpgradeFailed]:
        """Order the program to be replaced; the future gets why it was not, and nothing ever if it was."""
        number = next(self._numbers)
        future: asyncio.Future[wire.UpgradeFailed] = asyncio.get_running_loop().create_future()
        self._upgrades[number] = future
        self._send(wire.Upgrade(request=number))
        return future

    def take_upgrade_failed(self, report: wire.UpgradeFailed) -> None:
        """Tell who has asked for it."""
        future = self._upgrades.pop(report.request, None)
        if future is not None and not future.done():
            future.set_result(report)

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Have *work* done whether somebody waits for it or not; an error in it is one of the manager's."""
        task = asyncio.get_running_loop().create_task(work)
        self._kept.add(task)
        task.add_done_callback(self._kept_ended)

    def _kept_ended(self, task: asyncio.Task[None]) -> None:
        self._kept.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._fail(error)

    def reopen_logs(self) -> None:
        """Order the log file to be opened anew; the new descriptor comes by itself."""
        self._send(wire.ReopenLogs())

    def take_applied(self, report: wire.Applied) -> None:
        """Let what an apply has found hold."""
        asked = self._applies.pop(report.request, None)
        whole = asked is None or asked.whole
        if report.problems and whole:
            self.state.reload_good = False
            self._say_problems(report.problems)
        elif report.definitions is not None:
            if whole:
                self.state.reload_good, self.state.reload_unix = True, wall_clock()
            self._define(report, report.definitions, dict if asked is None else asked.effects)
        for warning in report.warnings if whole else ():
            self.say(Severity.WARNING, None, warning)
        if asked is not None and not asked.future.done():
            asked.future.set_result(report)

    def mourn(self) -> asyncio.Future[None]:
        """Return a future that its owner completes when it has said that the daemon ends; its end waits for that."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._mourners.add(future)
        future.add_done_callback(self._mourners.discard)
        return future

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, Tell):
            self.state.tally.note(command)
            self.say(command.severity, command.app, command.text)
            self.note(command, command.severity.name.lower())
            return
        if isinstance(command, Shutdown):
            if command.finished:
                self._take_end(command)
            else:
                self._send(wire.Shutdown(status=command.status, finished=False))
            return
        if isinstance(command, Probe):
            self.probing.begin(command)
            return
        if isinstance(command, Spawn):
            self.state.instances[command.instance] = Member(command.app, None)
        order = translate.order_of(command)
        if order is not None:
            self._send(order)

    def _take_end(self, command: Shutdown) -> None:
        """End the daemon, once: the engine says so again at every step that follows."""
        if self.ending is not None:
            return
        self.ending = command
        self.say(Severity.INFO, None, command.why)
        if self._mourners:
            self._end_later(command)
        else:
            self._end(command.status)

    def _end_later(self, command: Shutdown) -> None:
        """Send *command* when everybody who waits for it has had an answer, or `_GOODBYE` later."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(_GOODBYE, self._end, command.status)

        def one_less(_future: asyncio.Future[None]) -> None:
            if not self._mourners and not timer.cancelled():
                timer.cancel()
                self._end(command.status)

        for future in tuple(self._mourners):
            future.add_done_callback(one_less)

    def _end(self, status: int) -> None:
        self._send(wire.Shutdown(status=status, finished=True))

    def _arm(self) -> None:
        """Have the loop call at the engine's deadline; an unchanged one is left alone."""
        deadline = self.state.engine.deadline()
        if deadline == self._armed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed, self._timer = deadline, None
        if deadline is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(deadline / _NANOSECONDS, self._due, deadline)

    def _due(self, deadline: Instant) -> None:
        self._armed = self._timer = None
        self.state.due(deadline)
        self.step(events.Tick())

    def _define(self, report: wire.Applied, definitions: wire.Definitions, effects: Effects) -> None:
        state = self.state
        state.define(definitions, report.listeners)
        state.logs.resize(state.daemon.log_ring)
        found = effects(translate.changes(report.changes, state.applications))
        self.step(events.ConfigurationApplied(applications=state.applications, changes=found, dynamic=state.dynamic))
        state.logs.forget(state.applications)

    def _say_problems(self, problems: tuple[str, ...]) -> None:
        for problem in problems:
            self.say(Severity.ERROR, None, f"cannot apply the configuration: {problem}; nothing was changed")
