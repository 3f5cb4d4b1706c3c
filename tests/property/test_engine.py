"""Any sequence of events keeps what the engine promises.

Hypothesis plays the world: the keeper (which carries out, refuses or fails every order), the processes, people, the
configuration, and time.  The invariants look at the world, not at the engine's books.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.simulation import Simulation
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fcgipm.config.schema import MILLISECOND, SECOND, Application, Change, Probe
from fcgipm.core import commands as cmd
from fcgipm.core import events as ev
from fcgipm.core.backoff import FAILURES, PAUSE
from fcgipm.core.commands import Command, Severity, Topic
from fcgipm.core.events import InstanceId, Instant
from fcgipm.core.proving import MOMENT
from fcgipm.core.view import AppState, AppView, LiveInstance

APPS = ("blog", "shop")
OF_CHANGES = {
    "replaced", "reloaded by an operator", "restarted by an operator", "its files have changed",
    "its definition has changed", "its definition had changed", "its listening socket could not be taken back",
}  # fmt: skip
"""Why an instance goes because a new generation takes its place."""


@dataclass
class Process:
    """A process in the world."""

    app: str
    generation: int
    ordered_at: int
    started_at: int | None = None
    ready: bool = False
    retire_ordered: bool = False
    asked: bool = False
    killed: bool = False
    overdue: bool = False
    """It was not ready in time: its life counts as 0."""
    canary: bool = False
    estranged: bool = False
    """Nobody else has its listener."""
    ready_at: int = 0


@dataclass
class Row:
    """Failures in a row of one app, counted by the world."""

    failures: int = 0
    deaths: int = 0
    starts: list[int] = field(default_factory=list)
    short: bool = False
    """Whether one of them was none, for a shortage: what is tried again then has pauses of its own."""


class World(RuleBasedStateMachine):
    """The keeper and all that it sees."""

    sim: Simulation

    def __init__(self) -> None:
        super().__init__()
        self.processes: dict[int, Process] = {}
        self.ever: set[int] = set()
        self.public: dict[str, int] = {}
        self.to_publish: list[cmd.Publish] = []
        self.probes: list[tuple[str, int]] = []
        """Those that were sent and not answered yet, also of generations that have been given up since."""
        self.good: set[tuple[str, int]] = set()
        """Generations whose probe was answered as it should be."""
        self.before: dict[str, AppView] = {}
        """What there was before the event that is being carried out."""
        self.shutdown: cmd.Shutdown | None = None
        self.definitions: dict[str, Application] = {}
        self.sound = True
        """Whether nothing has failed yet: else the end of the run has nothing more to say."""
        self.touched: set[str] = set()
        """Apps that people or the configuration have acted on; of the others the delays are checked exactly."""
        self.rows = {name: Row() for name in APPS}
        self.keeps = False
        """Whether the daemon ends and keeps its sockets."""
        self.quiet = False
        """Whether nobody but the processes does anything: a run that looks at the delays."""

    @initialize(
        tcp=st.booleans(),
        processes=st.integers(1, 3),
        init=st.sampled_from([0, 1 * SECOND]),
        restart=st.sampled_from([0, 5 * SECOND]),
        life=st.sampled_from([0, 30 * SECOND]),
        autostart=st.booleans(),
        quiet=st.booleans(),
        probe=st.sampled_from([None, Probe(uri="/ping", timeout=4 * SECOND)]),
        auto_update=st.booleans(),
    )
    def begin(
        self, *, quiet: bool, tcp: bool, processes: int, init: int, restart: int, life: int, autostart: bool,
        probe: Probe | None, auto_update: bool,
    ) -> None:  # fmt: skip
        self.quiet = quiet
        for index, name in enumerate(APPS):
            self.definitions[name] = Application(
                name=name,
                command=("/bin/app",),
                socket=None if tcp else f"/run/{name}.sock",
                port=9000 + index if tcp else None,
                processes=processes,
                init_start_delay=init,
                restart_delay=restart,
                min_server_life=life,
                stop_timeout=3 * SECOND,
                start_timeout=2 * SECOND,
                autostart=autostart or index == 0,
                probe=probe,
                auto_update=auto_update and index == 0,
            )
            self.public[name] = 1
        self.sim = Simulation(*self.definitions.values())
        self.give(ev.Tick())

    # ── carrying out ─────────────────────────────────────────────────────────────────────────────────────────────

    def give(self, event: ev.Event) -> None:
        sound, self.sound = self.sound, False
        self.give_soundly(event)
        self.sound = sound

    def give_soundly(self, event: ev.Event) -> None:
        self.step(event)
        for _ in range(100):
            due = self.sim.engine.deadline()
            if due is None or due > self.sim.now:
                return
            self.step(ev.Tick())
        raise AssertionError("the loop would spin")

    def views(self) -> dict[str, AppView]:
        return {view.name: view for view in self.sim.engine.view(self.sim.now)}

    def step(self, event: ev.Event) -> None:
        self.before = before = self.views()
        told = len(self.sim.told)
        commands = self.sim.given(event)
        for tell in self.sim.told[told:]:
            if tell.topic is Topic.GENERATION_ABANDONED and tell.severity is Severity.ERROR and tell.app is not None:
                self.check_untouched(tell.app, before[tell.app], event, commands)
        self.carry_out(commands)

    def carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case cmd.Spawn():
                    self.check_spawn(command)
                    self.ever.add(command.instance)
                    self.processes[command.instance] = Process(
                        app=command.app, generation=command.generation, ordered_at=self.sim.now, canary=command.canary
                    )
                case cmd.Retire():
                    self.check_retire(command)
                    process = self.processes.get(command.instance)
                    if process is not None:
                        process.retire_ordered = not process.killed
                        if command.cut:
                            process.overdue = not process.ready
                            self.kill(command.instance, ev.Removal.CUT)
                case cmd.Publish():
                    self.check_publish(command)
                    self.to_publish.append(command)
                case cmd.Probe():
                    self.check_probe(command)
                    self.probes.append((command.app, command.generation))
                case cmd.Shutdown(finished=False):
                    pass
                case cmd.Shutdown():
                    assert not self.processes, "the daemon would end with instances alive"
                    self.shutdown = command
                case _:
                    raise AssertionError(command)

    def check_spawn(self, command: cmd.Spawn) -> None:
        assert command.instance not in self.ever, "an instance number was used again"
        assert self.shutdown is None
        assert not self.sim.engine.shutting_down, "started while shutting down"
        assert command.app in self.definitions, "an app that is not configured was started"
        lost = {one.generation for one in self.processes.values() if one.app == command.app and one.estranged}
        assert command.canary or command.generation not in lost, "started on a listener that nobody has"
        if self.definitions[command.app].port is not None and not command.canary:
            self.check_roll(command)
        if command.app not in self.touched:
            self.check_delays(self.definitions[command.app], self.rows[command.app])
            self.rows[command.app].starts.append(self.sim.now)

    def met(self, number: int, app: str) -> bool:
        """Return whether visitors come to a process that is ready."""
        one = self.processes[number]
        definition = self.definitions.get(app)
        is_shared = definition is not None and definition.port is not None
        return one.app == app and one.ready and not one.canary and (is_shared or one.generation == self.public.get(app))

    def check_untouched(self, app: str, before: AppView, event: ev.Event, commands: list[Command]) -> None:
        """A generation was given up because it has failed: nothing becomes of who serves, unless that is one too many.

        Which of those visitors meet that alone have their listeners nobody tells the core.
        """
        if before.state is AppState.STOPPED:
            return  # who serves is to go anyway
        ended = event.instance if isinstance(event, ev.Exited) else None
        old = {one.instance for one in before.instances if one.state == "ready" and self.met_in(before, one.instance)}
        now = {one.instance for one in self.views()[app].instances if one.state == "ready"}
        gone = (old - {ended} - now) | (old & {one.instance for one in commands if isinstance(one, cmd.Retire)})
        too_many = max(len(old) - before.wanted, 0)
        assert len(gone) <= too_many, "who serves has to go because a new generation has failed"

    def met_in(self, view: AppView, number: int) -> bool:
        one = self.processes.get(number)
        return one is not None and not one.estranged and self.met(number, view.name)

    def check_probe(self, command: cmd.Probe) -> None:
        """Nobody but the probe can come there, and all who are to be proved are ready."""
        assert self.definitions[command.app].probe is not None
        assert (command.app, command.generation) not in {*self.probes, *self.good}, "asked twice"
        mine = [one for one in self.processes.values() if one.app == command.app]
        asked = [one for one in mine if one.generation == command.generation and not one.killed]
        assert any(one.ready for one in asked)
        definition = self.definitions[command.app]
        if definition.port is None:
            assert command.generation > self.public[command.app]
        else:
            assert all(one.canary for one in asked)

    def check_publish(self, command: cmd.Publish) -> None:
        """What replaces others that serve was proved; and a port is free."""
        assert command.generation or not self.keeps, "a socket is taken away that was to be kept"
        definition = self.definitions.get(command.app)
        if definition is not None and definition.port is not None:
            held = any(one.app == command.app and one.estranged for one in self.processes.values())
            assert not held, "bound while others have the port"
        view = self.views()[command.app]
        serving = [number for number, one in self.processes.items() if self.met(number, command.app)
                   and not one.killed and not one.estranged and self.stays(command.app, number)]  # fmt: skip
        if definition is None or view.state is AppState.STOPPED or not serving:
            return
        new = [one for number, one in self.processes.items() if one.generation == command.generation
               and one.app == command.app and not one.killed and self.stays(command.app, number)]  # fmt: skip
        assert len(new) >= 1, "published without an instance"
        assert len(new) == view.wanted
        assert all(one.ready and self.sim.now - one.ready_at >= MOMENT for one in new), "published unproved"
        if definition.probe is not None:
            assert (command.app, command.generation) in self.good, "published although its probe was not answered"

    def stays(self, app: str, number: int) -> bool:
        view = self.views()[app]
        return any(one.instance == number and one.state != "retiring" for one in view.instances)

    def check_delays(self, definition: Application, row: Row) -> None:
        """Only deaths have brought this start about: it obeys restart-delay and back-off."""
        now, starts = self.sim.now, row.starts
        if row.short:
            pass
        elif len(starts) >= definition.least:
            # More than one start per slot within restart-delay cannot be.
            assert now - starts[-definition.least] >= max(definition.restart_delay, 100 * MILLISECOND)
        elif starts and not row.deaths:
            assert now - starts[0] >= len(starts) * definition.init_start_delay
        if row.failures >= FAILURES:
            assert now - starts[-1] >= PAUSE, "started during a back-off"

    def count(self, number: int, process: Process, code: int | None) -> None:
        """Count failures in a row as the documentation says it."""
        definition, row = self.definitions.get(process.app), self.rows[process.app]
        row.deaths += 1
        if definition is None or definition.min_server_life == 0:
            return
        life = 0 if process.started_at is None or process.overdue else self.sim.now - process.started_at
        if life >= definition.min_server_life:
            row.failures = 0
        elif code != 0:
            row.failures += 1
        self.heal_by_age(process.app, but=number)

    def heal_by_age(self, app: str, but: int = 0) -> None:
        definition = self.definitions.get(app)
        for number, one in self.processes.items():
            lives = one.app == app and number != but and one.started_at is not None and not one.killed
            if lives and definition and self.sim.now - (one.started_at or 0) >= definition.min_server_life:
                self.rows[app].failures = 0

    def check_roll(self, command: cmd.Spawn) -> None:
        """On a port that others share the new program comes only after a canary of it was proved."""
        rollout = self.views()[command.app].rollout
        if rollout is None or rollout.generation != command.generation:
            return
        assert rollout.phase == "rolling"
        if self.definitions[command.app].probe is not None:
            assert (command.app, command.generation) in self.good, "came to visitors unproved"

    def check_retire(self, command: cmd.Retire) -> None:
        process = self.processes.get(command.instance)
        if process is not None:
            rollout = self.views()[process.app].rollout
            before = self.before.get(process.app)
            decided = before is not None and any(
                one.instance == command.instance and one.state != "retiring" for one in before.instances
            )
            if decided and rollout is not None and rollout.phase in ("gathering", "proving") and not process.canary:
                is_met = (
                    self.definitions[process.app].port is not None or process.generation == self.public[process.app]
                )
                assert not is_met or command.why not in OF_CHANGES, "who serves goes before the new generation is met"
        if process is not None and not command.cut:
            assert process.started_at is not None, "asked to verify a process that does not exist yet"

    def kill(self, number: int, how: ev.Removal) -> None:
        process = self.processes[number]
        process.retire_ordered, process.killed = False, True
        at = self.sim.now
        self.give(ev.Removed(instance=InstanceId(number), how=how, connections=1, at=at))

    def some(self, data: st.DataObject, *, kind: str) -> int | None:
        """Return a process of *kind*, chosen by hypothesis."""
        fits = [number for number, one in sorted(self.processes.items()) if self.fits(one, kind)]
        return data.draw(st.sampled_from(fits)) if fits else None

    @staticmethod
    def fits(process: Process, kind: str) -> bool:
        if kind == "ordered":
            return process.started_at is None and not process.killed
        if kind == "starting":
            return process.started_at is not None and not process.ready and not process.killed
        if kind == "retiring":
            return process.retire_ordered and process.started_at is not None and not process.killed
        return process.started_at is not None

    # ── what can happen ──────────────────────────────────────────────────────────────────────────────────────────

    @rule(data=st.data())
    def exec_succeeds(self, data: st.DataObject) -> None:
        number = self.some(data, kind="ordered")
        if number is not None:
            self.processes[number].started_at = self.sim.now
            self.give(ev.Spawned(instance=InstanceId(number), pid=1000 + number, at=self.sim.now))

    @rule(data=st.data(), shortage=st.booleans())
    def exec_fails(self, data: st.DataObject, *, shortage: bool) -> None:
        number = self.some(data, kind="ordered")
        if number is None:
            return
        process, at = self.processes.pop(number), self.sim.now
        if shortage:  # that is no step to back-off
            self.rows[process.app].short = True
        else:
            self.count(number, process, 1)
        failed = ev.SpawnFailed(instance=InstanceId(number), step="exec", error="no", at=at, shortage=shortage)
        self.give(failed)

    @rule(data=st.data())
    def becomes_ready(self, data: st.DataObject) -> None:
        number = self.some(data, kind="starting")
        if number is not None:
            self.processes[number].ready, self.processes[number].ready_at = True, self.sim.now
            how = ev.Readiness.ACCEPTING
            self.give(ev.BecameReady(instance=InstanceId(number), how=how, at=self.sim.now))

    @rule(data=st.data(), code=st.sampled_from([0, 1]))
    def ends(self, data: st.DataObject, code: int) -> None:
        number = self.some(data, kind="alive")
        if number is not None:
            process = self.processes.pop(number)
            if not process.killed or process.overdue:
                self.count(number, process, None if process.overdue else code)
            self.give(ev.Exited(instance=InstanceId(number), code=code, signal=None, dumped=False, at=self.sim.now))

    @rule(data=st.data())
    def ends_before_its_exec_is_told(self, data: st.DataObject) -> None:
        number = next((n for n, one in self.processes.items() if one.killed and one.started_at is None), None)
        if number is not None:
            self.count(number, self.processes.pop(number), 1)
            self.give(ev.SpawnFailed(instance=InstanceId(number), step="exec", error="killed", at=self.sim.now))

    @rule(data=st.data(), how=st.sampled_from([ev.Removal.KILLED, ev.Removal.ASKED]))
    def removal_succeeds(self, data: st.DataObject, how: ev.Removal) -> None:
        number = self.some(data, kind="retiring")
        if number is None:
            return
        if how is ev.Removal.KILLED:
            self.kill(number, how)
        else:
            self.processes[number].retire_ordered = False
            self.give(ev.Removed(instance=InstanceId(number), how=how, connections=0, at=self.sim.now))

    @rule(data=st.data(), why=st.sampled_from([one for one in ev.Refusal if one is not ev.Refusal.GONE]))
    def removal_is_refused(self, data: st.DataObject, why: ev.Refusal) -> None:
        number = self.some(data, kind="retiring")
        if number is not None:
            self.processes[number].retire_ordered = False
            self.give(ev.RemovalRefused(instance=InstanceId(number), why=why, at=self.sim.now))

    @rule()
    def processes_work(self) -> None:
        """What was ordered is done, and runs: histories in which everything fails are not the only ones."""
        self.let_processes_work()

    @precondition(lambda self: not self.quiet)
    @rule(app=st.sampled_from(APPS), answer=st.sampled_from(["good", "bad", "none", "of another"]))
    def somebody_deploys(self, app: str, answer: str) -> None:
        """A reload of what runs, and an answer to its probe or none, up to the moment in which it may be published."""
        self.touched.add(app)
        self.let_processes_work()
        self.give(ev.ReloadRequested(app=app))
        self.let_processes_work()
        for probe in [one for one in self.probes if one[0] == app]:
            if answer == "of another":
                self.give(ev.Probed(app=app, generation=probe[1] - 1, error=None))
            elif answer != "none":
                self.answer(probe, None if answer == "good" else "500 instead of 200")
        self.let_time_pass(MOMENT)
        self.let_processes_work()

    @rule(works=st.booleans())
    def publication_is_answered(self, *, works: bool) -> None:
        if not self.to_publish:
            return
        order = self.to_publish.pop(0)
        if works or order.generation == 0:
            self.public[order.app] = order.generation
            self.give(ev.Published(app=order.app, generation=order.generation, at=self.sim.now))
        else:
            self.give(ev.PublishFailed(app=order.app, generation=order.generation, error="ENOSPC"))

    @rule(data=st.data(), error=st.sampled_from([None, None, "500 instead of 200"]))
    def a_probe_is_answered(self, data: st.DataObject, error: str | None) -> None:
        if self.probes:
            self.answer(data.draw(st.sampled_from(self.probes)), error)

    def answer(self, probe: tuple[str, int], error: str | None) -> None:
        self.probes.remove(probe)
        if error is None:
            self.good.add(probe)
        self.give(ev.Probed(app=probe[0], generation=probe[1], error=error))

    @rule(span=st.sampled_from([1, 20 * MILLISECOND, MOMENT, 1 * SECOND, 6 * SECOND, 31 * SECOND, PAUSE]))
    def time_passes(self, span: int) -> None:
        sound, self.sound = self.sound, False
        self.let_time_pass(span)
        self.sound = sound

    def let_time_pass(self, span: int) -> None:
        end = Instant(self.sim.now + span)
        for _ in range(2_000):
            due = self.sim.engine.deadline()
            if due is None or due > end:
                break
            assert due > self.sim.now, "the loop would spin"
            self.sim.now = due
            for app in APPS:
                self.heal_by_age(app)
            self.step(ev.Tick())
        else:
            raise AssertionError("more than 2,000 deadlines in one span")
        self.sim.now = end
        for app in APPS:
            self.heal_by_age(app)

    @precondition(lambda self: not self.quiet)
    @rule(app=st.sampled_from(APPS), verb=st.sampled_from(["start", "stop", "restart", "reload", "reload", "changed"]))
    def people_speak(self, app: str, verb: str) -> None:
        events: dict[str, ev.Event] = {
            "start": ev.StartRequested(app=app),
            "stop": ev.StopRequested(app=app),
            "restart": ev.RestartRequested(app=app),
            "reload": ev.ReloadRequested(app=app),
            "changed": ev.ProgramChanged(app=app),
        }
        self.touched.add(app)
        self.give(events[verb])

    @precondition(lambda self: not self.quiet)
    @rule(app=st.sampled_from(APPS), processes=st.sampled_from([None, 1, 2, 4]))
    def people_scale(self, app: str, processes: int | None) -> None:
        self.touched.add(app)
        self.give(ev.ScaleRequested(app=app, processes=processes))

    @precondition(lambda self: not self.quiet)
    @rule(app=st.sampled_from(APPS), generation=st.integers(1, 4))
    def somebody_waits(self, app: str, generation: int) -> None:
        if (
            self.definitions.get(app) is not None
            and generation < self.public.get(app, 0)
            and not any(one.app == app and one.generation == generation for one in self.processes.values())
        ):
            self.give(ev.SomebodyWaits(app=app, generation=generation))

    @precondition(lambda self: not self.quiet)
    @rule(remove=st.booleans(), change=st.sampled_from([Change.IN_PLACE, Change.GENERATION]))
    def configuration_is_applied(self, *, remove: bool, change: Change) -> None:
        self.touched.update(APPS)
        kept = {"blog": self.definitions["blog"]}
        if not remove:
            kept["shop"] = self.definitions.get("shop") or Application(
                name="shop", command=("/bin/app",), socket="/run/shop.sock"
            )
        self.definitions = kept
        self.give(ev.ConfigurationApplied(applications=kept, changes={"blog": change}))

    @precondition(lambda self: not self.quiet)
    @rule(estranged=st.sampled_from([False, False, False, True]))
    def the_manager_is_replaced(self, *, estranged: bool) -> None:
        """A new engine is made from what the keeper knows; orders under way are still answered.

        With the keeper, too, where the instances are *estranged*: nobody else has their listeners.
        """
        if self.sim.engine.shutting_down:
            return
        self.probes.clear()
        self.touched.update(one.app for one in self.processes.values() if one.started_at is None or one.killed)
        for one in self.processes.values():
            one.estranged = one.estranged or (estranged and not one.canary)
            if one.estranged:
                self.touched.add(one.app)
        living = [
            LiveInstance(
                instance=InstanceId(number),
                app=one.app,
                generation=one.generation,
                pid=1000 + number,
                started_at=Instant(one.started_at),
                ready_at=Instant(one.started_at) if one.ready else None,
                asked=one.asked,
                canary=one.canary,
                estranged=one.estranged,
            )
            for number, one in self.processes.items()
            if one.started_at is not None and not one.killed
        ]
        # The keeper finishes what was ordered before it starts another manager; nobody hears of it.
        for number in [n for n, one in self.processes.items() if one.started_at is None or one.killed]:
            del self.processes[number]
        for order in self.to_publish:
            self.public[order.app] = order.generation
        self.to_publish.clear()
        for one in self.processes.values():
            one.retire_ordered = False
        # On a port nobody is of a generation that visitors may not meet, proved or begun where nobody was served.
        shared = {name for name, definition in self.definitions.items() if definition.port is not None}
        met = [one for one in self.processes.values() if one.app in shared and not one.canary]
        self.good.update((one.app, one.generation) for one in met)
        now = self.sim.now
        lost = {(one.app, one.generation) for one in self.processes.values() if one.estranged}
        published = {
            name: self.public.get(name, 1) for name, definition in self.definitions.items()
            if not any(app == name and (definition.port is not None or generation == self.public.get(name))
                       for app, generation in lost)
        }  # fmt: skip
        self.sim = Simulation(
            *self.definitions.values(),
            living=living,
            published=published,
            notes={name: text for name, text in self.sim.notes.items() if name in self.definitions},
            next_instance=max(self.ever, default=0) + 1,
            now=now,
        )
        self.give(ev.Tick())

    @precondition(lambda self: len(self.ever) > 3 and not self.quiet)
    @rule(keeps=st.booleans())
    def the_daemon_is_asked_to_end(self, *, keeps: bool) -> None:
        self.keeps = self.keeps or (keeps and not self.sim.engine.shutting_down)
        self.give(ev.ShutdownRequested(keeps_sockets=keeps))

    # ── what holds after any history ─────────────────────────────────────────────────────────────────────────────

    @invariant()
    def the_books_match_the_world(self) -> None:
        if not hasattr(self, "sim"):
            return
        known = {one.instance for app in self.sim.engine.view(self.sim.now) for one in app.instances}
        assert known == set(self.processes)

    @invariant()
    def never_more_published_instances_than_wanted_and_one_replacement(self) -> None:
        if not hasattr(self, "sim"):
            return
        for app in self.sim.engine.view(self.sim.now):
            if app.state is AppState.STOPPED or any(order.app == app.name for order in self.to_publish):
                continue  # within milliseconds the old generation is not the published one any more
            canaries = [number for number, one in self.processes.items() if one.canary and one.app == app.name]
            staying = [one for one in app.instances if one.state != "retiring" and one.instance not in canaries]
            assert sum(one.instance in canaries and one.state != "retiring" for one in app.instances) <= 1
            published = [one for one in staying if one.generation == app.generation]
            definition = self.definitions.get(app.name)
            if definition is None or definition.port is None:
                assert len(published) <= app.wanted
                current = [one for one in staying if one.generation >= app.generation]  # else: for a late-comer
                assert len(current) <= 2 * app.wanted, "more than one generation beside the published one"
            else:
                assert len(staying) <= app.wanted + 1

    @invariant()
    def everything_can_be_explained(self) -> None:
        if not hasattr(self, "sim"):
            return
        for app in self.sim.engine.view(self.sim.now):
            found = self.sim.engine.explain(app.name, self.sim.now)
            assert found is not None
            assert 0 < len(found.summary) < 500
            assert all(at >= self.sim.now for at, _ in found.plans), "planned for the past"
            assert all(one.since <= one.at <= self.sim.now for one in found.decisions)

    @invariant()
    def never_oversleeps(self) -> None:
        """Where something is missing and nothing is under way, a deadline stands."""
        if not hasattr(self, "sim") or self.sim.engine.shutting_down or self.to_publish:
            return
        for app in self.sim.engine.view(self.sim.now):
            if app.state in (AppState.STARTING, AppState.BACKOFF) and not app.instances:
                assert self.sim.engine.deadline() is not None, f"{app.name}: nothing runs and nothing is planned"

    @invariant()
    def back_off_is_only_after_enough_failures(self) -> None:
        if not hasattr(self, "sim"):
            return
        for app in self.sim.engine.view(self.sim.now):
            if app.state is AppState.BACKOFF:
                assert app.restarts >= FAILURES
                assert app.backoff_until is not None

    @invariant()
    def a_stopped_app_has_only_retiring_instances(self) -> None:
        if not hasattr(self, "sim") or self.to_publish:
            return
        for app in self.sim.engine.view(self.sim.now):
            if app.state is AppState.STOPPED:
                assert all(one.state == "retiring" for one in app.instances)

    def teardown(self) -> None:
        """Whatever happened: asked to end, and with a keeper that does its work, the daemon ends and leaves nothing."""
        if not hasattr(self, "sim") or not self.sound:
            return
        self.settle()
        self.give(ev.ShutdownRequested())
        for _ in range(500):
            if self.shutdown is not None:
                break
            self.let_everything_go()
        assert self.shutdown is not None, "the daemon never ended"
        assert not self.processes

    def settle(self) -> None:
        """With a keeper that does its work, and programs that run, every change comes to its end."""
        if self.sim.engine.shutting_down:
            return
        for _ in range(1_000):
            while (
                self.probes
                or self.to_publish
                or any(not one.ready or one.retire_ordered or one.killed for one in self.processes.values())
            ):
                self.let_everything_work()
            due = self.sim.engine.deadline()
            if self.is_settled() or due is None:
                break
            self.let_time_pass(max(due - self.sim.now, 1))
        assert self.is_settled(), self.views()

    def is_settled(self) -> bool:
        return all(
            view.rollout is None
            and len({one.generation for one in view.instances}) <= 1
            and all(one.state == "ready" for one in view.instances)
            and view.state in (AppState.RUNNING, AppState.STOPPED, AppState.FAILED)
            and (view.state is not AppState.RUNNING or view.ready == view.wanted)
            for view in self.views().values()
        )

    def let_everything_work(self) -> None:
        for probe in list(self.probes):
            self.answer(probe, None)
        self.let_everything_be_published()
        self.let_processes_work()

    def let_processes_work(self) -> None:
        for number in list(self.processes):
            if number in self.processes:
                self.let_work(number)

    def let_work(self, number: int) -> None:
        process = self.processes[number]
        if process.started_at is None and not process.killed:
            process.started_at = self.sim.now
            self.give(ev.Spawned(instance=InstanceId(number), pid=1000 + number, at=self.sim.now))
        if process.retire_ordered and not process.killed:
            self.kill(number, ev.Removal.KILLED)
        if process.killed:
            self.finish(number)
        elif not process.ready:
            process.ready, process.ready_at = True, self.sim.now
            how = ev.Readiness.ACCEPTING
            self.give(ev.BecameReady(instance=InstanceId(number), how=how, at=self.sim.now))

    def finish(self, number: int) -> None:
        process = self.processes.pop(number)
        at = self.sim.now
        if process.started_at is None:
            self.give(ev.SpawnFailed(instance=InstanceId(number), step="exec", error="killed", at=at))
        else:
            self.give(ev.Exited(instance=InstanceId(number), code=None, signal=9, dumped=False, at=at))

    def let_everything_be_published(self) -> None:
        while self.to_publish:
            order = self.to_publish.pop(0)
            self.public[order.app] = order.generation
            self.give(ev.Published(app=order.app, generation=order.generation, at=self.sim.now))

    def let_everything_go(self) -> None:
        self.let_everything_be_published()
        for number, process in list(self.processes.items()):
            if process.started_at is None:
                del self.processes[number]
                self.give(ev.SpawnFailed(instance=InstanceId(number), step="exec", error="killed", at=self.sim.now))
            elif process.killed or process.retire_ordered:
                if not process.killed:
                    self.kill(number, ev.Removal.KILLED)
                del self.processes[number]
                ended = ev.Exited(instance=InstanceId(number), code=None, signal=9, dumped=False, at=self.sim.now)
                self.give(ended)
        if self.shutdown is None:
            self.time_passes(1 * SECOND)


TestWorld = World.TestCase
TestWorld.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
)


def rolling(processes: int) -> World:
    """Return a world where "blog", on a port, is being replaced by a good version."""
    world = World()
    world.begin(
        tcp=True, processes=processes, init=0, restart=0, life=0, autostart=True, quiet=False, probe=None,
        auto_update=False,
    )  # fmt: skip
    world.somebody_deploys(app="blog", answer="good")
    return world


@given(data=st.data(), processes=st.integers(1, 4), managers=st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_a_roll_comes_to_its_end_however_many_managers_leave_it_halfway(
    data: st.DataObject, processes: int, managers: int
) -> None:
    world = rolling(processes)
    is_met = False
    for _ in range(managers):
        for _ in range(data.draw(st.integers(0, 6), label="steps")):
            world.let_work(data.draw(st.sampled_from(sorted(world.processes)), label="who"))
        there = [one for one in world.processes.values() if one.app == "blog" and not one.canary]
        is_met = is_met or any(one.generation == 2 and one.started_at is not None for one in there)
        world.the_manager_is_replaced(estranged=False)
    world.settle()

    generation = 2 if is_met else 1
    assert {one.generation for one in world.views()["blog"].instances} == {generation}


@given(data=st.data(), processes=st.integers(2, 4), is_replaced=st.booleans(), is_superseded=st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_roll_that_is_given_up_wherever_it_is_leaves_one_generation_only(
    *, data: st.DataObject, processes: int, is_replaced: bool, is_superseded: bool
) -> None:
    world = rolling(processes)
    for _ in range(data.draw(st.integers(0, 6), label="steps")):
        world.let_work(data.draw(st.sampled_from(sorted(world.processes)), label="who"))
    newest = 2
    if is_superseded and world.views()["blog"].rollout is not None:
        world.give(ev.ReloadRequested(app="blog"))
        newest = 3
    victims = [number for number, one in world.processes.items() if one.app == "blog" and one.generation == newest]
    was_under_way = world.views()["blog"].rollout is not None and bool(victims)
    if was_under_way:
        number = data.draw(st.sampled_from(victims), label="victim")
        world.processes[number].started_at = world.processes[number].started_at or world.sim.now
        world.processes.pop(number)
        world.give(ev.Exited(instance=InstanceId(number), code=1, signal=None, dumped=False, at=world.sim.now))
    if is_replaced:
        world.the_manager_is_replaced(estranged=False)
    world.settle()

    there = {one.generation for one in world.views()["blog"].instances}
    assert there == {1 if was_under_way else newest}
