"""overload-response = 503: who is turned away, by what, and until when."""

from __future__ import annotations

from typing import Any

from harness.simulation import START, Simulation, blog, retirements, spawns

from fcgipm.config.schema import SECOND
from fcgipm.core import commands as cmd
from fcgipm.core import events as ev
from fcgipm.core.commands import Command, Topic
from fcgipm.core.events import InstanceId, Instant, Sample
from fcgipm.core.view import AppState, LiveInstance


def refusing(**more: Any) -> Simulation:
    sim = Simulation(blog(overload_response="503", init_start_delay=0, **more))
    sim.given(ev.Tick())
    return sim


def turners(commands: list[Command]) -> list[tuple[int, int]]:
    return [
        (one.instance, one.turns_away) for one in commands if isinstance(one, cmd.Spawn) and one.turns_away is not None
    ]


def somebody_waits(generation: int = 1) -> ev.SomebodyWaits:
    return ev.SomebodyWaits(app="blog", generation=generation)


def in_back_off() -> Simulation:
    sim = refusing(restart_delay=0)
    for number in (1, 2, 3):
        sim.spawned(number)
        sim.exited(number)
        sim.after(SECOND)
    assert sim.view().state is AppState.BACKOFF
    return sim


def crowd(sim: Simulation, queued: int) -> Sample:
    return Sample(queued=queued, limit=100, oldest_since=Instant(sim.now) if queued else None)


def test_in_back_off_who_comes_is_turned_away_and_told_when_to_come_again() -> None:
    sim = in_back_off()
    done = sim.given(somebody_waits())
    assert turners(done) == [(4, 120)]
    assert spawns(done) == [(4, 1)]
    sim.ready(4)
    assert sim.view().ready == 0
    assert sim.view().instances == ()
    assert sim.texts(Topic.OVERLOADED)


def test_nobody_comes_nobody_is_turned_away() -> None:
    sim = in_back_off()
    assert turners(sim.after(300 * SECOND)) == []


def test_it_goes_when_help_is_on_its_way() -> None:
    sim = in_back_off()
    sim.given(somebody_waits())
    sim.ready(4)
    done = sim.given(ev.StartRequested(app="blog"))
    assert spawns(done) == [(5, 1)]
    assert retirements(done) == [(4, False)]
    sim.killed(4)
    assert turners(sim.after(60 * SECOND)) == []


def test_it_goes_when_nobody_has_come_for_long_and_comes_back_with_the_next_one() -> None:
    sim = in_back_off()
    sim.given(somebody_waits())
    sim.ready(4)
    assert retirements(sim.after(30 * SECOND)) == [(4, False)]
    sim.killed(4)
    assert turners(sim.given(somebody_waits())) != []


def test_how_long_visitors_are_turned_away_says_nothing_of_the_application_in_back_off() -> None:
    sim = in_back_off()
    sim.given(somebody_waits())
    sim.ready(4)
    sim.looked(blog=Sample(queued=0, limit=100, busy=1))
    assert sim.after(300 * SECOND) == []
    assert sim.view().state is AppState.BACKOFF


def test_one_without_minimum_is_tried_again_for_those_who_are_turned_away_and_never_seen_waiting() -> None:
    sim = Simulation(
        blog(processes=None, min_processes=0, max_processes=3, overload_response="503", restart_delay=SECOND)
    )
    done = sim.given(ev.Tick())
    for number in (1, 2, 3):
        assert spawns(sim.given(somebody_waits())) == [(number, 1)]
        sim.spawned(number)
        done = sim.exited(number)
        sim.after(SECOND)
    assert turners(done) != []
    sim.ready(4)
    sim.seen["blog"] = Sample(queued=0, limit=100, busy=3)
    assert spawns(sim.after(596 * SECOND)) == []
    assert spawns(sim.after(4 * SECOND)) == [(5, 1)]
    assert sum("back-off" in text for text in sim.texts(Topic.START_DENIED)) == 1, "said once"


