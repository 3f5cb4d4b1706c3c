"""The classic policy: the documentation's worked examples, its boundaries, and when one more is due."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from fcgipm.config.schema import SECOND, Application, Dynamic
from fcgipm.core.events import Instant
from fcgipm.core.policy.classic import (
    Candidate,
    Crowd,
    Load,
    Settings,
    load_factor,
    load_factor_now,
    may_lose_one,
    periodic_run,
    settings_of,
    slack_run,
    start_due,
    why_kept,
    why_start,
)

U = 300 * SECOND
NOW = Instant(10_000 * SECOND)
DEFAULTS = settings_of(Dynamic())


def seconds(value: float) -> int:
    return round(value * SECOND)


def measured(smooth: float, total: float = 0, *, since_update: float = 0, updates: int = 1) -> Load:
    """Return a load that was updated *since_update* seconds ago, smooth and total in seconds."""
    began_at = NOW - seconds(since_update) - updates * U
    return Load(began_at=began_at, interval=U, updates=updates, smooth=seconds(smooth), total=seconds(total))


def candidate(name: str = "blog", ready: int = 2, load: Load | None = None, **other: Any) -> Candidate:
    settled: dict[str, Any] = {"concurrency": 1, "requests": 0, "in_motion": False, "least": 0}
    return Candidate(name=name, load=load or measured(0), ready=ready, **settled | other)


def goes(one: Candidate, settings: Settings = DEFAULTS, *, slack: bool = False) -> bool:
    return may_lose_one(one, settings, now=NOW, slack=slack)


class TestSettings:
    def test_are_the_documented_defaults(self) -> None:
        assert (
            Settings(
                gain=Fraction(1, 2),
                update_interval=U,
                kill_interval=U,
                single_threshold=0,
                multi_threshold=50,
                start_delay=3 * SECOND,
            )
            == DEFAULTS
        )

    def test_of_a_declared_application_are_its_own(self) -> None:
        blog = Application(
            name="blog", command=("/bin/blog",), processes=None, max_processes=4, kill_interval=7 * SECOND
        )
        assert settings_of(blog).kill_interval == 7 * SECOND

    @pytest.mark.parametrize(
        ("written", "gain"), [(0.1, Fraction(1, 10)), (0.0, Fraction(0)), (1e-9, Fraction(1, 10**9))]
    )
    def test_gain_is_the_decimal_that_was_written(self, written: float, gain: Fraction) -> None:
        assert settings_of(Dynamic(gain_value=written)).gain == gain


class TestWindows:
    def test_an_instance_that_is_always_busy_comes_nearer_to_its_load_with_each_update(self) -> None:
        load, now, seen = Load.begun(NOW, DEFAULTS), NOW, []
        for _ in range(4):
            now = Instant(now + U)
            load = load.plus(U).at(now, DEFAULTS)
            seen.append((load.smooth / SECOND, 100 * load_factor(load, 1, 1, DEFAULTS)))
        assert seen == [(150, 50), (225, 75), (262.5, Fraction(175, 2)), (281.25, Fraction(375, 4))]

    def test_an_update_is_made_at_its_instant_and_not_before(self) -> None:
        load = Load.begun(NOW, DEFAULTS).plus(seconds(60))
        due = load.next_update(DEFAULTS)
        assert due == NOW + U
        assert load.at(Instant(due - 1), DEFAULTS) == load
        assert load.at(due, DEFAULTS) == replace(load, updates=1, smooth=seconds(30), total=0)

    def test_what_follows_an_update_at_its_instant_belongs_to_the_next_window(self) -> None:
        load = Load.begun(NOW, DEFAULTS).at(Instant(NOW + U), DEFAULTS).plus(5)
        assert (load.updates, load.smooth, load.total) == (1, 0, 5)
        assert load.since_update(Instant(NOW + U), DEFAULTS) == 0

    def test_updates_stay_on_the_grid_of_the_first_start_however_late_they_are_read(self) -> None:
        load = Load.begun(NOW, DEFAULTS).at(Instant(NOW + 5 * U // 2), DEFAULTS)
        assert load.updates == 2
        assert load.next_update(DEFAULTS) == NOW + 3 * U
        assert load.since_update(Instant(NOW + 5 * U // 2), DEFAULTS) == U // 2

    def test_of_several_updates_due_at_once_only_the_first_has_the_total(self) -> None:
        load = measured(40, 80).at(Instant(NOW + 3 * U), DEFAULTS)
        assert load.smooth == seconds((40 / 2 + 80 / 2) / 4)
        assert load.updates == 4

    def test_a_load_that_nothing_adds_to_comes_to_nothing(self) -> None:
        assert measured(300).at(Instant(NOW + 60 * U), DEFAULTS).smooth == 0

    def test_a_jump_of_ages_is_read_at_once(self) -> None:
        tiny = replace(DEFAULTS, gain=Fraction(1, 10**12), update_interval=SECOND)
        load = Load(began_at=0, interval=SECOND, smooth=seconds(60))
        assert load.at(Instant(10**30), replace(tiny, gain=Fraction(1, 3))).smooth == 0
        assert 0 < load.at(Instant(10**12 * SECOND), tiny).smooth < seconds(60)

    def test_gain_1_forgets_everything_before_and_gain_0_learns_nothing(self) -> None:
        load = measured(40, 80)
        forgetful, deaf = replace(DEFAULTS, gain=Fraction(1)), replace(DEFAULTS, gain=Fraction(0))
        assert load.at(Instant(NOW + U), forgetful).smooth == seconds(80)
        assert load.at(Instant(NOW + 2 * U), forgetful).smooth == 0
        assert load.at(Instant(NOW + 9 * U), deaf).smooth == seconds(40)

    def test_tenths_are_exact(self) -> None:
        settings = replace(DEFAULTS, gain=Fraction(1, 10))
        load = Load(began_at=NOW, interval=U, smooth=1000)
        assert [load.at(Instant(NOW + n * U), settings).smooth for n in (1, 2, 3)] == [900, 810, 729]

    def test_another_update_interval_leaves_the_ratio_and_the_last_update_where_they_were(self) -> None:
        load = measured(150, 12, since_update=20, updates=288)
        for interval in (60, 3_000):
            settings = replace(DEFAULTS, update_interval=seconds(interval))
            anew = load.at(NOW, settings)
            assert load_factor(anew, 1, 1, settings) == Fraction(1, 2)
            assert anew.since_update(NOW, settings) == seconds(20)
            assert anew.next_update(settings) == NOW + seconds(interval - 20)
            assert (anew.updates, anew.total) == (288, seconds(12))


class TestLoadFactor:
    def test_covers_the_same_window_above_and_below_whatever_the_kill_interval_is(self) -> None:
        """Two instances, each busy for a fifth of the time: mod_fastcgi computed 99 % or 3 %."""
        for update, kill in ((300, 60), (60, 300)):
            settings = replace(DEFAULTS, update_interval=seconds(update), kill_interval=seconds(kill))
            load = Load(began_at=0, interval=seconds(update), updates=1, smooth=2 * seconds(update) // 5)
            assert load_factor(load, 2, 1, settings) == Fraction(1, 5)

    def test_is_shared_by_what_one_instance_serves_at_once(self) -> None:
        assert load_factor(measured(150), 1, 5, DEFAULTS) == Fraction(1, 10)

    def test_is_nothing_without_instances(self) -> None:
        assert load_factor(measured(150), 0, 1, DEFAULTS) == 0
        assert load_factor_now(measured(150), 0, 1, DEFAULTS, NOW) == 0

    def test_now_is_the_greater_of_past_and_present(self) -> None:
        assert load_factor_now(measured(150, 10, since_update=100), 1, 1, DEFAULTS, NOW) == Fraction(1, 2)
        assert load_factor_now(measured(150, 90, since_update=100), 1, 1, DEFAULTS, NOW) == Fraction(9, 10)

    def test_now_takes_a_window_of_at_least_a_second(self) -> None:
        assert load_factor_now(measured(0, 0.5, since_update=0), 1, 1, DEFAULTS, NOW) == Fraction(1, 2)
        assert load_factor_now(measured(0, 0.5, since_update=0.9), 1, 1, DEFAULTS, NOW) == Fraction(1, 2)
        assert load_factor_now(measured(0, 0.5, since_update=2), 1, 1, DEFAULTS, NOW) == Fraction(1, 4)


class TestWhoMayLoseOne:
    @pytest.mark.parametrize(
        ("ready", "smooth", "may"),
        [
            (2, 90, True),  # 15 % each, 30 would be left for one
            (2, 150, False),  # 50
            (2, 151, False),
            (2, 0, True),
            (3, 300, False),  # 50; mod_fastcgi removes it, because it divides 3 by 2 as integers
            (3, 451, False),
            (4, 360, True),  # 40: truly 80, but smoothing starts at 0
            (1, 60, False),  # single-threshold 0 keeps the last one
            (1, 0, False),
            (0, 0, False),
        ],
    )
    def test_by_the_defaults(self, ready: int, smooth: float, *, may: bool) -> None:
        assert goes(candidate(ready=ready, load=measured(smooth))) is may

    def test_four_instances_at_sixty_percent_have_that_smooth_after_their_first_update(self) -> None:
        load = Load.begun(Instant(NOW - U), DEFAULTS).plus(4 * U * 60 // 100).at(NOW, DEFAULTS)
        assert load.smooth == seconds(360)
        assert goes(candidate(ready=4, load=load))

    @pytest.mark.parametrize(("threshold", "may"), [(0, False), (20, False), (21, True), (25, True), (100, True)])
    def test_the_last_one_by_its_own_load(self, threshold: int, *, may: bool) -> None:
        settings = replace(DEFAULTS, single_threshold=threshold)
        assert goes(candidate(ready=1, load=measured(60)), settings) is may

    @pytest.mark.parametrize("ready", [1, 2, 3, 7])
    @pytest.mark.parametrize("concurrency", [1, 3])
    @pytest.mark.parametrize("slack", [False, True])
    def test_a_nanosecond_below_the_threshold_and_not_at_it(self, ready: int, concurrency: int, *, slack: bool) -> None:
        settings = replace(DEFAULTS, single_threshold=50)
        load = measured(0)
        edge = 50 * max(ready - 1, 1) * concurrency * U // 100
        for smooth, may in ((edge - 1, True), (edge, False)):
            one = candidate(ready=ready, load=replace(load, smooth=smooth), concurrency=concurrency)
            assert goes(one, settings, slack=slack) is may

    @pytest.mark.parametrize("ready", [1, 2, 3])
    def test_in_a_slack_run_by_the_current_window_to_the_nanosecond_too(self, ready: int) -> None:
        settings = replace(DEFAULTS, single_threshold=50)
        load = measured(0, since_update=40)
        edge = 50 * max(ready - 1, 1) * seconds(40) // 100
        for total, may in ((edge - 1, True), (edge, False)):
            one = candidate(ready=ready, load=replace(load, total=total))
            assert goes(one, settings, slack=True) is may
            assert goes(one, settings, slack=False), "what the current window has is for slack runs"

    def test_not_before_its_first_update_except_in_a_slack_run(self) -> None:
        young = candidate(load=measured(0, since_update=100, updates=0))
        assert not goes(young)
        assert goes(young, slack=True)

    def test_from_the_instant_of_its_first_update(self) -> None:
        def at(age: int) -> bool:
            return goes(candidate(load=Load.begun(Instant(NOW - age), DEFAULTS)))

        assert (at(U - 1), at(U)) == (False, True)

    def test_the_update_that_is_due_comes_before_the_run(self) -> None:
        one = candidate(load=Load(began_at=NOW - 2 * U, interval=U, updates=1, smooth=0, total=2 * U))
        assert not goes(one)

    @pytest.mark.parametrize("slack", [False, True])
    def test_not_while_an_instance_is_starting_or_being_retired(self, *, slack: bool) -> None:
        assert not goes(candidate(in_motion=True), slack=slack)

    @pytest.mark.parametrize("slack", [False, True])
    def test_not_below_its_own_minimum(self, *, slack: bool) -> None:
        assert goes(candidate(ready=3, least=2), slack=slack)
        assert not goes(candidate(ready=2, least=2), slack=slack)
        assert not goes(candidate(ready=1, least=2), slack=slack)

    def test_in_a_slack_run_a_busy_one_of_three_stays_and_the_last_one_too(self) -> None:
        """mod_fastcgi's load overflowed 32 bits here, and it killed both."""
        assert not goes(candidate(ready=3, load=measured(25, 25)), slack=True)
        assert not goes(candidate(ready=1, load=measured(25, 25)), slack=True)

    def test_in_a_slack_run_a_millisecond_since_the_last_look_is_no_load(self) -> None:
        """mod_fastcgi divided it by no time at all, and kept everybody."""
        assert goes(candidate(load=measured(0.001, 0.001)), slack=True)


