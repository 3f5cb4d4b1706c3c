"""What the manager knows; everything that is shown is read from here."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Final

from fcgipm import wire
from fcgipm.config.definitions import application, daemon, dynamic, external
from fcgipm.config.schema import Application, Daemon, Dynamic, External
from fcgipm.core.engine import Engine
from fcgipm.core.events import InstanceId, Instant
from fcgipm.core.view import AppView
from fcgipm.manager import translate
from fcgipm.manager.connectors import scripts
from fcgipm.manager.observing.listeners import Listeners
from fcgipm.manager.observing.reach import Prober
from fcgipm.manager.telling.feed import Change, Feed
from fcgipm.manager.telling.logs import Logs
from fcgipm.manager.telling.record import EventRecord
from fcgipm.manager.telling.tally import Tally

EVENTS_KEPT: Final = 1_000
EVENT_BYTES: Final = 1024 * 1024
"""Bytes kept of all events, whatever their number."""


@dataclass(frozen=True, slots=True)
class Member:
    """Whose an instance is, and its process id once it is exec'd."""

    app: str
    pid: int | None


class State:
    """The engine, the definitions that hold, and the facts beside them."""

    def __init__(self, snapshot: wire.Snapshot) -> None:
        self.keeper_pid = snapshot.pid
        self.keeper_uid = snapshot.uid
        self.started_at = Instant(snapshot.started_at)
        self.started_unix = snapshot.started_unix
        self.version = snapshot.version
        self.upgraded = snapshot.upgraded
        """The last upgrade, None if there was none."""
        self.daemon: Daemon
        self.applications: dict[str, Application]
        self.externals: dict[str, External]
        self.dynamic: Dynamic | None
        self.access: dict[str, str]
        self.listeners: Listeners
        self.define(snapshot.definitions, snapshot.listeners)
        self._latest = Instant(0)
        self.engine = Engine(
            self.applications,
            dynamic=self.dynamic,
            living=translate.living(snapshot.instances),
            published=translate.published(snapshot.listeners),
            moved=translate.moved(snapshot.listeners, self.applications),
            notes=snapshot.notes,
            next_instance=InstanceId(snapshot.next_instance),
            keeps_sockets=snapshot.keeps_sockets,
            now=self.now(),
        )
        self.events: Feed[EventRecord] = Feed(EVENTS_KEPT, EVENT_BYTES)
        self.instances = {fact.instance: Member(fact.app, fact.pid) for fact in snapshot.instances}
        """Every instance that was ordered and has not ended."""
        self.logs = Logs(self.daemon.log_ring)
        self.prober = Prober()
        self.tally = Tally()
        self.tally.note_report(snapshot)
        self.reload_good = True
        """Whether the configuration was good when it was read last."""
        self.reload_unix = snapshot.started_unix
        """When a good configuration was read last."""
        self.changed = Change()
        """Notified after each step of the engine."""

    def define(self, definitions: wire.Definitions, listeners: tuple[wire.ListenerFact, ...]) -> None:
        """Take *definitions* as those that hold; raise `CodecError` where they are none."""
        self.daemon = daemon(definitions.daemon)
        self.applications = {one.name: one for one in map(application, definitions.applications)}
        self.externals = {one.name: one for one in map(external, definitions.externals)}
        self.dynamic = None if definitions.dynamic is None else dynamic(definitions.dynamic)
        self.access = dict(definitions.access)
        self.listeners = Listeners(listeners)

    def now(self) -> Instant:
        """Return the present instant, never before one that it returned earlier."""
        self._latest = Instant(max(time.monotonic_ns(), self._latest))
        return self._latest

    def resumed(self) -> None:
        """Note that decisions are made again: if this manager comes with an upgrade, that ends its pause."""
        if self.upgraded is not None and self.upgraded.pause is None:
            self.upgraded = replace(self.upgraded, pause=self.now() - self.upgraded.at)

    def due(self, deadline: Instant) -> None:
        """Take it that *deadline* has come: the loop's clock is a float and may be some nanoseconds early."""
        self._latest = Instant(max(deadline, self._latest))

    def learn(self, report: wire.Report) -> None:
        """Remember what *report* says about instances and listeners."""
        match report:
            case wire.Spawned():
                member = self.instances.get(report.instance)
                if member is not None:
                    self.instances[report.instance] = replace(member, pid=report.pid)
            case wire.Exited() | wire.SpawnFailed():
                self.instances.pop(report.instance, None)
            case wire.Published() | wire.Opened():
                self.listeners.learn(report.listener)
            case _:
                pass

    def listener(self, app: str) -> wire.ListenerFact | None:
        """Return the published listener of *app*, or any where none is published, or None."""
        held = self.listeners.public(app)
        return None if held is None else held.fact

    def address(self, app: str) -> str | None:
        """Return where visitors reach *app*, as `wire.ListenerFact` has it; None where nothing is public."""
        held = self.listeners.public(app)
        return held.fact.address if held is not None and held.fact.published else None

    def meant(self, target: str) -> str | None:
        """Return which application *target* is, a name or a script's absolute path; None: none that is known.

        A thread may ask, too: nothing is gone through that changes.
        """
        if target in self.applications:
            return target
        if target.startswith("/") and self.dynamic is not None:
            return scripts.known(self.dynamic, self.applications, target)
        return None

    def open(self, report: wire.Opened) -> Application:
        """Take the script that was opened as an application that exists; raise `CodecError` where it is none."""
        definition = application(report.definition)
        self.applications[definition.name] = definition
        self.learn(report)
        return definition

    def forget(self, app: str) -> None:
        """Forget *app* if it was a dynamic application and the engine has forgotten it."""
        known = self.applications.get(app)
        if known is not None and known.is_dynamic and self.engine.prospect(app, self.now()) is None:
            del self.applications[app]

    def view(self, app: str) -> AppView | None:
        """Return *app* as it is now, None where it is not known."""
        return self.engine.view_of(app, self.now())
