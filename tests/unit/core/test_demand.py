"""Applications whose number of instances follows the demand: started for who comes, taken while idle."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from harness.simulation import QUIET, START, Simulation, blog, publications, retirements, running, spawns, tcp

from fcgipm.config.schema import MILLISECOND, SECOND, Application, Change, Dynamic
from fcgipm.core import commands as cmd
from fcgipm.core import events as ev
from fcgipm.core.commands import Topic
from fcgipm.core.events import Instant, Sample
from fcgipm.core.view import AppState, LiveInstance

SHORT = {"init_start_delay": 0, "restart_delay": 5 * SECOND}


def flexible(least: int, most: int, **more: Any) -> Application:
    return blog(processes=None, min_processes=least, max_processes=most, **{**SHORT, **more})


def waiting(since: int, count: int = 1, *, busy: int = 0, limit: int = 100) -> Sample:
    return Sample(queued=count, limit=limit, oldest_since=Instant(since), busy=busy)


def idle(least: int = 0, most: int = 3, **more: Any) -> Simulation:
    sim = Simulation(flexible(least, most, **more))
    sim.given(ev.Tick())
    sim.after(20 * SECOND)
    return sim


def somebody_waits() -> ev.SomebodyWaits:
    return ev.SomebodyWaits(app="blog", generation=1)


# ── one more ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_comes_and_nothing_is_planned() -> None:
    sim = idle()
    assert sim.view().state is AppState.IDLE
    assert sim.engine.deadline() is None


def test_who_comes_first_gets_an_instance_at_once() -> None:
    sim = idle()
    assert spawns(sim.given(somebody_waits())) == [(1, 1)]
    assert sim.view().state is AppState.STARTING
    assert spawns(sim.given(somebody_waits())) == [], "one is on its way"
    sim.ready(1)
    assert sim.view().state is AppState.RUNNING


def test_the_processor_is_left_to_who_is_started_for_the_first_one() -> None:
    sim = idle()
    sim.now = Instant(sim.now + 30 * MILLISECOND)
    sim.given(somebody_waits())
    sim.spawned(1)
    assert sim.engine.looks(Instant(sim.now + 69 * MILLISECOND)) == ()
    assert sim.engine.looks(Instant(sim.now + 70 * MILLISECOND)) == ("blog",)


@pytest.mark.parametrize("stays", [True, False])
def test_who_could_not_be_helped_as_he_came_is_looked_for_before_one_is_started(*, stays: bool) -> None:
    sim = idle()
    sim.given(ev.StopRequested(app="blog"))
    assert spawns(sim.given(somebody_waits())) == []
    sim.now = Instant(sim.now + 50 * MILLISECOND)
    sim.seen["blog"] = waiting(sim.now) if stays else QUIET
    assert spawns(sim.given(ev.StartRequested(app="blog"))) == []
    assert sim.engine.looks(sim.now) == ("blog",), "at once"
    assert spawns(sim.after(0)) == ([(1, 1)] if stays else [])
    assert spawns(sim.after(60 * SECOND)) == []


def test_who_came_counts_where_nothing_can_be_seen() -> None:
    sim = idle()
    sim.given(ev.StopRequested(app="blog"))
    sim.given(somebody_waits())
    sim.now = Instant(sim.now + 50 * MILLISECOND)
    assert spawns(sim.given(ev.StartRequested(app="blog"))) == []
    assert spawns(sim.given(ev.Observed(samples={}))) == [(1, 1)]


def test_who_asks_gets_one_as_well_and_many_get_the_same() -> None:
    sim = idle()
    assert spawns(sim.given(ev.Asked(app="blog"))) == [(1, 1)]
    assert [spawns(sim.given(ev.Asked(app="blog"))) for _ in range(50)] == [[]] * 50


def test_who_waits_for_start_delay_gets_one_more() -> None:
    sim = idle()
    sim.given(somebody_waits())
    sim.ready(1)
    assert spawns(sim.looked(blog=waiting(sim.now, busy=1))) == []
    came, before = sim.now, sim.now
    assert spawns(sim.after(2999 * MILLISECOND)) == []
    assert spawns(sim.after(1 * MILLISECOND)) == [(2, 1)]
    assert sim.now - came == 3 * SECOND
    sim.seen["blog"] = waiting(before, busy=1)
    assert spawns(sim.after(5 * SECOND)) == [], "one is starting: that is help on its way"
    sim.ready(2)
    ready_at = sim.now
    while not (more := spawns(sim.after(100 * MILLISECOND))):
        assert sim.now - ready_at < 4 * SECOND
    assert more == [(3, 1)]
    assert sim.now - ready_at == 3 * SECOND, "as long must have passed since the last one became ready"


def test_a_full_queue_does_not_wait_for_start_delay() -> None:
    sim = idle()
    sim.given(somebody_waits())
    sim.ready(1)
    assert spawns(sim.looked(blog=waiting(sim.now, 101, busy=1))) == [], "it has had no time to take anybody"
    sim.after(99 * MILLISECOND)
    assert spawns(sim.after(1 * MILLISECOND)) == [(2, 1)]


def test_a_queue_that_is_full_of_those_who_gave_up_keeps_nobody_out_for_ever() -> None:
    sim = idle(restart_delay=20 * SECOND)
    sim.given(somebody_waits())
    sim.spawned(1)
    sim.exited(1)
    sim.given(somebody_waits())
    sim.seen["blog"] = Sample(queued=100, abandoned=100, limit=100)
    assert spawns(sim.after(40 * SECOND)) == [], "nobody waits"
    sim.seen["blog"] = Sample(queued=101, abandoned=101, limit=100)
    assert spawns(sim.after(2 * SECOND)) == [(2, 1)], "who comes is refused by the kernel, and nobody is told of it"


def test_no_more_than_max_processes_and_that_is_said_once() -> None:
    sim = idle(most=2)
    sim.given(somebody_waits())
    sim.ready(1)
    sim.seen["blog"] = waiting(sim.now, 101, busy=1)
    sim.after(SECOND)
    sim.ready(2)
    assert spawns(sim.after(60 * SECOND)) == []
    assert len(sim.texts(Topic.START_DENIED)) == 1
    assert "max-processes" in sim.texts(Topic.START_DENIED)[0]
    assert sim.view().denied == "max-processes"
    sim.looked(blog=QUIET)
    assert sim.view().denied == "max-processes", "who comes again for the same is no news"
    sim.looked(blog=waiting(sim.now, 101, busy=2))
    assert len(sim.texts(Topic.START_DENIED)) == 1
    sim.looked(blog=QUIET)
    sim.after(11 * SECOND)
    assert sim.view().denied == ""


def test_who_waits_where_all_are_busy_is_looked_after_when_one_has_gone() -> None:
    sim = idle(most=1)
    sim.given(somebody_waits())
    sim.ready(1)
    sim.seen["blog"] = waiting(sim.now, 101, busy=1)
    sim.after(60 * SECOND)
    assert sim.view().denied == "max-processes"
    assert spawns(sim.exited(1) + sim.after(SECOND)) == [(2, 1)]


def test_init_start_delay_holds_back_the_second_but_not_the_first() -> None:
    sim = idle(init_start_delay=2 * SECOND)
    assert spawns(sim.given(somebody_waits())) == [(1, 1)]
    sim.ready(1)
    sim.seen["blog"] = waiting(sim.now, 101, busy=1)
    assert spawns(sim.after(1999 * MILLISECOND)) == []
    assert spawns(sim.after(1 * MILLISECOND)) == [(2, 1)]


def test_a_failed_start_is_repeated_after_restart_delay_while_somebody_waits() -> None:
    sim = idle(min_server_life=0)
    sim.given(somebody_waits())
    sim.spawned(1)
    sim.seen["blog"] = waiting(sim.now)
    assert spawns(sim.exited(1)) == []
    assert spawns(sim.after(4999 * MILLISECOND)) == []
    assert spawns(sim.after(1 * MILLISECOND)) == [(2, 1)]


def test_a_failed_start_is_not_repeated_when_nobody_waits_any_more() -> None:
    sim = idle(min_server_life=0)
    sim.given(somebody_waits())
    sim.spawned(1)
    sim.exited(1)
    assert spawns(sim.after(60 * SECOND)) == []
    assert sim.view().state is AppState.IDLE


def test_back_off_lets_one_through_every_ten_minutes_while_somebody_waits() -> None:
    sim = idle(restart_delay=0)
    sim.given(somebody_waits())
    sim.seen["blog"] = waiting(sim.now)
    for number in (1, 2, 3):
        sim.spawned(number)
        sim.exited(number)
        sim.after(200 * MILLISECOND)
    assert sim.view().state is AppState.BACKOFF
    prospect = sim.engine.prospect("blog", sim.now)
    assert prospect is not None
    assert prospect.ready == 0
    assert "back-off" in prospect.refused
    assert prospect.retry_after is not None
    began = sim.now
    while not (more := spawns(sim.after(SECOND))):
        assert sim.now - began < 700 * SECOND
    assert more == [(4, 1)]
    assert 598 * SECOND < sim.now - began <= 601 * SECOND


# ── death ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_death_is_made_good_only_while_fewer_than_min_live() -> None:
    sim = idle(least=1)
    sim.ready(1)
    sim.after(SECOND)
    sim.looked(blog=waiting(sim.now, 101, busy=1))
    sim.seen["blog"] = QUIET
    sim.ready(2)
    sim.after(60 * SECOND)
    sim.exited(2)
    assert spawns(sim.after(10 * SECOND)) == []
    assert spawns(sim.exited(1)) == [(3, 1)]


# ── one less ─────────────────────────────────────────────────────────────────────────────────────────────────────


def two_ready(**more: Any) -> Simulation:
    sim = idle(**more)
    sim.given(somebody_waits())
    sim.ready(1)
    sim.after(SECOND)
    sim.looked(blog=waiting(sim.now, 101, busy=1))
    sim.seen["blog"] = QUIET
    sim.ready(2)
    return sim


def test_an_idle_instance_goes_at_the_first_run_the_youngest_first_and_the_last_one_stays() -> None:
    sim = two_ready()
    first = START + 20 * SECOND
    assert retirements(sim.after(first + 300 * SECOND - 1 - sim.now)) == []
    assert retirements(sim.after(1)) == [(2, False)]
    sim.killed(2)
    assert sim.view().ready == 1
    assert retirements(sim.after(3_000 * SECOND)) == []
    assert sim.engine.deadline() is None or sim.engine.deadline() > sim.now  # type: ignore[operator]


def test_a_busy_victim_is_spared_and_another_one_tried() -> None:
    sim = two_ready()
    assert retirements(sim.after(300 * SECOND)) == [(2, False)]
    assert retirements(sim.refused(2)) == [(1, False)]
    assert sim.view().ready == 1
    assert retirements(sim.refused(1)) == []
    assert sim.view().ready == 2, "all are busy: none goes until the next run"
    assert retirements(sim.after(298 * SECOND)) == []
    assert retirements(sim.after(2 * SECOND)) == [(2, False)]


def test_who_is_loaded_loses_nobody() -> None:
    sim = two_ready()
    sim.seen["blog"] = Sample(queued=0, limit=100, busy=2, connection_time=2 * SECOND)
    assert retirements(sim.after(600 * SECOND)) == []
    load = sim.view().load
    assert load is not None
    assert Fraction(70, 100) < load < Fraction(76, 100)


def test_single_threshold_lets_the_last_one_go() -> None:
    sim = two_ready(single_threshold=10)
    assert retirements(sim.after(300 * SECOND)) == [(2, False)]
    sim.killed(2)
    assert retirements(sim.after(300 * SECOND)) == [(1, False)]
    sim.killed(1)
    assert sim.view().state is AppState.IDLE
    assert sim.engine.deadline() is None


def test_idle_stop_takes_all_after_a_last_look() -> None:
    sim = two_ready(idle_stop=60 * SECOND)
    stirred = sim.now
    done = []
    while not (done := retirements(sim.after(SECOND))):
        assert sim.now - stirred < 120 * SECOND
    assert done == [(2, False)]
    assert retirements(sim.killed(2)) == [(1, False)]
    sim.killed(1)
    assert sim.view().state is AppState.IDLE
    assert sim.engine.deadline() is None
    assert spawns(sim.given(somebody_waits())) == [(3, 1)]


def test_whom_idle_stop_could_not_take_it_tries_again_when_it_has_passed_again() -> None:
    sim = idle(idle_stop=60 * SECOND)
    sim.given(somebody_waits())
    sim.ready(1)
    while not retirements(sim.after(SECOND)):
        pass
    sim.refused(1)
    began = sim.now
    assert sim.view().ready == 1
    assert retirements(sim.after(59 * SECOND)) == []
    assert retirements(sim.after(1 * SECOND)) == [(1, False)]
    assert sim.now - began == 60 * SECOND


def test_idle_stop_waits_for_the_last_connection() -> None:
    sim = two_ready(idle_stop=60 * SECOND)
    sim.seen["blog"] = Sample(queued=0, limit=100, busy=1)
    assert retirements(sim.after(200 * SECOND)) == []


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_fixed_application_is_never_looked_at() -> None:
    sim = Simulation(blog(processes=2, init_start_delay=0))
    sim.given(ev.Tick())
    sim.ready(1, 2)
    sim.given(somebody_waits())
    assert sim.engine.looks(sim.now) == ()


def test_it_rests_after_ten_seconds_of_nothing_and_is_watched() -> None:
    sim = two_ready()
    done = sim.after(20 * SECOND)
    watches = [one for one in done if isinstance(one, cmd.Watch)]
    assert [one.app for one in watches] == ["blog"]
    rested = sim.now
    due = sim.engine.deadline()
    assert due is None or due > rested + 30 * SECOND, "nothing but the kill run and the healing is left"
    sim.given(somebody_waits())
    assert sim.engine.looks(Instant(sim.now + 100 * MILLISECOND)) == ("blog",)


def test_under_pressure_it_is_looked_at_ten_times_a_second() -> None:
    sim = idle()
    sim.given(somebody_waits())
    sim.ready(1)
    sim.looked(blog=waiting(sim.now, busy=1))
    looks = 0
    end = sim.now + SECOND
    while (due := sim.engine.deadline()) is not None and due <= end:
        sim.now = due
        looks += bool(sim.engine.looks(due))
        sim.looked()
    assert looks == 10


def test_who_comes_where_all_are_busy_is_seen_at_once() -> None:
    sim = idle(start_delay=50 * MILLISECOND)
    sim.given(somebody_waits())
    sim.ready(1)
    sim.seen["blog"] = Sample(queued=0, limit=100, busy=1)
    done = sim.after(3 * SECOND)
    assert any(isinstance(one, cmd.Watch) for one in done), "the next one has to wait"
    came = sim.now
    sim.seen["blog"] = waiting(came, busy=1)
    sim.given(somebody_waits())
    while not (more := spawns(sim.after(10 * MILLISECOND))):
        assert sim.now - came <= 200 * MILLISECOND
    assert more == [(2, 1)]


def test_where_one_is_free_nobody_is_watched_for() -> None:
    sim = idle()
    sim.given(somebody_waits())
    sim.ready(1)
    sim.after(SECOND)
    sim.seen["blog"] = Sample(queued=0, limit=100, busy=0, connection_time=1)
    assert not any(isinstance(one, cmd.Watch) for one in sim.after(5 * SECOND))


def test_many_who_come_where_all_are_busy_are_ten_looks_a_second() -> None:
    sim = idle(most=2)
    sim.given(sim_came := somebody_waits())
    sim.ready(1)
    sim.seen["blog"] = Sample(queued=0, limit=100, busy=1)
    sim.after(SECOND)
    looks = 0
    end = sim.now + SECOND
    while sim.now < end:
        sim.given(sim_came)
        sim.now = Instant(sim.now + MILLISECOND)
        if sim.engine.looks(sim.now):
            looks += 1
            sim.looked()
    assert looks <= 11


def test_who_cannot_be_looked_at_is_tried_again_later() -> None:
    sim = idle()
    sim.given(somebody_waits())
    sim.ready(1)
    sim.now = Instant(sim.now + 100 * MILLISECOND)
    assert sim.engine.looks(sim.now) == ("blog",)
    sim.given(ev.Observed(samples={}))
    due = sim.engine.deadline()
    assert due is not None
    assert SECOND - 100 * MILLISECOND <= due - sim.now <= SECOND + 100 * MILLISECOND


@pytest.mark.parametrize("application", [blog(), tcp()])
@pytest.mark.parametrize("wish", [ev.StopRequested(app="blog"), ev.ScaleRequested(app="blog", processes=0)])
def test_who_was_to_go_if_idle_goes_in_any_case_when_an_operator_says_so_meanwhile(
    application: Application, wish: ev.Event
) -> None:
    sim = Simulation(replace(application, processes=None, min_processes=0, max_processes=3, idle_stop=60 * SECOND))
    sim.given(ev.Tick())
    sim.given(somebody_waits())
    sim.ready(1)
    while not retirements(sim.after(SECOND)):
        pass
    for generation in publications(sim.given(wish)):
        sim.published(generation)
    sim.refused(1)
    assert [one.state for one in sim.view().instances] == ["retiring"]
    assert retirements(sim.after(SECOND)) == [(1, False)], "it is tried again"
    sim.killed(1)
    assert sim.view().instances == ()
    assert sim.engine.deadline() is None


def test_who_asks_is_helped_although_nothing_can_be_seen() -> None:
    sim = idle(min_server_life=0)
    assert spawns(sim.given(ev.Asked(app="blog"))) == [(1, 1)]
    sim.spawned(1)
    sim.exited(1)
    blind: list[tuple[int, int]] = []
    end = sim.now + 10 * SECOND
    while (due := sim.engine.deadline()) is not None and due <= end:
        sim.now = max(due, sim.now)
        looks = sim.engine.looks(sim.now)
        blind += spawns(sim.given(ev.Observed(samples={}) if looks else ev.Tick()))
    assert blind == [(2, 1)]


# ── operators and generations ────────────────────────────────────────────────────────────────────────────────────


def test_scale_holds_the_number_and_auto_gives_it_back_to_the_demand() -> None:
    sim = idle()
    assert spawns(sim.given(ev.ScaleRequested(app="blog", processes=2))) == [(1, 1), (2, 1)]
    sim.ready(1, 2)
    assert retirements(sim.after(1_000 * SECOND)) == []
    sim.given(ev.ScaleRequested(app="blog", processes=None))
    assert sim.view().wanted == 2
    assert retirements(sim.after(310 * SECOND)) != []


def test_one_that_follows_the_demand_from_now_on_is_looked_at_from_now_on() -> None:
    sim = running(blog(processes=1, **SHORT))
    sim.after(60 * SECOND)
    assert sim.engine.deadline() is None
    changed = {"blog": flexible(1, 3)}
    sim.given(ev.ConfigurationApplied(applications=changed, changes={"blog": Change.IN_PLACE}))
    sim.seen["blog"] = waiting(sim.now, busy=1)
    assert spawns(sim.after(4 * SECOND)) == [(2, 1)]
    sim.ready(2)
    sim.given(ev.ScaleRequested(app="blog", processes=2))
    assert spawns(sim.after(60 * SECOND)) == []
    sim.given(ev.ScaleRequested(app="blog", processes=None))
    assert spawns(sim.after(4 * SECOND)) == [(3, 1)]


@pytest.mark.parametrize("application", [flexible(0, 3), replace(tcp(**SHORT), processes=None, min_processes=0,
                                                                  max_processes=3)])  # fmt: skip
def test_a_stopped_one_starts_for_nobody(application: Application) -> None:
    sim = Simulation(application)
    sim.given(ev.Tick())
    sim.given(ev.StopRequested(app="blog"))
    assert spawns(sim.given(somebody_waits())) == []
    assert spawns(sim.given(ev.Asked(app="blog"))) == []
    prospect = sim.engine.prospect("blog", sim.now)
    assert prospect is not None
    assert "stopped" in prospect.refused
    assert spawns(sim.given(ev.StartRequested(app="blog"))) == [(1, 1)], "he still waits"


def test_a_restart_replaces_as_many_as_there_are() -> None:
    sim = two_ready()
    assert spawns(sim.given(ev.RestartRequested(app="blog"))) == [(3, 2), (4, 2)]
    sim.proved(3, 4)
    sim.published(2)
    sim.after(2 * SECOND)
    sim.killed(1, 2)
    assert sim.view().ready == 2
    assert sim.view().wanted == 2


def test_an_idle_one_is_restarted_without_an_instance() -> None:
    sim = idle()
    assert spawns(sim.given(ev.RestartRequested(app="blog"))) == []
    sim.published(2)
    assert sim.view().state is AppState.IDLE
    assert spawns(sim.given(ev.SomebodyWaits(app="blog", generation=2))) == [(1, 2)]


def test_a_new_manager_goes_on_with_load_and_level() -> None:
    sim = two_ready()
    sim.seen["blog"] = Sample(queued=0, limit=100, busy=2, connection_time=2 * SECOND)
    sim.after(601 * SECOND)
    before = sim.view().load
    living = [
        LiveInstance(
            instance=ev.InstanceId(n), app="blog", generation=1, pid=n, started_at=START, ready_at=START, asked=False
        )
        for n in (1, 2)
    ]
    after = Simulation(flexible(0, 3), living=living, notes=sim.notes, next_instance=3, now=sim.now)
    after.given(ev.Tick())
    assert after.view().load == before
    assert after.view().wanted == 2


def test_a_new_manager_goes_on_with_the_clock_of_the_runs() -> None:
    sim = two_ready()
    began = sim.now
    sim.after(700 * SECOND)
    living = [
        LiveInstance(
            instance=ev.InstanceId(n), app="blog", generation=1, pid=n, started_at=began, ready_at=began, asked=False
        )
        for n in (1, 2)
    ]
    after = Simulation(flexible(0, 3), living=living, notes=sim.notes, next_instance=3, now=sim.now)
    after.given(ev.Tick())
    assert retirements(after.after(190 * SECOND)) == [], "no run is made up for"
    assert retirements(after.after(10 * SECOND)) == [(2, False)]


# ── dynamic ──────────────────────────────────────────────────────────────────────────────────────────────────────


def script(name: str, **more: Any) -> Application:
    return replace(flexible(0, 10, **more), name=f"bin/{name}")


def dynamic_world(**more: int) -> Simulation:
    sim = Simulation(dynamic=Dynamic(**{"min_processes": 0, **SHORT, **more}))  # type: ignore[arg-type]
    sim.given(ev.Tick())
    return sim


def opened(sim: Simulation, name: str) -> None:
    sim.given(ev.Opened(definition=script(name)))


def asked(sim: Simulation, name: str) -> list[int]:
    return [number for number, _ in spawns(sim.given(ev.Asked(app=f"bin/{name}")))]


def test_a_dynamic_application_starts_when_asked_for() -> None:
    sim = dynamic_world()
    opened(sim, "a.fcgi")
    assert sim.view("bin/a.fcgi").state is AppState.IDLE
    assert asked(sim, "a.fcgi") == [1]


def test_no_more_than_max_processes_of_all_dynamic_ones() -> None:
    sim = dynamic_world(max_processes=3, process_slack=0)
    for name in "abcd":
        opened(sim, name)
    numbers = [number for name in "abcd" for number in asked(sim, name)]
    assert numbers == [1, 2, 3]
    prospect = sim.engine.prospect("bin/d", sim.now)
    assert prospect is not None
    assert prospect.refused


def test_who_asks_at_a_limit_is_judged_anew_after_a_second_and_that_is_said_once() -> None:
    sim = dynamic_world(max_processes=1, process_slack=0)
    opened(sim, "a")
    opened(sim, "b")
    assert asked(sim, "a") == [1]
    sim.ready(1)
    for _ in range(30):
        assert asked(sim, "b") == []
        prospect = sim.engine.prospect("bin/b", sim.now)
        assert prospect is not None
        assert prospect.refused
        sim.after(SECOND)
        prospect = sim.engine.prospect("bin/b", sim.now)
        assert prospect is not None
        assert not prospect.refused, "it is to be found out"
    assert len(sim.texts(Topic.START_DENIED)) == 1
    sim.given(ev.StopRequested(app="bin/a"))
    assert asked(sim, "b") == [2]


def test_room_is_made_by_a_slack_run() -> None:
    sim = dynamic_world(max_processes=3, process_slack=1, single_threshold=50)
    for name in "ab":
        opened(sim, name)
        sim.ready(*asked(sim, name))
        sim.seen[f"bin/{name}"] = QUIET
    assert retirements(sim.after(10 * SECOND)) == [], "two and one are not more than three"
    opened(sim, "c")
    numbers = asked(sim, "c")
    sim.ready(*numbers)
    assert len(retirements(sim.after(3 * SECOND))) == 1


def test_the_thousand_and_first_makes_the_longest_unused_be_forgotten() -> None:
    sim = dynamic_world()
    for number in range(1000):
        opened(sim, f"s{number}")
    done = sim.given(ev.Opened(definition=script("one-more")))
    publications = [one for one in done if isinstance(one, cmd.Publish)]
    assert [one.generation for one in publications] == [0]
    forgotten = publications[0].app
    sim.published(0, name=forgotten)
    assert len(sim.engine.view(sim.now)) == 1000
    assert forgotten not in {one.name for one in sim.engine.view(sim.now)}


def test_one_whose_script_has_gone_is_forgotten_and_may_come_back() -> None:
    sim = dynamic_world()
    opened(sim, "a")
    done = sim.published(0, name="bin/a")  # nobody has ordered that
    assert [one.generation for one in done if isinstance(one, cmd.Publish)] == [0]
    sim.published(0, name="bin/a")
    assert sim.engine.view(sim.now) == ()
    opened(sim, "a")
    assert asked(sim, "a") == [1]


def test_the_last_dynamic_one_that_dies_is_started_again_at_single_threshold_0() -> None:
    sim = dynamic_world()
    opened(sim, "a")
    (number,) = asked(sim, "a")
    sim.ready(number)
    sim.exited(number)
    assert spawns(sim.after(10 * SECOND)) == [(2, 1)]


def test_with_a_single_threshold_it_waits_for_somebody() -> None:
    sim = dynamic_world(single_threshold=10)
    opened(sim, "a")
    (number,) = asked(sim, "a")
    sim.ready(number)
    sim.exited(number)
    assert spawns(sim.after(10 * SECOND)) == []
    assert asked(sim, "a") == [2]


def test_an_operator_cannot_go_beyond_the_maxima_either() -> None:
    sim = idle(most=2)
    assert len(spawns(sim.given(ev.ScaleRequested(app="blog", processes=20)))) == 2
    world = dynamic_world(max_processes=3, process_slack=0)
    opened(world, "a")
    assert len(spawns(world.given(ev.ScaleRequested(app="bin/a", processes=8)))) == 3
