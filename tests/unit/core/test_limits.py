"""Limits and minima hold at the edges: while an instance is being tried, when others end, under the next manager."""

from __future__ import annotations

from typing import Any

import pytest
from harness.simulation import Simulation, blog, retirements, running, spawns, tcp

from fcgipm.config.schema import SECOND, Application, Change, Dynamic
from fcgipm.core import commands as cmd
from fcgipm.core import events as ev
from fcgipm.core.events import InstanceId, Instant, Sample
from fcgipm.core.view import AppState, LiveInstance

IDLE = Sample(queued=0, limit=100)


def flexible(least: int, most: int, **more: Any) -> Application:
    return blog(processes=None, min_processes=least, max_processes=most, init_start_delay=0, **more)


def waiting(since: int, count: int = 1, busy: int = 0) -> Sample:
    return Sample(queued=count, limit=100, oldest_since=Instant(since), busy=busy)


def script(name: str, **more: Any) -> Application:
    return Application(
        name=f"cgi/{name}", command=("/bin/app",), socket=f"/run/dynamic/cgi/{name}.sock", processes=None,
        min_processes=0, max_processes=9, init_start_delay=0, restart_delay=0, **more,
    )  # fmt: skip


def scripts(*names: str, limit: int, least: int = 0, slack: int = 0, **more: Any) -> Simulation:
    dynamic = Dynamic(
        max_processes=limit, max_class_processes=limit, min_processes=least, process_slack=slack, **more
    )  # fmt: skip
    sim = Simulation(*(script(name, **more) for name in names), dynamic=dynamic)
    sim.given(ev.Tick())
    sim.after(20 * SECOND)
    return sim


def asked(sim: Simulation, name: str) -> list[int]:
    """Have an instance started for somebody who asks, if that may be, and let it be ready."""
    numbers = [number for number, _ in spawns(sim.given(ev.Asked(app=f"cgi/{name}")))]
    sim.ready(*numbers)
    return numbers


def found(sim: Simulation, **changed: Any) -> Simulation:
    """Return what another manager makes of it, with *changed* definitions."""
    views = sim.engine.view(sim.now)
    living = [
        LiveInstance(
            instance=one.instance, app=app.name, generation=one.generation, pid=one.pid, asked=False,
            started_at=Instant(one.started_at or 0), ready_at=one.ready_at,
        )
        for app in views for one in app.instances if one.pid is not None
    ]  # fmt: skip
    after = Simulation(
        *changed.pop("applications"), living=living, published={app.name: app.generation for app in views},
        notes=sim.notes, now=sim.now, next_instance=100, **changed,
    )  # fmt: skip
    after.given(ev.Tick())
    return after


def in_all(sim: Simulation) -> int:
    return sum(one.state != "retiring" for app in sim.engine.view(sim.now) for one in app.instances)


class TestWhileOneIsTried:
    def test_it_still_counts_because_it_may_stay(self) -> None:
        sim = running(flexible(1, 2, kill_interval=60 * SECOND, update_interval=60 * SECOND))
        sim.looked(blog=Sample(queued=101, limit=100, oldest_since=sim.now, busy=1))
        sim.ready(*(number for number, _ in spawns(sim.after(1 * SECOND))))
        sim.seen["blog"] = IDLE
        assert retirements(sim.after(130 * SECOND))[-1:] == [(2, False)]
        sim.seen["blog"] = Sample(queued=101, limit=100, oldest_since=sim.now, busy=1)
        sim.given(ev.SomebodyWaits(app="blog", generation=1))
        assert spawns(sim.after(10 * SECOND)) == [], "it would be the third of two"
        sim.refused(2)
        sim.refused(1)
        assert sim.view().ready == 2

    def test_nobody_else_is_started_before_it_is_known_whether_the_last_one_stays(self) -> None:
        sim = running(flexible(0, 2, idle_stop=20 * SECOND), processes=0)
        sim.after(20 * SECOND)
        sim.given(ev.SomebodyWaits(app="blog", generation=1))
        sim.ready(1)
        assert retirements(sim.after(40 * SECOND)) == [(1, False)]
        assert spawns(sim.given(ev.SomebodyWaits(app="blog", generation=1))) == []
        assert spawns(sim.killed(1)) == [(2, 1)], "now he has nobody"

    def test_recycling_waits_for_the_answer_without_a_wake_up(self) -> None:
        sim = running(flexible(1, 2, max_lifetime=100 * SECOND, kill_interval=60 * SECOND, update_interval=60 * SECOND))
        sim.looked(blog=Sample(queued=101, limit=100, oldest_since=sim.now, busy=1))
        sim.ready(*(number for number, _ in spawns(sim.after(1 * SECOND))))
        sim.seen["blog"] = IDLE
        while not retirements(sim.after(1 * SECOND)):
            pass
        sim.now = Instant(sim.now + 200 * SECOND)
        for _ in range(5):
            sim.given(ev.Observed(samples={"blog": IDLE}) if sim.engine.looks(sim.now) else ev.Tick())
        due = sim.engine.deadline()
        assert due is None or due > sim.now, "the loop would spin until the answer comes"
        assert spawns([*sim.refused(2), *sim.refused(1), *sim.given(ev.Tick())]), (
            "now it is known that one of the two is too old"
        )