def test_a_stopped_application_turns_away_and_starts_nothing() -> None:
    sim = refusing()
    sim.ready(1)
    sim.given(ev.StopRequested(app="blog"))
    sim.published(2)
    sim.after(2 * SECOND)
    sim.killed(1)
    assert turners(sim.given(somebody_waits(2))) == [(2, 120)]
    sim.ready(2)
    assert sim.view().state is AppState.STOPPED


def test_a_full_queue_is_turned_away_until_it_is_half_empty() -> None:
    sim = refusing()
    sim.ready(1)
    sim.after(SECOND)
    done = sim.looked(blog=crowd(sim, 101))
    assert turners(done) == [(2, 2)]
    assert [one.above for one in done if isinstance(one, cmd.Spawn)] == [50]
    sim.ready(2)
    assert retirements(sim.looked(blog=crowd(sim, 51))) == []
    assert retirements(sim.looked(blog=crowd(sim, 50))) == [(2, False)]


def test_a_queue_that_is_full_again_is_turned_away_again_a_second_later() -> None:
    sim = refusing()
    sim.ready(1)
    sim.after(SECOND)
    assert turners(sim.looked(blog=crowd(sim, 101)))
    sim.ready(2)
    sim.looked(blog=crowd(sim, 50))
    sim.killed(2)
    assert turners(sim.looked(blog=crowd(sim, 101))) == []
    assert turners(sim.after(SECOND)) == [(3, 2)]


def test_where_nobody_will_serve_the_other_half_is_turned_away_as_well() -> None:
    sim = refusing(restart_delay=0)
    sim.ready(1)
    sim.after(SECOND)
    sim.looked(blog=crowd(sim, 101))
    sim.ready(2)
    done = sim.exited(1)
    for number in (3, 4):
        sim.after(SECOND)
        sim.spawned(number)
        done = sim.exited(number)
    assert sim.view().state is AppState.BACKOFF
    assert retirements(done) == [(2, False)]
    again = sim.killed(2) + sim.after(SECOND)
    assert [(one.instance, one.above) for one in again if isinstance(one, cmd.Spawn)] == [(5, 0)]


def test_what_another_manager_has_started_goes_since_nobody_knows_whom_it_turns_away() -> None:
    living = [
        LiveInstance(
            instance=InstanceId(number), app="blog", generation=1, pid=number, started_at=START, ready_at=START,
            asked=False, turns_away=number == 2,
        )
        for number in (1, 2)
    ]  # fmt: skip
    sim = Simulation(blog(overload_response="503"), living=living, published={"blog": 1}, next_instance=3)
    assert retirements(sim.given(ev.Tick())) == [(2, False)]
    sim.killed(2)
    assert [one.above for one in sim.looked(blog=crowd(sim, 101)) if isinstance(one, cmd.Spawn)] == [50]


def test_one_that_cannot_be_started_is_tried_again_after_a_while() -> None:
    sim = in_back_off()
    sim.given(somebody_waits())
    sim.seen["blog"] = crowd(sim, 1)
    sim.given(ev.SpawnFailed(instance=ev.InstanceId(4), step="exec", error="no such file", at=sim.now))
    assert turners(sim.after(4 * SECOND)) == []
    assert turners(sim.after(3 * SECOND)) == [(5, 120)]


def test_without_the_option_nobody_is_turned_away() -> None:
    sim = Simulation(blog(init_start_delay=0))
    sim.given(ev.Tick())
    sim.ready(1)
    assert turners(sim.looked(blog=crowd(sim, 101))) == []


def test_a_shutdown_ends_it() -> None:
    sim = in_back_off()
    sim.given(somebody_waits())
    sim.ready(4)
    sim.given(ev.ShutdownRequested())
    done = sim.after(SECOND) + sim.published(0) + sim.after(2 * SECOND)
    assert 4 in [number for number, _ in retirements(done)] or retirements(sim.after(60 * SECOND))
    done = sim.killed(4)
    assert any(isinstance(one, cmd.Shutdown) and one.finished for one in done)