class TestWhyNobodyGoes:
    @pytest.mark.parametrize(
        ("one", "settings", "why"),
        [
            ({"ready": 2, "least": 2}, {}, "no more than min-processes are ready"),
            ({"ready": 0}, {}, "none is ready"),
            ({"in_motion": True}, {}, "an instance is starting or being removed"),
            ({"ready": 1}, {}, "single-threshold = 0 keeps the last one"),
            ({"ready": 1, "smooth": 60}, {"single_threshold": 20}, "its load is not below single-threshold"),
            ({"ready": 2, "smooth": 150}, {}, "the others would have multi-threshold or more each"),
            ({"ready": 2, "smooth": 149}, {}, ""),
        ],
    )
    def test_by_the_first_reason_that_a_person_could_change(
        self, one: dict[str, Any], settings: dict[str, Any], why: str
    ) -> None:
        given = candidate(load=measured(one.pop("smooth", 0)), **one)
        assert why_kept(given, replace(DEFAULTS, **settings), now=NOW, slack=False) == why

    def test_before_its_first_update(self) -> None:
        young = candidate(load=measured(0, since_update=100, updates=0))
        assert why_kept(young, DEFAULTS, now=NOW, slack=False) == "its first update-interval is not over"


class TestPeriodicRun:
    def test_takes_one_of_each_the_least_loaded_first(self) -> None:
        crowd = [candidate(name, 3, measured(smooth)) for name, smooth in (("a", 50), ("b", 10), ("c", 30), ("d", 300))]
        assert periodic_run(crowd, DEFAULTS, total=12, least=0, now=NOW) == ("b", "c", "a")

    def test_takes_of_equals_the_one_with_fewer_requests_then_the_first_by_name(self) -> None:
        crowd = [candidate("c"), candidate("b", requests=7), candidate("a", requests=7)]
        assert periodic_run(crowd, DEFAULTS, total=6, least=0, now=NOW) == ("c", "a", "b")

    def test_orders_by_the_load_of_an_instance_not_of_the_application(self) -> None:
        crowd = [candidate("two", 2, measured(40)), candidate("eight", 8, measured(100))]
        assert periodic_run(crowd, DEFAULTS, total=10, least=0, now=NOW) == ("eight", "two")

    @pytest.mark.parametrize(("total", "least", "taken"), [(6, 5, 1), (7, 5, 2), (5, 5, 0), (3, 5, 0)])
    def test_tests_the_minimum_before_and_not_after(self, total: int, least: int, taken: int) -> None:
        """mod_fastcgi took one at each run, however few there were."""
        crowd = [candidate("a"), candidate("b"), candidate("c")]
        assert len(periodic_run(crowd, DEFAULTS, total=total, least=least, now=NOW)) == taken

    def test_passes_over_who_may_lose_none(self) -> None:
        crowd = [candidate("a", 1), candidate("b", in_motion=True), candidate("c", least=2), candidate("d")]
        assert periodic_run(crowd, DEFAULTS, total=6, least=5, now=NOW) == ("d",)