class TestWhenOthersEnd:
    def test_nobody_goes_any_more_who_would_be_missed_by_now(self) -> None:
        sim = scripts("a", limit=5, least=3, slack=5)
        sim.ready(*(number for number, _ in spawns(sim.given(ev.ScaleRequested(app="cgi/a", processes=5)))))
        sim.given(ev.ScaleRequested(app="cgi/a", processes=None))
        assert retirements(sim.after(2 * SECOND)) == [(5, False)], "two of five may go, one after the other"
        sim.exited(1, code=0)
        assert retirements(sim.killed(5)) == [], "three are left"
        assert retirements(sim.after(5 * SECOND)) == []

    def test_nobody_is_put_in_the_place_of_who_was_too_many(self) -> None:
        sim = scripts("a", limit=3)
        sim.ready(*(number for number, _ in spawns(sim.given(ev.ScaleRequested(app="cgi/a", processes=3)))))
        sim.given(ev.ScaleRequested(app="cgi/a", processes=None))
        lower = Dynamic(max_processes=2, max_class_processes=3, min_processes=0, process_slack=0, restart=True)
        sim.given(ev.ConfigurationApplied(applications={"cgi/a": script("a")}, changes={}, dynamic=lower))
        assert spawns([*sim.exited(1, code=0), *sim.after(30 * SECOND)]) == []
        assert len(spawns([*sim.exited(2, code=0), *sim.after(30 * SECOND)])) == 1

    def test_what_is_overdue_is_given_up_before_anybody_is_judged(self) -> None:
        sim = scripts("a", "b", limit=2, least=1, kill_interval=60 * SECOND, update_interval=60 * SECOND,
                      single_threshold=20)  # fmt: skip
        assert asked(sim, "a") == [1]
        sim.spawned(*(number for number, _ in spawns(sim.given(ev.Asked(app="cgi/b")))))
        sim.now = Instant(sim.now + 100 * SECOND)
        done = sim.given(ev.Observed(samples={"cgi/a": IDLE, "cgi/b": IDLE}))
        assert retirements(done) == [(2, True)], "with it goes the second of two"

    def test_a_start_that_failed_and_is_not_gone_yet_leads_to_no_other(self) -> None:
        sim = running(flexible(0, 1, start_timeout=20 * SECOND), processes=0)
        sim.after(20 * SECOND)
        sim.given(ev.SomebodyWaits(app="blog", generation=1))
        sim.spawned(1)
        sim.seen["blog"] = waiting(sim.now)
        done = sim.after(300 * SECOND)
        assert retirements(done) == [(1, True)]
        assert spawns(done) == []
        assert spawns([*sim.killed(1), *sim.after(5 * SECOND)]) == [(2, 1)]


