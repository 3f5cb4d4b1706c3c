"""The manager's loop: reports come in over the wire, orders go out, and the control socket is served."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import traceback
from dataclasses import dataclass
from typing import Any, Final

from fcgipm import wire
from fcgipm.core import events
from fcgipm.core.commands import Severity
from fcgipm.linux import memory
from fcgipm.linux.descriptors import close_all
from fcgipm.log import wall_clock
from fcgipm.manager import translate
from fcgipm.manager.connectors.connector import serve_connector
from fcgipm.manager.driver import Driver
from fcgipm.manager.observing.reports import serve_reports
from fcgipm.manager.serving import control
from fcgipm.manager.state import State
from fcgipm.manager.telling.destination import Destination
from fcgipm.manager.telling.record import EventRecord, LogLine

EX_SOFTWARE: Final = 70
EX_TEMPFAIL: Final = 75
_UCRED: Final = struct.Struct("3i")
_QUIET: Final = 60.0
"""Seconds between two lines about connections that could not be taken."""
_SHORTAGE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(slots=True)
class _Handed:
    """Descriptors that came before the manager has begun."""

    what: str
    instance: int | None
    descriptors: list[int]


class Manager:
    """Everything between the wire's beginning and its end."""

    def __init__(self, sock: socket.socket) -> None:
        _, self._keeper_uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        self._channel = wire.manager_end(sock)
        self._loop = asyncio.new_event_loop()
        self._destination = Destination()
        self._snapshot: wire.Snapshot | None = None
        self._handed: list[_Handed] = []
        self._driver: Driver | None = None
        self._servers: set[asyncio.Task[None]] = set()
        self._heard = 0
        self._told = 0
        self._flushing = False
        self._short_at = -_QUIET
        self._status = 0

    def run(self) -> int:
        """Serve until the wire ends; return the exit status."""
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(self._failed)
        self._loop.add_reader(self._channel.fileno(), self._readable)
        self._send(wire.Heard(count=0))  # it has come to itself: an upgrade waits for that
        self._loop.run_forever()
        return self._status

    def _readable(self) -> None:
        try:
            for report, descriptors in self._channel.receive():
                self._take(report, descriptors)
        except wire.WireClosed:
            self._loop.stop()
            return
        except wire.DescriptorsLost as error:
            # What is not read blocks the application that writes it; everything is handed to the next manager.
            text = f"the manager has no descriptors left: {error}; it ends, and another one takes its place"
            self.say(Severity.WARNING, None, text)
            self._status = EX_TEMPFAIL
            self._loop.stop()
            return
        if self._driver is not None and self._heard != self._told:
            self._told = self._heard
            self._send(wire.Heard(count=self._heard))

    def _failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if "socket" in context and isinstance(error, OSError) and error.errno in _SHORTAGE:  # accept is tried again
            if self._loop.time() - self._short_at >= _QUIET:
                self._short_at = self._loop.time()
                self.say(Severity.WARNING, None, f"no more connections can be taken for now: {error.strerror}")
            return
        self._end(error or RuntimeError(context.get("message")))

    def _end(self, error: BaseException) -> None:
        """End loudly: this is a bug.  The keeper starts another manager, and the instances serve on."""
        if self._status:
            return  # said already
        text = "".join(traceback.format_exception(error))
        self.say(Severity.ERROR, None, f"the manager ends because of a bug: {text}; the keeper starts another")
        self._status = EX_SOFTWARE
        self._loop.stop()

    def say(self, severity: Severity, app: str | None, text: str) -> None:
        """Write one message of fcgipm's own to the log."""
        self._destination.say(severity, app, text)

    def _send(self, order: wire.Order) -> None:
        # a closed wire is seen when it is read: what the keeper said last is dealt with first
        with contextlib.suppress(wire.WireClosed):
            self._channel.send(order)
        self._watch_backlog()

    def _watch_backlog(self) -> None:
        waiting = self._channel.backlog > 0
        if waiting and not self._flushing:
            self._loop.add_writer(self._channel.fileno(), self._writable)
        elif self._flushing and not waiting:
            self._loop.remove_writer(self._channel.fileno())
        self._flushing = waiting

    def _writable(self) -> None:
        with contextlib.suppress(wire.WireClosed):
            self._channel.flush()
        self._watch_backlog()

    def _take(self, report: wire.Report, descriptors: list[int]) -> None:
        if isinstance(report, wire.Snapshot):
            self._snapshot, self._heard, self._told = report, 0, 0
            return
        self._heard += 1
        if isinstance(report, wire.Handed):
            self._take_handed(_Handed(report.what, report.instance, descriptors))
        elif isinstance(report, wire.Begun):
            self._begin()
        elif self._driver is not None:
            self._take_report(self._driver, report, descriptors)
        else:
            error = f"{type(report).__name__} before Begun"
            raise wire.WireError(error)

    def _take_handed(self, handed: _Handed) -> None:
        if handed.what == "log":
            self._destination.use(handed.descriptors[0])
        elif self._driver is None:
            self._handed.append(handed)
        else:
            error = f"{handed.what!r} was handed after Begun"
            raise wire.WireError(error)

    def _begin(self) -> None:
        snapshot = self._snapshot
        if snapshot is None:
            error = "Begun without a Snapshot"
            raise wire.WireError(error)
        state = State(snapshot)
        self._destination.configure(state.daemon)
        state.logs.write = self._write_line
        state.logs.note_dropped = state.tally.note_dropped
        driver = self._driver = Driver(state, self._send, self.say, self._end)
        facts = {fact.instance: fact for fact in snapshot.instances}
        for handed in self._handed:
            fact = facts.get(handed.instance) if handed.instance is not None else None
            if handed.what == "pipes" and fact is not None:
                state.logs.watch(fact.app, fact.instance, fact.pid, handed.descriptors)
            else:
                self._serve(handed, driver)
        self._handed.clear()
        self._snapshot = None
        self._loop.call_soon(memory.give_back)  # a snapshot takes several times what is kept of it
        ending = snapshot.ending
        driver.step(events.Tick() if ending is None else events.ShutdownRequested(status=ending))
        state.resumed()

    def _serve(self, handed: _Handed, driver: Driver) -> None:
        for number in handed.descriptors:
            listener = socket.socket(fileno=number)
            starting: Any = None
            match handed.what:
                case "control":
                    starting = control.serve_control(listener, driver, self._keeper_uid)
                case "metrics":
                    starting = control.serve_metrics(listener, driver)
                case "connector":
                    starting = serve_connector(listener, driver, self._keeper_uid)
                case "report":
                    starting = serve_reports(listener, driver, self._keeper_uid)
                case _:
                    listener.close()
                    continue
            task = self._loop.create_task(starting)
            self._servers.add(task)
            task.add_done_callback(self._serving)

    def _serving(self, task: asyncio.Task[None]) -> None:
        self._servers.discard(task)
        if not task.cancelled():
            task.result()  # a failure goes to `_failed`

    def _write_line(self, line: LogLine) -> None:
        self._destination.write(line)

    def _take_report(self, driver: Driver, report: wire.Report, descriptors: list[int]) -> None:
        state, gone = driver.state, None
        state.tally.note_report(report)
        match report:
            case wire.Spawned():
                member = state.instances.get(report.instance)
                if member is not None:
                    state.logs.watch(member.app, report.instance, report.pid, descriptors)
                else:
                    close_all(descriptors)
            case wire.Exited():
                ended = state.instances.get(report.instance)
                gone = None if ended is None else ended.app
                state.logs.drain(report.instance)
            case wire.Published():
                gone = report.listener.app
            case wire.Opened() | wire.OpenFailed() | wire.Connected() | wire.ConnectFailed():
                _take_answer(driver, report, descriptors)
            case _:
                self._take_notice(driver, report)
        state.learn(report)
        event = translate.event_of(report)
        if event is not None:
            driver.step(event)
        if gone is not None:
            state.forget(gone)
            state.logs.forget(state.applications)

    def _take_notice(self, driver: Driver, report: wire.Report) -> None:
        match report:
            case wire.Signalled(name="HUP"):
                driver.ask_apply()
            case wire.Applied():
                driver.take_applied(report)
                self._loop.call_soon(memory.give_back)
            case wire.UpgradeFailed():
                driver.take_upgrade_failed(report)
            case wire.Denied():
                text = f"the keeper refused {report.order}: {report.error}; this is a bug of the manager"
                self.say(Severity.ERROR, None, text)
            case wire.Unseen():
                driver.observer.strangers.answer(report.app, report.connections, driver.state.now())
            case wire.Drained():
                member = driver.state.instances.get(report.instance)
                if member is not None:
                    driver.state.logs.note_drained(member.app, report.instance, member.pid, report.bytes)
            case wire.Told():
                driver.record(
                    EventRecord(
                        time=wall_clock(),
                        severity=report.level,
                        topic=report.topic,
                        app=report.app,
                        instance=None,
                        reason="",
                        text=report.text,
                    )
                )
            case _:
                pass


def _take_answer(
    driver: Driver,
    report: wire.Opened | wire.OpenFailed | wire.Connected | wire.ConnectFailed,
    descriptors: list[int],
) -> None:
    match report:
        case wire.Opened():
            driver.ensuring.opened(report)
        case wire.OpenFailed():
            driver.ensuring.failed(report)
        case wire.Connected():
            driver.probing.connected(report, descriptors)
        case wire.ConnectFailed():
            driver.probing.failed(report)