class TestSlackRun:
    def run(self, *crowd: Candidate, total: int, limit: int = 50, slack: int = 5, least: int = 5) -> tuple[str, ...]:
        return slack_run(crowd, DEFAULTS, total=total, least=least, limit=limit, slack=slack, now=NOW)

    def test_takes_none_while_there_is_room(self) -> None:
        assert self.run(candidate("idle"), total=45) == ()

    def test_takes_what_makes_room_and_no_more(self) -> None:
        assert self.run(candidate("idle", 9), candidate("busy", 37, measured(9_000)), total=46) == ("idle",)

    def test_goes_round_again_until_there_is_room(self) -> None:
        busy = candidate("busy", 42, measured(11_000))
        assert self.run(candidate("a", 4), candidate("b", 2), busy, total=48) == ("a", "b", "a")

    def test_goes_round_again_with_the_load_anew(self) -> None:
        """160 s of 300 are bearable for three and for two, and too much for one."""
        assert self.run(candidate("a", 4, measured(160)), total=50) == ("a", "a")
        assert self.run(candidate("a", 4, measured(140)), total=50) == ("a", "a", "a")

    def test_ends_with_a_round_that_took_none(self) -> None:
        assert self.run(candidate("a", 3), candidate("b", 1), total=50, limit=50) == ("a", "a")

    def test_takes_none_at_the_minimum(self) -> None:
        assert self.run(candidate("a", 6), total=6, limit=6, least=5) == ("a",)
        assert self.run(candidate("a", 5), total=5, limit=5, least=5) == ()

    def test_counts_those_who_are_not_candidates(self) -> None:
        """45 + 5 are within 50; 46 + 5 are not, whoever they are."""
        assert self.run(candidate("a", 2), total=46) == ("a",)

    def test_looks_at_the_present_for_the_order_too(self) -> None:
        crowd = [candidate("a", 4, measured(0, 40, since_update=50)), candidate("b", 4, measured(90))]
        assert self.run(*crowd, total=46) == ("b",)
        assert periodic_run(crowd, DEFAULTS, total=46, least=45, now=NOW) == ("a",)