class TestWhoShares:
    @pytest.mark.parametrize("names", ["ab", "ba"])
    def test_who_waits_for_longest_has_the_last_place_wherever_he_was_defined(self, names: str) -> None:
        sim = scripts(*names, limit=1)
        done = sim.looked(**{"cgi/a": waiting(sim.now - 1), "cgi/b": waiting(sim.now - 2)})
        assert [one.app for one in done if isinstance(one, cmd.Spawn)] == ["cgi/b"]

    @pytest.mark.parametrize("names", ["ab", "ba"])
    def test_of_equals_the_first_by_name_has_it(self, names: str) -> None:
        sim = scripts(*names, limit=1)
        done = sim.looked(**{"cgi/a": waiting(sim.now), "cgi/b": waiting(sim.now)})
        assert [one.app for one in done if isinstance(one, cmd.Spawn)] == ["cgi/a"]

    def test_an_operator_gets_no_more_than_there_is_room_for_and_that_when_there_is(self) -> None:
        sim = scripts("a", "b", limit=3, single_threshold=20, kill_interval=60 * SECOND, update_interval=60 * SECOND)
        assert asked(sim, "a") == [1]
        sim.ready(*(number for number, _ in spawns(sim.given(ev.ScaleRequested(app="cgi/b", processes=3)))))
        assert sim.view("cgi/b").ready == 2
        assert (1, False) in retirements(sim.after(130 * SECOND))
        assert [one.app for one in sim.killed(1) if isinstance(one, cmd.Spawn)] == ["cgi/b"]

    def test_a_restart_makes_no_more_of_them(self) -> None:
        sim = scripts("a", "b", limit=3)
        asked(sim, "a")
        sim.ready(*(number for number, _ in spawns(sim.given(ev.ScaleRequested(app="cgi/b", processes=3)))))
        assert len(spawns(sim.given(ev.RestartRequested(app="cgi/b")))) == 2


class TestUnderTheNextManager:
    def test_who_is_above_a_lowered_maximum_still_goes(self) -> None:
        before = running(flexible(2, 2), processes=2)
        now = flexible(0, 1)
        before.given(ev.ConfigurationApplied(applications={"blog": now}, changes={"blog": Change.IN_PLACE}))
        assert in_all(before) == 1
        after = found(before, applications=[now])
        assert in_all(after) == 1

    def test_who_is_above_a_maximum_that_was_lowered_meanwhile_goes_too(self) -> None:
        before = running(flexible(2, 3), processes=2)
        assert in_all(found(before, applications=[flexible(0, 1)])) == 1

    def test_the_time_since_the_last_one_became_ready_goes_on(self) -> None:
        before = running(flexible(1, 2))
        came = before.now
        before.after(1 * SECOND)
        after = found(before, applications=[flexible(1, 2)])
        after.looked(blog=waiting(came - 60 * SECOND, busy=1))
        assert spawns(after.after(1 * SECOND)) == []
        assert spawns(after.after(1 * SECOND)) == [(100, 1)]

    @pytest.mark.parametrize("names", ["ab", "ba"])
    def test_no_order_decides_who_gets_what_a_scale_lacks(self, names: str) -> None:
        before = scripts("a", "b", limit=3)
        before.given(ev.ScaleRequested(app="cgi/a", processes=3))
        before.given(ev.ScaleRequested(app="cgi/b", processes=1))
        dynamic = Dynamic(max_processes=3, max_class_processes=3, min_processes=0, process_slack=0)
        after = found(before, applications=[script(name) for name in names], dynamic=dynamic)
        after.after(20 * SECOND)
        counts = {app.name: len(app.instances) for app in after.engine.view(after.now)}
        assert counts == {"cgi/a": 2, "cgi/b": 1}


