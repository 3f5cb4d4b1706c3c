"""What the core says of its decisions: why an application has as many instances as it has, and what comes next."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from harness.simulation import QUIET, Simulation, blog

from fcgipm.config.schema import SECOND, Dynamic
from fcgipm.core import events as ev
from fcgipm.core.events import Instant, Sample
from fcgipm.core.view import Decision, Explanation


def flexible(least: int = 0, most: int = 2, **more: Any) -> Simulation:
    options: dict[str, Any] = {"init_start_delay": 0, "min_processes": least, "max_processes": most, **more}
    sim = Simulation(blog(processes=None, **options))
    sim.given(ev.Tick())
    sim.after(20 * SECOND)
    return sim


def one_ready(**more: Any) -> Simulation:
    sim = flexible(**more)
    sim.given(ev.SomebodyWaits(app="blog", generation=1))
    sim.ready(1)
    return sim


def two_ready(**more: Any) -> Simulation:
    sim = one_ready(**more)
    sim.after(SECOND)
    sim.looked(blog=Sample(queued=101, limit=100, oldest_since=sim.now, busy=1))
    sim.seen["blog"] = QUIET
    sim.ready(2)
    return sim


def told(sim: Simulation, name: str = "blog") -> Explanation:
    found = sim.engine.explain(name, sim.now)
    assert found is not None
    return found


def rules(sim: Simulation) -> list[tuple[str, str]]:
    return [(one.action, one.rule) for one in told(sim).decisions]


def last(sim: Simulation) -> Decision:
    return told(sim).decisions[-1]


def plans(sim: Simulation) -> dict[str, float]:
    return {text: (at - sim.now) / SECOND for at, text in told(sim).plans}


# ── who gets one ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_idle_application_waits_for_somebody() -> None:
    found = told(flexible())
    assert found.summary.startswith("idle: nobody wants an instance")
    assert found.next_start == "whoever comes next gets one at once"
    assert (found.next_removal, found.decisions, found.plans) == ("", (), ())


def test_a_start_says_the_rule_and_what_was_seen() -> None:
    sim = one_ready()
    sim.seen["blog"] = Sample(queued=2, limit=100, oldest_since=sim.now, busy=1)
    sim.after(4 * SECOND)
    start = last(sim)
    assert (start.action, start.rule, start.text) == ("start", "start-delay", "start-delay: one more, 2 in all")
    assert start.inputs == {
        "ready": "1", "starting": "0", "waiting": "2", "oldest": "3 s", "queue": "2 of 100",
    }  # fmt: skip
    assert told(sim).next_start == "1 instance on the way, and no other before that is ready"


def test_how_far_the_next_start_is() -> None:
    sim = one_ready()
    assert told(sim).next_start.startswith("nobody waits; one more when somebody has waited 3 s (start-delay)")
    sim.looked(blog=Sample(queued=1, limit=100, oldest_since=sim.now, busy=1))
    sim.after(2 * SECOND)
    assert told(sim).next_start == "somebody waits; one more in 1 s, when the oldest has waited 3 s (start-delay)"
    weighing = told(sim).weighing
    assert (weighing.waiting, weighing.busy, weighing.start_delay) == (1, 1, 3 * SECOND)
    assert sim.now - (weighing.oldest_since or 0) == 2 * SECOND


def test_a_denial_says_what_limits_it_and_how_often_since_when() -> None:
    sim = one_ready(most=1)
    sim.seen["blog"] = Sample(queued=1, limit=100, oldest_since=sim.now, busy=1)
    sim.after(60 * SECOND)
    denial = last(sim)
    assert (denial.action, denial.rule, denial.inputs["limited by"]) == ("deny", "start-delay", "max-processes")
    assert denial.times > 1
    assert denial.at - denial.since > 50 * SECOND
    assert told(sim).next_start == "one more is wanted, but none is started: max-processes is reached"
    assert rules(sim) == [("start", "somebody-came"), ("deny", "start-delay")]


# ── who loses one ────────────────────────────────────────────────────────────────────────────────────────────────


def test_why_nobody_goes_and_when_that_is_asked_again() -> None:
    sim = two_ready()
    assert told(sim).next_removal == "none goes: its first update-interval is not over"
    assert plans(sim)["a run: idle instances of those with little load may go"] > 290
    sim.seen["blog"] = Sample(queued=0, limit=100, busy=2, connection_time=2 * SECOND)
    sim.after(900 * SECOND)
    assert told(sim).next_removal.startswith("none goes: the others would have multi-threshold or more each (")
    assert told(sim).next_removal.endswith(" with one less, multi-threshold 50 %)")
    weighing = told(sim).weighing
    assert weighing.threshold == Fraction(1, 2)
    assert weighing.load_left is not None
    assert weighing.load_left >= weighing.threshold
    assert last(sim).text == "kill-run: nobody goes: the others would have multi-threshold or more each"


def test_who_goes_at_the_next_run_is_who_went_when_it_comes() -> None:
    sim = two_ready(kill_interval=400 * SECOND)
    sim.after(310 * SECOND)
    assert told(sim).next_removal == (
        "one goes at the next run, in 89 s, if it is idle (0.0 % with one less, multi-threshold 50 %)"
    )
    sim.after(89 * SECOND)
    assert told(sim).next_removal == "an idle one is being looked for (kill-run)"
    assert last(sim).text == "kill-run: 1 of 2 may go, if idle"
    sim.killed(2)
    assert last(sim).text == "kill-run: blog/2 was idle and went, 1 left"
    assert told(sim).next_removal == "none goes: single-threshold = 0 keeps the last one"


def test_everybody_busy_is_told_once_for_all_runs() -> None:
    sim = two_ready(kill_interval=SECOND, update_interval=SECOND)
    for _ in range(20):
        for number in {each.instance for each in sim.view().instances if each.state == "retiring"}:
            sim.refused(number)
        for number in {each.instance for each in sim.view().instances if each.state == "retiring"}:
            sim.refused(number)
        sim.after(SECOND)
    spared = [one for one in told(sim).decisions if one.action == "spare"]
    assert [one.text for one in spared] == ["kill-run: every instance is busy, none goes until the next run"]
    assert spared[0].times > 10


def test_idle_stop_is_planned() -> None:
    sim = one_ready(idle_stop=60 * SECOND)
    sim.after(20 * SECOND)
    assert 39 < plans(sim)["every instance goes if nobody comes until then (idle-stop)"] <= 60


# ── who follows no demand ────────────────────────────────────────────────────────────────────────────────────────


def test_a_fixed_application_has_what_is_configured() -> None:
    sim = Simulation(blog(processes=3))
    sim.given(ev.Tick())
    assert told(sim).summary == "starting: 1 instance not ready yet, 3 as configured"
    assert plans(sim) == {"an instance is started (initial), and 1 more later": 1}
    sim.after(5 * SECOND)
    sim.ready(1, 2, 3)
    found = told(sim)
    assert (found.policy, found.summary) == ("static", "running, 3 ready, 3 as configured")
    assert (found.next_start, found.next_removal, found.plans) == ("", "", ())
    assert rules(sim) == [("start", "initial")]
    assert last(sim).times == 3


def test_a_death_says_what_is_missing_and_when_it_is_made_good() -> None:
    sim = Simulation(blog(processes=1))
    sim.given(ev.Tick())
    sim.ready(1)
    sim.after(SECOND)
    sim.exited(1)
    found = told(sim)
    assert (
        found.summary
        == "starting: none is there yet, 1 as configured; the last one was blog/1: exit status 1 after 1 s"
    )
    assert plans(sim) == {"an instance is started (replacement)": 4}
    assert last(sim).text == "blog/1 (pid 1001) ended: exit status 1 after 1 s; next try in 4 s"
    sim.after(4 * SECOND)
    assert rules(sim) == [("start", "initial"), ("end", "died"), ("start", "replacement")]


def test_back_off_says_since_what_and_until_when() -> None:
    sim = Simulation(blog(processes=1))
    sim.given(ev.Tick())
    for number in (1, 2, 3):
        sim.ready(number)
        sim.exited(number)
        sim.after(5 * SECOND)
    assert told(sim).summary == (
        "in back-off: 3 instances in a row lived shorter than 30 s (min-server-life); the last one was blog/3: exit "
        "status 1 after 0 s; one start is tried in 10 min, or at `fcgipmctl start blog`"
    )
    assert plans(sim) == {"an instance is started (replacement: one try in back-off)": 595}


def test_what_an_operator_wants_is_told_as_his() -> None:
    sim = one_ready()
    sim.given(ev.ScaleRequested(app="blog", processes=2))
    found = told(sim)
    assert found.policy == "scaled"
    assert found.summary == (
        "running, 1 ready, 1 starting, scaled to 2 by an operator until `fcgipmctl scale blog auto`"
    )
    assert (found.next_start, found.next_removal) == ("", "")
    assert rules(sim)[-2:] == [("wish", "scale"), ("start", "scale")]
    sim.ready(2)
    sim.given(ev.StopRequested(app="blog"))
    assert told(sim).summary == "stopped by an operator; `fcgipmctl start blog` starts it"


def test_an_application_that_is_not_started_by_itself_says_so() -> None:
    sim = Simulation(blog(processes=1, autostart=False))
    sim.given(ev.Tick())
    assert told(sim).summary == "not started yet (autostart = false); `fcgipmctl start blog` starts it"


def test_an_instance_that_was_not_taken_by_a_run_says_why_it_went() -> None:
    sim = Simulation(blog(processes=2, init_start_delay=0))
    sim.given(ev.Tick())
    sim.ready(1, 2)
    sim.given(ev.ScaleRequested(app="blog", processes=1))
    sim.killed(2)
    assert last(sim).text == "blog/2 was killed: scaled down"


def test_a_dynamic_application_says_how_many_there_are_in_all() -> None:
    sim = Simulation(dynamic=Dynamic(min_processes=5, max_processes=50))
    sim.given(ev.Tick())
    script = blog(processes=None, min_processes=0, max_processes=10)
    script = replace(script, name="bin/a")
    sim.given(ev.Opened(definition=script))
    sim.given(ev.Asked(app="bin/a"))
    sim.ready(1)
    found = told(sim, "bin/a")
    assert (found.weighing.in_all, found.weighing.in_all_at_most) == (1, 50)
    assert found.next_removal == "none goes: no more than min-processes of all dynamic applications are there"


def test_nobody_is_explained_who_is_not_known() -> None:
    assert flexible().engine.explain("nobody", Instant(0)) is None