class TestStarts:
    EARLIER = Instant(NOW - 2 * SECOND)
    LONG_AGO = Instant(NOW - 100 * SECOND)

    def due(
        self,
        crowd: Crowd,
        *,
        ready: int = 1,
        starting: int = 0,
        last_ready_at: Instant | None = LONG_AGO,
    ) -> int | None:
        return start_due(crowd, DEFAULTS, ready=ready, starting=starting, last_ready_at=last_ready_at, now=NOW)

    def test_nobody_is_no_reason(self) -> None:
        for ready in (0, 1):
            assert self.due(Crowd(waiting=0, oldest_since=None, full=False), ready=ready) is None

    def test_somebody_and_no_instance_at_once(self) -> None:
        crowd = Crowd(waiting=1, oldest_since=None, full=False)
        assert self.due(crowd, ready=0) == NOW
        assert why_start(crowd, ready=0) == "somebody-came"

    @pytest.mark.parametrize("ready", [0, 1, 5])
    @pytest.mark.parametrize("full", [False, True])
    def test_none_while_one_is_starting(self, ready: int, *, full: bool) -> None:
        assert self.due(Crowd(waiting=9, oldest_since=self.LONG_AGO, full=full), ready=ready, starting=1) is None

    def test_the_oldest_has_waited_for_start_delay(self) -> None:
        crowd = Crowd(waiting=1, oldest_since=self.EARLIER, full=False)
        assert self.due(crowd) == NOW + 1 * SECOND
        assert why_start(crowd, ready=1) == "start-delay"

    def test_and_the_last_instance_has_been_ready_for_as_long(self) -> None:
        crowd = Crowd(waiting=1, oldest_since=self.LONG_AGO, full=False)
        assert self.due(crowd, last_ready_at=self.EARLIER) == NOW + 1 * SECOND

    def test_or_nobody_knows_since_when_it_is(self) -> None:
        crowd = Crowd(waiting=1, oldest_since=self.EARLIER, full=False)
        assert self.due(crowd, last_ready_at=None) == NOW + 1 * SECOND

    def test_a_full_queue_at_once(self) -> None:
        crowd = Crowd(waiting=101, oldest_since=NOW, full=True)
        assert self.due(crowd, last_ready_at=NOW) == NOW
        assert why_start(crowd, ready=1) == "queue-full"

    def test_a_queue_full_of_people_who_gave_up_is_full(self) -> None:
        crowd = Crowd(waiting=0, oldest_since=None, full=True)
        for ready in (0, 1):
            assert self.due(crowd, ready=ready) == NOW
            assert why_start(crowd, ready=ready) == "queue-full"

    def test_who_waits_since_nobody_knows_when_has_not_waited_long(self) -> None:
        assert self.due(Crowd(waiting=1, oldest_since=None, full=False)) is None