class TestWhoComes:
    def test_at_a_listener_of_all_generations_nobody_is_late(self) -> None:
        sim = Simulation(tcp(processes=None, min_processes=0, max_processes=1))
        sim.given(ev.Tick())
        sim.after(20 * SECOND)
        sim.given(ev.RestartRequested(app="blog"))
        done = sim.given(ev.SomebodyWaits(app="blog", generation=1))
        assert [one.why for one in done if isinstance(one, cmd.Spawn)] == ["somebody-came"]

    def test_who_gave_up_and_cannot_be_taken_out_of_the_queue_is_not_told_of_again_and_again(self) -> None:
        sim = running(flexible(1, 1 + 1))
        sim.seen["blog"] = Sample(queued=1, abandoned=1, limit=100, busy=1)
        assert [one for one in sim.after(60 * SECOND) if isinstance(one, cmd.Watch)] == []

    def test_where_nothing_can_be_seen_that_is_tried_once_a_second(self) -> None:
        sim = running(flexible(0, 2, restart_delay=60 * SECOND), processes=0)
        sim.after(20 * SECOND)
        sim.given(ev.SomebodyWaits(app="blog", generation=1))
        sim.ready(1)
        sim.looked(blog=waiting(sim.now, busy=1))
        sim.exited(1)
        looks = 0
        end = sim.now + 10 * SECOND
        while (due := sim.engine.deadline()) is not None and due <= end:
            sim.now = max(due, sim.now)
            looks += "blog" in sim.engine.looks(sim.now)
            assert looks < 20, "the loop would spin"
            done = sim.given(ev.Observed(samples={}) if sim.engine.looks(sim.now) else ev.Tick())
            for number, _ in spawns(done):
                sim.given(ev.SpawnFailed(instance=InstanceId(number), step="exec", error="ENOENT", at=sim.now))
        assert looks

    def test_nobody_looks_at_what_nobody_can_reach(self) -> None:
        sim = Simulation(flexible(0, 2), published={"blog": 0})
        sim.given(ev.Tick())
        sim.given(ev.PublishFailed(app="blog", generation=1, error="ENOSPC"))
        sim.given(ev.PublishFailed(app="blog", generation=2, error="ENOSPC"))
        assert sim.view().state is AppState.FAILED
        assert sim.engine.looks(sim.now) == ()
        assert sim.engine.deadline() is None


class TestWhenNothingCanBeTaken:
    def test_at_the_minimum_no_run_is_planned(self) -> None:
        sim = scripts("a", limit=9, least=2, single_threshold=50, kill_interval=60 * SECOND, slack=9)
        sim.ready(*(number for number, _ in spawns(sim.given(ev.ScaleRequested(app="cgi/a", processes=2)))))
        sim.given(ev.ScaleRequested(app="cgi/a", processes=None))
        sim.after(30 * SECOND)
        assert sim.engine.deadline() is None

    def test_without_slack_it_is_not_tried_again_before_something_has_changed(self) -> None:
        sim = scripts("a", limit=3, slack=2)
        sim.ready(*(number for number, _ in spawns(sim.given(ev.ScaleRequested(app="cgi/a", processes=2)))))
        sim.given(ev.ScaleRequested(app="cgi/a", processes=None))
        for _ in range(5):
            sim.now = Instant(sim.now + 1 * SECOND)
            sim.looked(**{"cgi/a": Sample(queued=0, limit=100, busy=2, connection_time=2 * SECOND)})
        done = sim.looked(**{"cgi/a": IDLE})
        assert sim.engine.looks(sim.now) == ("cgi/a",), "something has changed: it is tried at once"
        assert retirements([*done, *sim.looked(), *sim.after(20 * SECOND)]) == [], "they were busy until now"
        due = sim.engine.deadline()
        assert due is not None
        assert due > sim.now + 60 * SECOND, "the next run is the periodic one"

    def test_where_everybody_is_loaded_the_next_run_is_an_interval_later(self) -> None:
        sim = running(flexible(1, 2, kill_interval=60 * SECOND, update_interval=60 * SECOND, multi_threshold=1))
        sim.ready(*(number for number, _ in spawns(sim.given(ev.ScaleRequested(app="blog", processes=2)))))
        sim.given(ev.ScaleRequested(app="blog", processes=None))
        sim.now = Instant(sim.now + 50 * SECOND)
        sim.looked(blog=Sample(queued=0, limit=100, connection_time=50 * SECOND))
        sim.seen["blog"] = IDLE
        sim.after(30 * SECOND)
        due = sim.engine.deadline()
        assert due is not None
        assert (due - sim.now) == 40 * SECOND


def test_a_changed_definition_that_ends_a_scale_goes_on_with_as_many() -> None:
    sim = running(flexible(0, 4), processes=0)
    sim.ready(*(number for number, _ in spawns(sim.given(ev.ScaleRequested(app="blog", processes=2)))))
    now = flexible(0, 5)
    done = sim.given(ev.ConfigurationApplied(applications={"blog": now}, changes={"blog": Change.IN_PLACE}))
    assert retirements(done) == []
    assert sim.view().ready == 2
