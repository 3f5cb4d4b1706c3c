"""Whoever comes, in whatever order: demand is followed as promised.

Hypothesis plays visitors, processes, people and time; the keeper is played by `harness.played`.  What is checked is
what the world looks like, not what the engine's books say.  A second engine, whose applications are defined in the
opposite order, has to decide the same at every step.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from harness.played import Played, Process, Visitor
from harness.simulation import START
from harness.twins import Twins
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fcgipm.config.schema import MILLISECOND, SECOND, Application, Change, Dynamic
from fcgipm.core import commands as cmd
from fcgipm.core import events as ev
from fcgipm.core.backoff import PAUSE
from fcgipm.core.commands import Command
from fcgipm.core.events import Instant
from fcgipm.core.scaling import REMOVALS
from fcgipm.core.view import AppState, AppView

DECLARED = ("blog", "shop", "tiny")
SCRIPTS = ("cgi/a", "cgi/b", "cgi/c")
APPS = DECLARED + SCRIPTS
START_RULES = frozenset({"somebody-came", "start-delay", "queue-full"})
INTERVAL = 60 * SECOND


class Demand(RuleBasedStateMachine):
    """Who comes, and what becomes of it."""

    twins: Twins
    played: Played
    dynamic: Dynamic
    wears: bool

    def __init__(self) -> None:
        super().__init__()
        self.definitions: dict[str, Application] = {}
        self.pending: deque[ev.Event] = deque()
        self.to_publish: list[cmd.Publish] = []
        self.blind: set[str] = set()
        """Who cannot be looked at."""
        self.asked: dict[str, int] = {}
        """When a connector asked for whom."""
        self.scaled: dict[str, int] = {}
        self.in_all_before = 0
        self.removed: Application | None = None
        self.touched: set[str] = set()
        """Whose instances people have had replaced or removed."""
        self.ended = False
        self.ever: set[int] = set()

    # ── what there is ────────────────────────────────────────────────────────────────────────────────────────────

    @initialize(
        data=st.data(),
        init=st.sampled_from([0, 1 * SECOND]),
        restart_delay=st.sampled_from([0, 5 * SECOND]),
        life=st.sampled_from([0, 30 * SECOND]),
        single=st.sampled_from([0, 0, 20, 100]),
        multi=st.sampled_from([0, 50, 50, 100]),
        restart=st.booleans(),
        idle_stop=st.sampled_from([None, 20 * SECOND]),
        concurrency=st.sampled_from([1, 2]),
        overload=st.sampled_from(["none", "none", "503"]),
        wear=st.sampled_from([{}, {}, {}, {"max_requests": 3}, {"max_lifetime": 90 * SECOND}, {"max_memory": 1000}]),
    )
    def begin(
        self,
        *,
        data: st.DataObject,
        init: int,
        restart_delay: int,
        life: int,
        single: int,
        multi: int,
        restart: bool,
        idle_stop: int | None,
        concurrency: int,
        overload: str,
        wear: dict[str, int],
    ) -> None:
        self.wears = bool(wear)
        common = {
            **wear,
            "init_start_delay": init,
            "restart_delay": restart_delay,
            "min_server_life": life,
            "single_threshold": single,
            "multi_threshold": multi,
            "concurrency": concurrency,
            "overload_response": overload,
            "update_interval": INTERVAL,
            "kill_interval": INTERVAL,
            "start_timeout": 20 * SECOND,
            "stop_timeout": 3 * SECOND,
        }
        most = data.draw(st.integers(2, 6))
        self.dynamic = Dynamic(
            max_processes=most,
            max_class_processes=data.draw(st.integers(1, most)),
            min_processes=data.draw(st.integers(0, most)),
            process_slack=data.draw(st.integers(0, most)),
            restart=restart,
            **common,  # type: ignore[arg-type]
        )
        for index, name in enumerate(DECLARED):
            least = data.draw(st.integers(0, 2))
            fixed = name == "tiny"
            self.definitions[name] = Application(
                name=name,
                command=("/bin/app",),
                socket=None if index == 1 else f"/run/{name}.sock",
                port=9000 if index == 1 else None,
                processes=1 if fixed else None,
                min_processes=None if fixed else least,
                max_processes=None if fixed else least + data.draw(st.integers(1, 3)),
                idle_stop=None if fixed or least else idle_stop,
                **common | ({"overload_response": "none"} if fixed else {}),  # type: ignore[arg-type]
            )
        for name in SCRIPTS:
            if data.draw(st.booleans()):
                self.definitions[name] = self.script(name)
        self.played = Played(START)
        for name, definition in self.definitions.items():
            self.played.define(definition)
            self.played.publish(name, 1)
        self.twins = Twins(self.definitions, self.dynamic, now=START, agree=not self.wears)
        self.give(ev.Tick())

    def script(self, name: str) -> Application:
        like = self.removed or self.definitions["blog"]
        return replace(
            like, name=name, socket=f"/run/dynamic/{name}.sock", min_processes=0, idle_stop=None,
            max_processes=self.dynamic.max_class_processes,
        )  # fmt: skip

    # ── carrying out ─────────────────────────────────────────────────────────────────────────────────────────────

    def give(self, *events: ev.Event) -> None:
        """Let *events* happen, a nanosecond after all that was seen before, and what follows from them."""
        self.pending.extend(events)
        self.jump(Instant(self.twins.now + 1))

    def follow(self) -> None:
        """Let the manager's loop run until there is nothing more to do now."""
        for _ in range(300):
            if not self.pending:
                self.played.settle()
                self.pending.extend(self.played.news)
                self.played.news.clear()
            looks = self.twins.looks()
            if looks:
                self.look(looks)
            elif self.pending:
                self.carry_out(self.twins.given(self.pending.popleft()))
            elif (due := self.twins.sim.engine.deadline()) is not None and due <= self.twins.now:
                self.carry_out(self.twins.given(ev.Tick()))
            else:
                return
        raise AssertionError("the loop would spin")

    def look(self, names: tuple[str, ...]) -> None:
        samples = {}
        for name in names:
            definition = self.definitions[name]
            assert (
                definition.is_flexible or definition.overload_response != "none"
                or definition.max_requests is not None or definition.max_memory is not None
            ), f"{name} was looked at for nothing"  # fmt: skip
            if name not in self.blind and (sample := self.played.look(name)) is not None:
                samples[name] = sample
        self.carry_out(self.twins.given(ev.Observed(samples=samples)))

    def carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case cmd.Spawn():
                    self.check_spawn(command)
                    self.ever.add(command.instance)
                    self.played.spawn(command)
                case cmd.Retire():
                    self.check_retire(command)
                    self.played.retire(command)
                case cmd.Publish():
                    self.to_publish.append(command)
                case cmd.Watch():
                    self.played.watch(command.app)
                case cmd.Shutdown():
                    self.ended = self.ended or command.finished
                case _:
                    raise AssertionError(command)

    def check_spawn(self, order: cmd.Spawn) -> None:
        assert order.instance not in self.ever, "an instance number was used again"
        assert order.app in self.definitions
        assert not self.twins.sim.engine.shutting_down, "started while shutting down"
        if order.why not in START_RULES:
            return
        now, app = self.twins.now, order.app
        listener = self.played.public(app)
        assert listener is not None
        others = [
            one for one in self.played.processes.values()
            if one.app == app and not one.killed and not one.is_refuser and one.generation == order.generation
        ]  # fmt: skip
        staying = {one.instance for one in self.view(app).instances if one.state != "retiring"}
        staying_now = [one for one in others if one.number in staying]
        assert all(one.ready_at is not None for one in staying_now), "one is starting already"
        if order.why == "somebody-came":
            assert not staying_now
            recently = now - self.asked.get(app, 0) <= self.definitions[app].start_timeout
            assert listener.queue or recently or app in self.blind, "nobody came"
        elif order.why == "queue-full":
            assert len(listener.queue) > 2
        else:
            delay = self.definitions[app].start_delay
            assert any(one.seen_at is not None and now - one.seen_at >= delay for one in self.played.waiting(app))
            assert all(now - (one.ready_at or 0) >= delay for one in staying_now)

    def check_retire(self, order: cmd.Retire) -> None:
        if order.why not in REMOVALS.values() or self.twins.sim.engine.shutting_down:
            return
        app = self.played.processes[order.instance].app
        if order.cut:
            assert app in self.touched, "by policy nobody is cut"
            return
        if app not in self.definitions:
            return
        definition, view = self.definitions[app], self.view(app)
        left = [one for one in view.instances if one.state != "retiring"]
        assert len(left) >= definition.least, "below min-processes"
        if "idle-stop" not in order.why:
            assert left or definition.single_threshold > 0, "the last one is kept for ever"
        if definition.is_dynamic:
            assert self.in_all() >= self.dynamic.min_processes, "below min-processes of all"

    def view(self, app: str) -> AppView:
        return next(one for one in self.twins.sim.engine.view(self.twins.now) if one.name == app)

    def published(self, app: str) -> int:
        """Return how many instances count against the limits: a canary does not, whom nobody meets."""
        view = self.view(app)
        generations = {one.generation for one in view.instances} if app in self.played.shared else {view.generation}
        canaries = {one.number for one in self.played.processes.values() if one.why == "canary"}
        met = [one for one in view.instances if one.generation in generations and one.instance not in canaries]
        return sum(one.state != "retiring" for one in met)

    def surge(self, app: str) -> int:
        """Return how many replacements of *app* there are that have nobody's place yet."""
        starting = {one.instance for one in self.view(app).instances if one.state == "starting"}
        words = [one.why for one in self.played.processes.values() if one.app == app and one.number in starting]
        assert words.count("recycle") <= 1, "more than one is replaced at a time"
        # Where generations share a listener, one of them is replaced at a time, too.
        return words.count("recycle") + (app in self.played.shared and "generation" in words)

    def in_all(self) -> int:
        return sum(self.published(name) for name, one in self.definitions.items() if one.is_dynamic)

    def process(self, data: st.DataObject, *, starting: bool | None = None, leaving: bool = False) -> Process | None:
        """Return some process that is there: *starting* or not, *leaving* if that was ordered."""
        fits = [
            one for one in self.played.processes.values()
            if one.started_at is not None
            and (starting is None or (starting == (one.ready_at is None) and not one.killed))
            and (not leaving or (one.ordered_away and not one.killed))
        ]  # fmt: skip
        return data.draw(st.sampled_from(fits)) if fits else None

    # ── visitors ─────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(app=st.sampled_from(APPS), count=st.integers(1, 4), noticed=st.booleans())
    def visitors_come(self, app: str, count: int, *, noticed: bool) -> None:
        listener = self.played.public(app)
        if listener is not None:
            for _ in range(count):
                self.played.come(listener, noticed=noticed)
            self.give()

    @rule(app=st.sampled_from(APPS), rounds=st.integers(1, 4))
    def a_rush(self, app: str, rounds: int) -> None:
        """More come than can be served, and wait, while all that is ordered works."""
        for _ in range(rounds):
            listener = self.played.public(app)
            while listener is not None and self.played.come(listener, noticed=True):
                pass
            self.give()
            self.all_processes_become_ready()
            self.let_time_pass(4 * SECOND)

    @rule(app=st.sampled_from(APPS))
    def a_stop_cuts_requests(self, app: str) -> None:
        """Nobody is answered in time, and others wait behind them."""
        listener = self.played.public(app)
        if app not in self.definitions or listener is None:
            return
        for _ in range(2):
            while self.played.come(listener, noticed=True):
                pass
            self.give()
            self.all_processes_become_ready()
        self.people_speak(app, "stop")
        while self.to_publish:
            self.answer_publication(self.to_publish.pop(0), works=True)
        self.let_time_pass(4 * SECOND)
        self.killed_processes_end()

    @rule(rounds=st.integers(1, 3))
    def a_lull(self, rounds: int) -> None:
        """All requests end, nobody comes, and what is ordered works."""
        for _ in range(rounds):
            self.everything_works(1)
            self.let_time_pass(INTERVAL - 1 * SECOND)

    @rule(data=st.data())
    def a_visitor_comes_to_an_old_listener(self, data: st.DataObject) -> None:
        old = [one for one in self.played.listeners if not one.is_public]
        if old:
            self.played.come(data.draw(st.sampled_from(old)), noticed=True)
            self.give()

    @rule(data=st.data())
    def a_visitor_gives_up(self, data: st.DataObject) -> None:
        waiting = [one for listener in self.played.listeners for one in listener.queue if not one.gave_up]
        if waiting:
            data.draw(st.sampled_from(waiting)).gave_up = True

    @rule(data=st.data())
    def a_request_ends(self, data: st.DataObject) -> None:
        busy = [one for one in self.played.processes.values() if one.serves]
        if busy:
            data.draw(st.sampled_from(busy)).serves.pop()
            self.give()

    @rule(app=st.sampled_from(APPS))
    def a_connector_asks(self, app: str) -> None:
        if app in SCRIPTS and app not in self.definitions:
            self.definitions[app] = self.script(app)
            self.played.define(self.definitions[app])
            self.played.publish(app, 1)
            self.give(ev.Opened(definition=self.definitions[app]))
        prospect = self.twins.sim.engine.prospect(app, self.twins.now)
        if prospect is not None and not prospect.ready and not prospect.refused:
            self.asked[app] = self.twins.now
            self.give(ev.Asked(app=app))

    @rule(app=st.sampled_from(APPS), works=st.booleans())
    def the_kernel_tells_nothing_of(self, app: str, *, works: bool) -> None:
        (self.blind.discard if works else self.blind.add)(app)

    # ── processes ────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(works=st.sampled_from([True, True, True, False]))
    def ordered_processes_are_executed(self, *, works: bool) -> None:
        for process in [one for one in self.played.processes.values() if one.started_at is None and not one.killed]:
            self.give(self.played.exec(process) if works else self.played.end(process))

    @rule(data=st.data())
    def a_process_becomes_ready(self, data: st.DataObject) -> None:
        if process := self.process(data, starting=True):
            self.give(self.played.become_ready(process))

    @rule()
    def all_processes_become_ready(self) -> None:
        for process in list(self.played.processes.values()):
            self.help(process)

    def help(self, process: Process) -> None:
        if process.started_at is None and not process.killed:
            self.give(self.played.exec(process))
        if process.ready_at is None and not process.killed and process.number in self.played.processes:
            self.give(self.played.become_ready(process))

    @rule(data=st.data(), code=st.sampled_from([0, 1]))
    def a_process_ends(self, data: st.DataObject, code: int) -> None:
        if process := self.process(data):
            self.give(self.played.end(process, code))

    @rule()
    def killed_processes_end(self) -> None:
        for process in [one for one in self.played.processes.values() if one.killed]:
            self.give(self.played.end(process))

    @rule(data=st.data(), obstacle=st.sampled_from([None, None, None, ev.Refusal.UNSTOPPABLE, ev.Refusal.LOCK]))
    def a_removal_is_answered(self, data: st.DataObject, obstacle: ev.Refusal | None) -> None:
        if process := self.process(data, leaving=True):
            self.give(self.played.answer(process, obstacle))

    @rule(works=st.sampled_from([True, True, False]))
    def a_publication_is_answered(self, *, works: bool) -> None:
        if self.to_publish:
            self.answer_publication(self.to_publish.pop(0), works=works)

    def answer_publication(self, order: cmd.Publish, *, works: bool) -> None:
        if order.generation == 0 or (works and order.app in self.definitions):
            self.played.publish(order.app, order.generation)
            self.give(ev.Published(app=order.app, generation=order.generation, at=self.twins.now))
        else:
            self.give(ev.PublishFailed(app=order.app, generation=order.generation, error="ENOSPC"))

    # ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(span=st.sampled_from([1, 30 * MILLISECOND, 1 * SECOND, 3 * SECOND, 11 * SECOND, 31 * SECOND]))
    def time_passes(self, span: int) -> None:
        self.let_time_pass(span)

    def let_time_pass(self, span: int) -> int:
        """Stop at each deadline; return how many there were."""
        end = Instant(self.twins.now + span)
        for count in range(1 + 12 * len(APPS) * span // SECOND + 100):
            due = self.twins.sim.engine.deadline()
            closing = [one.closes_at for one in self.played.listeners if one.closes_at is not None]
            due = min([*([] if due is None else [due]), *map(Instant, closing)], default=None)
            if due is None or due > end:
                self.jump(end)
                return count
            assert due > self.twins.now, "the loop would spin"
            self.jump(due)
        raise AssertionError("too many deadlines")

    @rule(span=st.sampled_from([5 * SECOND, INTERVAL, PAUSE, 10**6 * SECOND]))
    def time_jumps(self, span: int) -> None:
        """Nothing was scheduled meanwhile: the machine slept, or was stopped."""
        self.jump(Instant(self.twins.now + span))

    def jump(self, now: Instant) -> None:
        self.played.pass_to(now)
        self.twins.now = now
        self.follow()

    # ── people ───────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(app=st.sampled_from(APPS), verb=st.sampled_from(["start", "stop", "restart", "changed"]))
    def people_speak(self, app: str, verb: str) -> None:
        if app in self.definitions:
            events: dict[str, ev.Event] = {
                "start": ev.StartRequested(app=app),
                "stop": ev.StopRequested(app=app),
                "restart": ev.RestartRequested(app=app),
                "changed": ev.ProgramChanged(app=app),
            }
            self.touched.add(app)
            self.give(events[verb])

    @rule(app=st.sampled_from(APPS), processes=st.sampled_from([None, None, 1, 2, 4]))
    def people_scale(self, app: str, processes: int | None) -> None:
        if app not in self.definitions:
            return
        self.scaled.pop(app, None)
        if processes is not None:
            self.scaled[app] = processes
        self.give(ev.ScaleRequested(app=app, processes=processes))

    @precondition(lambda self: "blog" in self.definitions)
    @rule(data=st.data(), change=st.sampled_from([Change.IN_PLACE, Change.GENERATION]))
    def the_definition_of_blog_changes(self, data: st.DataObject, change: Change) -> None:
        least = data.draw(st.integers(0, 2))
        before = self.definitions["blog"]
        after = replace(
            before, min_processes=least, max_processes=least + data.draw(st.integers(1, 3)),
            idle_stop=None if least else before.idle_stop,
        )  # fmt: skip
        self.definitions["blog"] = after
        self.touched.add("blog")
        if change is Change.GENERATION or (before.least, before.most) != (after.least, after.most):
            self.scaled.pop("blog", None)
        self.give(
            ev.ConfigurationApplied(applications=self.definitions, changes={"blog": change}, dynamic=self.dynamic)
        )

    @precondition(lambda self: not self.twins.sim.engine.shutting_down)
    @rule()
    def blog_is_taken_out_of_the_configuration_or_put_back(self) -> None:
        while self.to_publish:  # the keeper does one order after the other
            self.answer_publication(self.to_publish.pop(0), works=True)
        self.touched.add("blog")
        self.scaled.pop("blog", None)
        if self.removed is None:
            self.removed = self.definitions.pop("blog")
            self.played.remove("blog")
        else:
            self.definitions["blog"], self.removed = self.removed, None
            if not any(one.name == "blog" for one in self.twins.sim.engine.view(self.twins.now)):
                self.played.publish("blog", 1)
        self.give(ev.ConfigurationApplied(applications=self.definitions, changes={}, dynamic=self.dynamic))

    @precondition(lambda self: not self.twins.sim.engine.shutting_down)
    @rule(data=st.data())
    def the_limits_of_all_change(self, data: st.DataObject) -> None:
        """Those who are more than that by now stay; nobody is added to them."""
        self.in_all_before = max(self.in_all_before, min(self.in_all(), self.dynamic.max_processes))
        most = data.draw(st.integers(1, 6))
        each, slack = data.draw(st.integers(1, most)), data.draw(st.integers(0, most))
        self.dynamic = replace(
            self.dynamic, max_processes=most, max_class_processes=each, process_slack=slack,
            min_processes=data.draw(st.integers(0, most)),
        )  # fmt: skip
        changed = {name: Change.IN_PLACE for name, one in self.definitions.items() if one.is_dynamic}
        for name in changed:
            if self.definitions[name].most != each:
                self.scaled.pop(name, None)
            self.touched.add(name)
            self.definitions[name] = replace(self.definitions[name], max_processes=each)
        self.give(ev.ConfigurationApplied(applications=self.definitions, changes=changed, dynamic=self.dynamic))

    @rule(data=st.data(), size=st.sampled_from([10, 2000]))
    def a_process_has_a_size(self, data: st.DataObject, size: int) -> None:
        if process := self.process(data):
            process.size = size

    @precondition(lambda self: len(self.ever) > 4)
    @rule()
    def the_daemon_is_asked_to_end(self) -> None:
        self.give(ev.ShutdownRequested())

    @rule()
    def the_manager_is_replaced(self) -> None:
        if self.twins.sim.engine.shutting_down:
            return
        living = self.played.living()
        for order in self.to_publish:
            if order.app in self.definitions:
                self.played.publish(order.app, order.generation)
        self.to_publish.clear()
        self.pending.clear()
        published = {
            name: 0 if (public := self.played.public(name)) is None else public.generation for name in self.definitions
        }
        self.asked.clear()
        self.twins = Twins(
            self.definitions,
            self.dynamic,
            now=self.twins.now,
            agree=not self.wears,
            living=living,
            published=published,
            notes={name: text for name, text in self.twins.sim.notes.items() if name in self.definitions},
            next_instance=max(self.ever, default=0) + 1,
        )
        awaited = [one for one in self.played.listeners if one.awaited]
        self.give(ev.Tick(), *(ev.SomebodyWaits(app=one.app, generation=one.generation) for one in awaited))

    # ── what holds after any history ─────────────────────────────────────────────────────────────────────────────

    @invariant()
    def the_books_match_the_world(self) -> None:
        if self.definitions:
            known = {one.instance for app in self.twins.sim.engine.view(self.twins.now) for one in app.instances}
            assert known == {one.number for one in self.played.processes.values() if not one.is_refuser}

    @invariant()
    def never_above_the_maxima(self) -> None:
        if not self.definitions or self.twins.sim.engine.shutting_down:
            return
        publishing = {order.app for order in self.to_publish}
        for name, definition in self.definitions.items():
            if name in publishing:
                continue
            most = definition.most if definition.is_flexible else self.scaled.get(name, definition.most)
            assert self.published(name) <= most + self.surge(name), f"{name} is above its maximum"
        if not publishing & set(SCRIPTS):
            surge = sum(self.surge(name) for name, one in self.definitions.items() if one.is_dynamic)
            in_all = self.in_all() - surge
            assert in_all <= max(self.dynamic.max_processes, self.in_all_before), "above the maximum of all"
            # Who is being tried may stay after all, where the limit was lowered meanwhile.
            tried = [one for one in self.played.processes.values() if one.ordered_away and not one.killed]
            self.in_all_before = in_all + sum(one.app in SCRIPTS for one in tried)

    @invariant()
    def nobody_is_lost_by_a_removal(self) -> None:
        if self.definitions:
            assert self.played.taken_busy == 0

    # ── in the end ───────────────────────────────────────────────────────────────────────────────────────────────

    def teardown(self) -> None:
        if not self.definitions:
            return
        self.blind.clear()
        if self.twins.sim.engine.shutting_down:
            self.everything_works(60)
            assert self.ended, "the daemon never ended"
            return
        self.everything_works(1)
        waiting = {name: visitor for name in self.definitions if (visitor := self.newcomer(name)) is not None}
        self.give()
        unserved: list[str] = []
        for _ in range(80):
            self.everything_works(10)
            unserved = [name for name, visitor in waiting.items() if visitor in self.played.waiting(name)]
            if all(self.may_not_start(name) for name in unserved):
                break
        else:
            raise AssertionError(f"nobody serves {unserved}")
        for name in unserved:
            view = self.view(name)
            assert view.denied or name in self.scaled or view.state is not AppState.RUNNING, f"{name}: not said why"
        self.nobody_is_left_behind()
        self.everybody_has_gone()

    def nobody_is_left_behind(self) -> None:
        """Who waits at an old listener is turned away where that is wanted, and else served soon after a start."""
        turned_away = [one for one in self.left_behind() if self.definitions[one].overload_response == "503"]
        assert not turned_away, "neither served nor turned away"
        stopped = [name for name in self.left_behind() if self.view(name).state is AppState.STOPPED]
        assert stopped == self.left_behind(), "left behind by one that runs"
        for name in stopped:
            self.touched.add(name)
            self.give(ev.StartRequested(app=name))
        self.everything_works(10)
        assert not self.left_behind(), "left behind by a start"

    def left_behind(self) -> list[str]:
        """Return the applications that have old listeners where somebody waits."""
        old = [one for one in self.played.listeners if not one.is_public and one.app in self.definitions]
        return sorted({one.app for one in old if one.queue})

    def newcomer(self, app: str) -> Visitor | None:
        listener = self.played.public(app)
        return None if listener is None else self.played.come(listener, noticed=True)

    def may_not_start(self, app: str) -> bool:
        view = self.view(app)
        if view.state in (AppState.STOPPED, AppState.FAILED):
            return True
        return app in SCRIPTS and not view.ready and self.in_all() >= self.dynamic.max_processes

    def everything_works(self, seconds: int) -> None:
        """Let time pass with processes that do all that is asked of them, at once."""
        for _ in range(seconds):
            while self.to_publish or any(one.is_owing for one in self.played.processes.values()):
                while self.to_publish:
                    self.answer_publication(self.to_publish.pop(0), works=True)
                for process in list(self.played.processes.values()):
                    self.help(process)
                    process.serves.clear()
                    if process.ordered_away:
                        self.give(self.played.answer(process, None))
                    if process.killed and process.number in self.played.processes:
                        self.give(self.played.end(process))
                self.give()
            self.let_time_pass(1 * SECOND)

    def everybody_has_gone(self) -> None:
        """An idle daemon plans nothing."""
        for listener in self.played.listeners:
            for visitor in listener.queue:
                visitor.gave_up = True
        for _ in range(60):
            # Where those who gave up cannot be taken out of a queue, somebody new can only be found by looking.
            stuck = any(one.queue and self.may_not_start(one.app) for one in self.played.listeners)
            if stuck or self.wears or self.twins.sim.engine.deadline() is None:
                return
            self.let_time_pass(20 * SECOND)
            self.everything_works(1)
        due = self.twins.sim.engine.deadline()
        assert due is None, f"something is planned in {due - self.twins.now} ns"


TestDemand = Demand.TestCase
TestDemand.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
)
