"""A roll that its manager has left halfway is brought to its end; one that was given up halfway is undone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.simulation import Simulation, alive, blog, canaries, publications, retirements, running, spawns, tcp

from fcgipm.config.schema import SECOND, Application
from fcgipm.core import backoff
from fcgipm.core import events as ev
from fcgipm.core.commands import Command, Topic
from fcgipm.core.events import InstanceId
from fcgipm.core.note import Memory, Mode, write
from fcgipm.core.outcome import Verdict, judge
from fcgipm.core.recycling import PAUSE
from fcgipm.core.view import GivenUp, LiveInstance

HOUR = 3600 * SECOND
FAILED = GivenUp(generation=2, why="its probe failed", word="probe")


def canary(number: int, generation: int) -> LiveInstance:
    return replace(alive(number, generation), canary=True)


def found(
    application: Application, *living: LiveInstance, under_way: int | None = None, abandoned: int = 0,
    mode: Mode = Mode.RUN,
) -> Simulation:  # fmt: skip
    """Return what the next manager finds; what is not told otherwise, the newest generation was under way."""
    newest = max(one.generation for one in living)
    memory = Memory(
        mode=mode,
        newest=newest,
        under_way=newest if under_way is None else under_way,
        abandoned=abandoned,
        given_up=FAILED if abandoned else None,
    )
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


def test_what_a_newer_one_had_superseded_is_not_gone_on_with_and_goes_with_the_newer_one() -> None:
    """What was proved of it was proved of other files: the newer one was begun for those that are there now."""
    sim = found(tcp(processes=2), alive(1), alive(2, 2), canary(3, 3))
    ordered = sim.given(ev.Tick())

    assert (retirements(ordered), spawns(ordered)) == ([(3, True)], [(10, 1)])
    sim.killed(3, how=ev.Removal.CUT)
    sim.ready(10)
    sim.killed(2)
    assert is_complete(sim, 1)
    given_up = sim.view().given_up
    assert given_up is not None
    assert (given_up.generation, given_up.word) == (3, "interrupted")


@pytest.mark.parametrize("how", ["superseded", "failed", "superseded, and nothing is left of the newer one"])
def test_a_roll_that_its_own_manager_has_given_up_is_not_revived_by_the_next_one(how: str) -> None:
    sim = rolling()
    if how == "failed":
        sim.exited(5)
    else:
        sim.given(ev.ReloadRequested(app="blog"))
    living = [alive(2), alive(4, 2), *([canary(6, 3)] if how == "superseded" else [])]
    after = Simulation(tcp(processes=2), living=living, notes=sim.notes, next_instance=10)
    ordered = after.given(ev.Tick())

    assert after.view().rollout is None
    assert after.view().generation == 1
    assert spawns(ordered) == [(10, 1)]
    assert after.texts(Topic.APP_RELOADING) == []


def test_a_roll_that_was_under_way_is_gone_on_with_by_the_next_one() -> None:
    sim = rolling()
    after = Simulation(tcp(processes=2), living=[alive(2), alive(4, 2)], notes=sim.notes, next_instance=10)

    assert spawns(after.given(ev.Tick())) == [(10, 2)]
    assert after.texts(Topic.APP_RELOADING) != []


def test_a_roll_that_was_complete_is_so_although_an_old_one_still_finishes() -> None:
    sim = rolling()
    sim.ready(5)
    assert is_complete(sim, 2)
    after = Simulation(tcp(processes=2), living=[alive(2), alive(4, 2), alive(5, 2)], notes=sim.notes, next_instance=10)
    ordered = after.given(ev.Tick())

    assert (spawns(ordered), retirements(ordered)) == ([], [(2, False)])
    assert is_complete(after, 2)
    assert after.texts(Topic.APP_RELOADING) == []


def test_a_roll_of_which_nothing_is_left_is_interrupted_and_that_is_said() -> None:
    sim = rolling()
    after = Simulation(tcp(processes=2), living=[alive(2)], published={"blog": 2}, notes=sim.notes, next_instance=10)
    after.given(ev.Tick())

    view = after.view()
    assert view.given_up is not None
    assert (view.generation, view.given_up.generation, view.given_up.word) == (1, 2, "interrupted")


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


def test_what_was_given_up_is_undone_by_the_next_one_and_that_is_still_said() -> None:
    sim = found(tcp(processes=2), alive(1), alive(2, 2), abandoned=2, under_way=0)

    assert spawns(sim.given(ev.Tick())) == [(10, 1)]
    view = sim.view()
    assert (view.rollout, view.generation, view.given_up) == (None, 1, FAILED)
    assert retirements(sim.ready(10)) == [(2, False)]


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


# ── given up halfway: who has a place already is replaced by one of the generation that goes on ────────────────────


def rolling(**settings: object) -> Simulation:
    """Return one of which 1 was replaced by 4, of generation 2, while 5 starts to replace 2 as well."""
    sim = running(replace(tcp(init_start_delay=0), **{"processes": 2, **settings}), processes=2)  # type: ignore[arg-type]
    sim.given(ev.ReloadRequested(app="blog"))
    sim.proved(3)
    sim.killed(3)
    sim.ready(4)
    sim.killed(1)
    sim.spawned(5)
    return sim


def halfway(**settings: object) -> tuple[Simulation, list[Command]]:
    """Return that when the roll has been given up: 2 is old, 4 is new, 6 is to replace 4; and what was ordered then."""
    sim = rolling(**settings)
    ordered = sim.exited(5)
    view = sim.view()
    assert (view.rollout, view.generation) == (None, 1)
    assert [one.generation for one in view.instances] == [1, 2, 1]
    return sim, ordered


def test_who_has_a_place_is_replaced_first_and_goes_then() -> None:
    sim, ordered = halfway()
    assert (spawns(ordered), retirements(ordered), canaries(ordered)) == ([(6, 1)], [], [])
    ordered = sim.ready(6)
    assert (spawns(ordered), retirements(ordered)) == ([], [(4, False)])
    sim.killed(4)

    assert is_complete(sim, 1)
    assert sim.view().ready == 2
    assert sim.after(HOUR) == []
    assert sim.view().given_up is not None, "whoever looks later is to know why"


def test_it_is_done_one_at_a_time_and_the_next_not_before_the_last_has_gone() -> None:
    sim = running(tcp(processes=3, init_start_delay=0, stop_timeout=3 * SECOND), processes=3)
    sim.given(ev.ReloadRequested(app="blog"))
    sim.proved(4)
    sim.killed(4)
    for new, old in ((5, 1), (6, 2)):
        sim.ready(new)
        sim.killed(old)
    sim.spawned(7)
    assert spawns(sim.exited(7)) == [(8, 1)]
    assert retirements(sim.ready(8)) == [(5, False)]
    sim.refused(5)
    assert spawns(sim.after(3 * SECOND - 1)) == []
    assert (5, True) in retirements(sim.after(1)), "whoever never rests is cut as in a roll, after stop-timeout"
    assert spawns(sim.killed(5)) == [(9, 1)]
    assert retirements(sim.ready(9)) == [(6, False)]
    sim.killed(6)

    assert is_complete(sim, 1)


def test_where_that_fails_it_serves_on_and_it_is_tried_again_later() -> None:
    sim, _ = halfway()
    sim.spawned(6)
    ordered = sim.exited(6)
    assert (spawns(ordered), retirements(ordered)) == ([], [])
    assert sim.view().ready == 2

    assert spawns(sim.after(PAUSE - 1)) == []
    assert spawns(sim.after(1)) == [(7, 1)]


def test_for_a_shortage_it_waits_like_every_start() -> None:
    sim = rolling()
    failed = ev.SpawnFailed(instance=InstanceId(5), step="fork", error="EAGAIN", at=sim.now, shortage=True)
    assert spawns(sim.given(failed)) == []

    assert spawns(sim.after(1 * SECOND)) == [(6, 1)]


def test_how_many_are_of_it_is_said_to_whoever_asks() -> None:
    sim = rolling()
    before = replace(sim.view(), abandoned=0)
    sim.exited(5)
    who = "1 of 2 instances is of generation 2 and serves until it is replaced"

    assert sim.texts(Topic.GENERATION_ABANDONED)[0].endswith(f"; generation 1 goes on; {who}")
    outcome = judge("reload", before, sim.view())
    assert outcome.state is Verdict.FAILED
    assert outcome.text.endswith(f"; generation 1 serves on; {who}")
    assert judge("restart", before, sim.view()).text.endswith(f"; {who}")
    found = sim.engine.explain("blog", sim.now)
    assert found is not None
    assert found.summary.endswith(f"; {who}")
    sim.ready(6)
    sim.killed(4)
    assert judge("reload", before, sim.view()).text.endswith("; generation 1 serves on")


def test_one_that_dies_before_leaves_its_place_to_its_replacement() -> None:
    sim, _ = halfway()
    sim.exited(4)
    sim.ready(6)

    assert is_complete(sim, 1)
    assert spawns(sim.after(HOUR)) == []


def test_a_newer_generation_ends_that_and_replaces_all() -> None:
    sim, _ = halfway()
    sim.spawned(6)
    ordered = sim.given(ev.ReloadRequested(app="blog"))
    assert (canaries(ordered), retirements(ordered)) == ([7], [(6, False)])
    sim.killed(6)
    sim.proved(7)
    sim.killed(7)
    assert retirements(sim.ready(8)) == [(4, False)]
    sim.killed(4)
    sim.ready(9)
    sim.killed(2)

    assert is_complete(sim, 3)


def test_where_the_newer_one_fails_it_goes_on() -> None:
    sim = rolling()
    sim.given(ev.ReloadRequested(app="blog"))
    assert "1 of 2 instances is of generation 2" in sim.texts(Topic.GENERATION_ABANDONED)[0]
    sim.killed(5)
    sim.spawned(6)
    assert spawns(sim.exited(6)) == [(7, 1)]
    assert retirements(sim.ready(7)) == [(4, False)]


def test_a_stop_takes_all() -> None:
    sim, _ = halfway()
    sim.spawned(6)

    assert {number for number, _ in retirements(sim.given(ev.StopRequested(app="blog")))} == {2, 4, 6}


def test_in_back_off_nothing_is_started_for_that() -> None:
    sim = rolling(min_server_life=1_000 * SECOND, restart_delay=0)
    for number in (2, 6, 7):
        sim.exited(number)
        sim.spawned(*(number for number, _ in spawns(sim.after(1 * SECOND))))
    assert sim.view().backoff_until is not None
    assert spawns(sim.exited(5)) == []
    assert sim.view().rollout is None

    assert spawns(sim.after(backoff.PAUSE)) == [(8, 1)], "the one try that a back-off lets through"
