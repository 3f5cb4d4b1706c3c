"""A roll that its manager has left halfway is brought to its end; and of one that was given up all may go by policy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.simulation import Simulation, alive, blog, canaries, publications, retirements, running, spawns, tcp

from fcgipm.config.schema import SECOND, Application, Change
from fcgipm.core import events as ev
from fcgipm.core.commands import Topic
from fcgipm.core.events import InstanceId, Sample
from fcgipm.core.note import Memory, Mode, write
from fcgipm.core.view import GivenUp, LiveInstance

HOUR = 3600 * SECOND
FAILED = GivenUp(generation=2, why="its probe failed", word="probe")


def canary(number: int, generation: int) -> LiveInstance:
    return replace(alive(number, generation), canary=True)


def found(application: Application, *living: LiveInstance, abandoned: int = 0, mode: Mode = Mode.RUN) -> Simulation:
    """Return what the next manager finds."""
    newest = max(one.generation for one in living)
    memory = Memory(mode=mode, newest=newest, abandoned=abandoned, given_up=FAILED if abandoned else None)
    return Simulation(
        application,
        living=living,
        published={"blog": newest},
        notes={"blog": write(memory)},
        next_instance=10,
    )


def is_complete(sim: Simulation, generation: int) -> bool:
    view = sim.view()
    staying = [one for one in view.instances if one.state != "retiring"]
    return view.rollout is None and view.generation == generation == min(one.generation for one in staying)


# ── on to the newest that was proved ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("outdated", [False, True], ids=["reload", "apply"])
def test_the_rest_is_replaced_one_at_a_time_without_another_canary(outdated: bool) -> None:
    sim = found(tcp(processes=3), *(alive(number, outdated=outdated) for number in (1, 2)), alive(3, 2))
    ordered = sim.given(ev.Tick())

    assert (spawns(ordered), canaries(ordered), retirements(ordered)) == ([(10, 2)], [], [])
    rollout = sim.view().rollout
    assert rollout is not None
    assert (rollout.generation, rollout.phase, rollout.ready, rollout.of) == (2, "rolling", 1, 3)
    assert "rolling on to generation 2" in sim.texts(Topic.APP_RELOADING)[0]
    ordered = sim.ready(10)
    assert (retirements(ordered), spawns(ordered)) == ([(1, False)], [])
    assert spawns(sim.killed(1)) == [(11, 2)]
    assert not is_complete(sim, 2)
    assert retirements(sim.ready(11)) == [(2, False)]
    sim.killed(2)
    assert is_complete(sim, 2)
    assert sim.view().ready == 3
    assert len(sim.texts(Topic.GENERATION_PUBLISHED)) == 1


def test_one_that_was_starting_is_the_next_replacement() -> None:
    sim = found(tcp(processes=2), alive(1), alive(2), alive(3, 2, is_ready=False))

    assert (spawns(ordered := sim.given(ev.Tick())), retirements(ordered)) == ([], [])
    how = ev.Readiness.ACCEPTING
    ordered = sim.given(ev.BecameReady(instance=InstanceId(3), how=how, at=sim.now))
    assert retirements(ordered) == [(1, False)]
    assert spawns(sim.killed(1)) == [(10, 2)]


def test_one_that_was_starting_and_ends_gives_it_up() -> None:
    sim = found(tcp(processes=2), alive(1), alive(2), alive(3, 2, is_ready=False))
    sim.given(ev.Tick())

    assert spawns(sim.exited(3)) == []
    given_up = sim.view().given_up
    assert given_up is not None
    assert (given_up.generation, given_up.word, sim.view().rollout) == (2, "died", None)


def test_one_that_was_replaced_and_still_finishes_goes_and_no_newer_one() -> None:
    sim = found(tcp(processes=2, stop_timeout=3 * SECOND), alive(1), alive(2), alive(3, 2))
    ordered = sim.given(ev.Tick())

    assert (retirements(ordered), spawns(ordered)) == ([(1, False)], [])
    sim.refused(1)
    assert (1, True) in retirements(sim.after(3 * SECOND))
    assert spawns(sim.killed(1)) == [(10, 2)]


def test_one_that_was_replaced_as_the_last_one_leaves_nothing_to_do() -> None:
    sim = found(tcp(processes=2), alive(1), alive(2, 2), alive(3, 2))
    ordered = sim.given(ev.Tick())

    assert (retirements(ordered), spawns(ordered)) == ([(1, False)], [])
    assert is_complete(sim, 2)


def test_a_place_of_one_that_died_meanwhile_is_filled_and_comes_to_the_new_one_too() -> None:
    sim = found(tcp(processes=3, restart_delay=0), alive(1), alive(2, 2))
    started = spawns(sim.given(ev.Tick()))
    for _ in range(10):
        sim.ready(*(number for number, _ in started))
        gone = [one.instance for one in sim.view().instances if one.state == "retiring"]
        started = spawns(sim.killed(*gone) + sim.after(1 * SECOND))

    assert is_complete(sim, 2)
    assert sim.view().ready == 3


def test_of_a_stopped_one_nothing_is_rolled() -> None:
    sim = found(tcp(processes=2), alive(1), alive(2, 2), mode=Mode.STOP)

    assert spawns(sim.given(ev.Tick())) == []
    assert sim.view().rollout is None


def test_one_that_is_to_be_somewhere_else_is_begun_anew_there() -> None:
    sim = Simulation(tcp(processes=2), living=[alive(1), alive(2, 2)], moved=["blog"], next_instance=10)

    assert spawns(sim.given(ev.Tick())) == [(10, 3), (11, 3)]
    assert publications(sim.proved(10, 11)) == [3]


def test_where_the_newest_is_of_another_definition_too_it_is_proved_anew() -> None:
    sim = found(tcp(processes=2), alive(1, outdated=True), alive(2, 2, outdated=True))

    assert canaries(sim.given(ev.Tick())) == [10]


def test_a_canary_of_a_newer_one_is_given_up_and_what_was_proved_goes_on() -> None:
    sim = found(tcp(processes=2), alive(1), alive(2, 2), canary(3, 3))
    ordered = sim.given(ev.Tick())

    assert (retirements(ordered), spawns(ordered)) == ([(3, True)], [(10, 2)])
    sim.killed(3, how=ev.Removal.CUT)
    sim.ready(10)
    sim.killed(1)
    assert is_complete(sim, 2)
    given_up = sim.view().given_up
    assert given_up is not None
    assert (given_up.generation, given_up.word) == (3, "interrupted")


@pytest.mark.parametrize("application", [blog(), tcp()], ids=["unix", "tcp"])
def test_one_of_which_nothing_is_left_is_said_to_be_interrupted_once(application: Application) -> None:
    told: list[int] = []
    sim = running(application)
    sim.given(ev.ReloadRequested(app="blog"))
    for _ in range(2):
        sim = Simulation(application, living=[alive(1)], notes=sim.notes, next_instance=3)
        sim.given(ev.Tick())
        given_up = sim.view().given_up
        assert given_up is not None
        assert (given_up.generation, given_up.word) == (2, "interrupted")
        told.append(len(sim.texts(Topic.GENERATION_ABANDONED)))

    assert told == [1, 0]


@pytest.mark.parametrize("application", [blog(), tcp()], ids=["unix", "tcp"])
def test_one_that_came_to_its_end_is_not(application: Application) -> None:
    sim = running(application)
    sim.given(ev.ReloadRequested(app="blog"))
    sim.proved(2)
    sim.published(2)
    sim.killed(1 if application.port is None else 2)
    sim = Simulation(application, living=[alive(3, 2)], published={"blog": 2}, notes=sim.notes, next_instance=4)
    sim.given(ev.Tick())

    assert sim.texts(Topic.GENERATION_ABANDONED) == []


def test_what_was_given_up_stays_as_it_is_and_that_is_still_said() -> None:
    sim = found(tcp(processes=2), alive(1), alive(2, 2), abandoned=2)

    assert sim.given(ev.Tick()) == []
    view = sim.view()
    assert (view.rollout, view.generation, view.given_up) == (None, 1, FAILED)


def test_a_roll_that_is_left_twice_comes_to_its_end() -> None:
    sim = found(tcp(processes=2), alive(1), alive(2, 2))
    sim.given(ev.Tick())
    again = Simulation(
        tcp(processes=2),
        living=[alive(1), alive(2, 2), alive(10, 2)],
        published={"blog": 2},
        notes=sim.notes,
        next_instance=11,
    )

    assert retirements(again.given(ev.Tick())) == [(1, False)]
    again.killed(1)
    assert is_complete(again, 2)


def test_visitors_do_not_meet_what_answers_503_nor_a_canary() -> None:
    refuser = replace(alive(5), turns_away=True)
    sim = found(tcp(overload_response="503"), alive(1, 2), refuser, canary(3, 3))

    assert sim.view().generation == 2
    sim.given(ev.Tick())
    assert sim.view().rollout is None


def test_an_end_that_nobody_could_see_of_one_that_had_its_place_is_no_fault() -> None:
    sim = found(tcp(processes=3, restart_delay=1 * SECOND), alive(1), alive(2), alive(3, 2))
    sim.given(ev.Tick())
    sim.after(5 * SECOND)
    sim.exited(3, code=None)

    assert sim.view().rollout is not None
    assert sim.view().given_up is None


# ── given up: who has a place already is one like any other ──────────────────────────────────────────────────────


def given_up(**settings: object) -> Simulation:
    """Return one of which the first instance was replaced, and the roll was given up then: 2 is old, 4 is new."""
    sim = running(replace(tcp(init_start_delay=0), **settings), processes=2)  # type: ignore[arg-type]
    sim.given(ev.ReloadRequested(app="blog"))
    sim.proved(3)
    sim.killed(3)
    sim.ready(4)
    sim.killed(1)
    sim.exited(5)
    view = sim.view()
    assert (view.rollout, view.generation, [one.generation for one in view.instances]) == (None, 1, [1, 2])
    return sim


def lowered(**settings: object) -> Simulation:
    """Return one of which the demand may take all from now on."""
    sim = given_up(processes=None, min_processes=2, max_processes=4)
    least = replace(tcp(), processes=None, min_processes=0, max_processes=4, **settings)  # type: ignore[arg-type]
    sim.given(ev.ConfigurationApplied(applications={"blog": least}, changes={"blog": Change.IN_PLACE}))
    return sim


def test_by_policy_it_goes_as_the_youngest() -> None:
    sim = lowered()
    gone = [number for number, _ in retirements(sim.after(HOUR))]

    assert gone == [4]


def test_idle_stop_takes_all() -> None:
    sim = lowered(idle_stop=60 * SECOND)
    gone: list[int] = []
    for _ in range(61):
        taken = retirements(sim.after(1 * SECOND))
        while taken:
            gone.append(taken[0][0])
            taken = retirements(sim.killed(gone[-1]))

    assert gone == [4, 2]
    assert sim.view().ready == 0


def test_it_is_recycled_by_one_of_the_generation_that_goes_on() -> None:
    sim = given_up(processes=2, max_requests=100)
    ordered = sim.looked(blog=Sample(queued=0, limit=100, busy=1, requests=400))
    recycled: list[int] = []
    for _ in range(2):
        started = spawns(ordered)
        assert [generation for _, generation in started] == [1]
        ordered = sim.ready(*(number for number, _ in started))
        gone = [number for number, _ in retirements(ordered)]
        recycled += gone
        ordered += sim.killed(*gone)
        ordered = [one for one in ordered if spawns([one])] or sim.after(1 * SECOND)

    assert sorted(recycled) == [2, 4]
