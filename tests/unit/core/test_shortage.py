"""Starts that fail for want of descriptors, processes or memory: said once, tried again, and no step to back-off."""

from __future__ import annotations

from harness.simulation import Simulation, blog, running, spawns

from fcgipm.config.schema import MILLISECOND, SECOND
from fcgipm.core import events as ev
from fcgipm.core.commands import Command, Severity, Topic
from fcgipm.core.events import InstanceId
from fcgipm.core.view import AppState

WHY = "cannot spawn blog/2: fork: Resource temporarily unavailable"


def short(sim: Simulation, number: int) -> list[Command]:
    """Let a start fail as it does when there are no processes."""
    why = "Resource temporarily unavailable"
    return sim.given(ev.SpawnFailed(instance=InstanceId(number), step="fork", error=why, at=sim.now, shortage=True))


def outlive(sim: Simulation, first: int, tries: int) -> int:
    """Let so many starts fail, each when it is made; return the number of the next one."""
    for number in range(first, first + tries):
        assert spawns(short(sim, number)) == []
        ((following, _),) = spawns(sim.after(10 * SECOND))
        assert following == number + 1
    return first + tries


def test_it_is_no_step_to_back_off_and_heals_with_the_first_start_that_works() -> None:
    sim = running(blog())
    sim.after(60 * SECOND)
    sim.exited(1)
    number = outlive(sim, 2, 20)

    assert sim.texts(Topic.BACKOFF_ENTERED) == []
    assert sim.view().state is AppState.STARTING
    assert "Resource temporarily unavailable" in (sim.view().reason or "")
    sim.ready(number)
    assert sim.view().state is AppState.RUNNING
    assert not sim.view().reason


def test_it_is_said_once_and_so_is_its_end() -> None:
    sim = running(blog())
    sim.after(60 * SECOND)
    sim.exited(1)
    number = outlive(sim, 2, 20)
    sim.ready(number)

    told = [(tell.severity, tell.reason) for tell in sim.told if tell.topic is Topic.START_DENIED]
    assert told == [(Severity.ERROR, "shortage"), (Severity.INFO, "")]
    assert sim.texts(Topic.START_DENIED)[0].startswith(f"blog: {WHY}, a shortage of the system; next try in 1 s")
    assert sim.texts(Topic.START_FAILED) == []

    sim.after(60 * SECOND)
    sim.exited(number)
    short(sim, number + 1)
    assert len(sim.texts(Topic.START_DENIED)) == 3, "another one is news"


def test_the_pauses_grow_and_are_those_of_all_instances() -> None:
    sim = running(blog(processes=3, init_start_delay=0), processes=3)
    sim.after(60 * SECOND)
    for number in (1, 2, 3):
        sim.exited(number)
    number, pauses = 4, []
    for _ in range(6):
        for _ in range(3):
            short(sim, number)
            number += 1
        pause = 0
        while not (started := spawns(sim.after(SECOND))):
            pause += 1
        pauses.append(pause + 1)
        assert len(started) == 3
    assert pauses == [1, 2, 4, 8, 10, 10]


def test_a_generation_that_meets_it_is_given_up_and_the_old_one_serves_on() -> None:
    sim = running(blog())
    assert spawns(sim.given(ev.ReloadRequested(app="blog"))) == [(2, 2)]
    assert spawns(short(sim, 2)) == []

    given_up = sim.view().given_up
    assert given_up is not None
    assert given_up.word == "start-failed"
    assert sim.view().state is AppState.RUNNING
    assert spawns(sim.given(ev.ReloadRequested(app="blog"))) == []
    assert spawns(sim.after(SECOND)) == [(3, 3)]


def test_who_follows_demand_starts_one_as_soon_as_that_is_possible() -> None:
    sim = Simulation(blog(processes=None, min_processes=0, max_processes=3))
    sim.given(ev.Tick())
    sim.after(20 * SECOND)
    assert spawns(sim.given(ev.SomebodyWaits(app="blog", generation=1))) == [(1, 1)]
    sim.seen["blog"] = ev.Sample(queued=1, limit=100, oldest_since=sim.now)
    assert spawns(short(sim, 1)) == []
    assert spawns(sim.after(SECOND - 1)) == []
    assert spawns(sim.after(SECOND // 2)) == [(2, 1)]


def test_what_was_to_relieve_a_saturated_one_is_tried_again_and_said_once() -> None:
    sim = running(blog(processes=2), processes=2)
    sim.given(ev.ScaleRequested(app="blog", processes=1))
    number, begun = 2, []
    for _ in range(800):
        sim.refused(2)
        for number, generation in spawns(sim.after(20 * MILLISECOND)):
            begun.append(generation)
            if len(begun) < 4:
                short(sim, number)
    assert begun == [2, 3, 4, 5]
    errors = [tell.text for tell in sim.told if tell.severity is Severity.ERROR]
    assert len(errors) == 1, errors
    sim.proved(number)
    assert sim.view().rollout is not None


def test_a_start_that_was_ordered_before_says_nothing_of_its_end() -> None:
    sim = running(blog())
    sim.after(60 * SECOND)
    ((first, _), (second, _)) = spawns(sim.given(ev.ScaleRequested(app="blog", processes=3)))
    short(sim, first)
    sim.after(10 * MILLISECOND)
    sim.ready(second)

    assert len(sim.texts(Topic.START_DENIED)) == 1
    assert spawns(sim.after(500 * MILLISECOND)) == [], "the next try is in a second, as was said"
    ((third, _),) = spawns(sim.after(1 * SECOND))
    sim.ready(third)
    assert sim.texts(Topic.START_DENIED)[1:] == ["blog: instances can be started again"]
