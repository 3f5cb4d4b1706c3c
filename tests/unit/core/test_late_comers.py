"""Who waits at an old listener when everybody there is gone: remembered, served by the next start, or turned away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from harness.simulation import Simulation, alive, blog, retirements, running, spawns, tcp

from fcgipm.config.schema import MILLISECOND, SECOND
from fcgipm.core import commands as cmd
from fcgipm.core import events as ev
from fcgipm.core.commands import Command, Topic
from fcgipm.core.events import Instant
from fcgipm.core.note import Mode, read
from fcgipm.core.outcome import judge

COME = ev.SomebodyWaits(app="blog", generation=1)
MINUTE = 60 * SECOND
START = ev.StartRequested(app="blog")


def cut(sim: Simulation, number: int, waiting: int) -> list[Command]:
    """Let the keeper cut an instance with one connection, while so many wait in its queue, and its process end."""
    how = ev.Removal.CUT
    done = sim.given(
        ev.Removed(instance=ev.InstanceId(number), how=how, connections=1, waiting=waiting, at=Instant(sim.now))
    )
    return done + sim.exited(number, code=None, signal=9)


def stopped(waiting: int = 1, **settings: Any) -> tuple[Simulation, list[Command]]:
    """Return an application whose two busy instances were cut by a stop, and what followed from that."""
    sim = running(blog(processes=2, init_start_delay=0, stop_timeout=5 * SECOND, **settings), 2)
    sim.given(ev.StopRequested(app="blog"))
    sim.published(2)
    sim.after(1 * SECOND)
    for number in (1, 2):
        sim.refused(number)
    assert (1, True) in retirements(sim.after(4 * SECOND))
    return sim, cut(sim, 1, waiting) + cut(sim, 2, waiting)


def turners(commands: list[Command]) -> list[tuple[int, int]]:
    return [(one.instance, one.generation) for one in commands if isinstance(one, cmd.Spawn) and one.turns_away]


def test_who_is_left_behind_by_a_stop_is_told_and_served_by_the_next_start_at_once() -> None:
    sim, done = stopped()
    before = replace(sim.view(), cut=0)
    assert spawns(done) == []
    assert sim.texts(Topic.APP_STOPPED) == ["blog: stopped after 5 s; 2 connections cut; 1 earlier visitor still waits"]
    said = judge("stop", before, sim.view()).text
    assert said == "blog: stopped; 2 connections cut, after stop-timeout; 1 earlier visitor still waits"

    sim.given(COME)  # as the keeper tells in the same moment
    sim.after(30 * SECOND)
    assert sorted(generation for _, generation in spawns(sim.given(START))) == [1, 2, 2]
    (late,) = (one.instance for one in sim.view().instances if one.generation == 1)
    assert retirements(sim.ready(late)) == [(late, False)]
    assert sim.view().left == 0


def test_nobody_is_left_behind_where_nobody_waited() -> None:
    sim, done = stopped(waiting=0)
    assert sim.texts(Topic.APP_STOPPED) == ["blog: stopped after 5 s; 2 connections cut"]
    assert [generation for _, generation in spawns(done + sim.given(START))] == [2, 2]


def test_who_waits_is_remembered_for_as_long_as_the_keeper_tells_of_him() -> None:
    sim, _ = stopped()
    for _ in range(5):
        sim.after(MINUTE - MILLISECOND)
        sim.given(COME)

    assert 1 in [generation for _, generation in spawns(sim.given(START))]


def test_who_is_not_told_of_again_has_gone() -> None:
    sim, _ = stopped()
    assert sim.after(MINUTE) == []
    assert sim.engine.deadline() is None
    assert sim.view().left == 0
    assert [generation for _, generation in spawns(sim.given(START))] == [2, 2]


def test_the_next_manager_is_told_of_him_again() -> None:
    before, _ = stopped()
    note = read(before.notes["blog"])
    assert note is not None
    assert note.mode is Mode.STOP
    sim = Simulation(
        blog(processes=2, init_start_delay=0),
        published={"blog": 2},
        notes=before.notes,
        next_instance=3,
        now=before.now,
    )
    sim.given(ev.Tick())
    assert sim.given(COME) == []

    assert 1 in [generation for _, generation in spawns(sim.given(START))]


def test_a_reload_of_a_stopped_application_serves_him_too() -> None:
    sim, _ = stopped()
    sim.given(COME)
    assert (3, 1) in spawns(sim.given(ev.ReloadRequested(app="blog")))


def test_on_a_port_nobody_is_late() -> None:
    sim = running(tcp(stop_timeout=5 * SECOND))
    sim.given(ev.StopRequested(app="blog"))
    sim.refused(1)
    sim.after(5 * SECOND)
    cut(sim, 1, waiting=3)
    sim.given(COME)
    assert sim.texts(Topic.APP_STOPPED) == ["blog: stopped after 5 s; 1 connection cut"]
    assert [generation for _, generation in spawns(sim.given(START))] == [1]


def test_where_requests_are_cut_by_a_reload_who_waits_behind_them_is_served_at_once() -> None:
    sim = running(blog(stop_timeout=5 * SECOND))
    sim.given(ev.ReloadRequested(app="blog"))
    sim.proved(2)
    sim.published(2)
    sim.after(1 * SECOND)
    sim.refused(1)
    sim.after(4 * SECOND)
    assert spawns(cut(sim, 1, waiting=2)) == [(3, 1)]
    assert spawns(sim.given(COME)) == []


@pytest.mark.parametrize("told", [True, False])
def test_where_visitors_are_turned_away_who_is_left_behind_is_turned_away_too(*, told: bool) -> None:
    sim, done = stopped(waiting=0 if told else 1, overload_response="503")
    if told:
        done = sim.given(COME)
    assert turners(done) == [(3, 1)]
    assert sim.given(COME) == []
    assert retirements(sim.ready(3)) == [(3, False)]
    assert sim.view().instances == ()
    sim.refused(3, ev.Refusal.QUEUE)
    assert retirements(sim.after(20 * MILLISECOND)) == [(3, False)]
    assert sim.killed(3) == []
    assert turners(sim.after(2 * MINUTE)) == []
    assert sim.engine.deadline() is None
    assert turners(sim.given(COME)) == [(4, 1)], "somebody has come after all"


def test_visitors_of_both_listeners_are_turned_away_at_once() -> None:
    sim, done = stopped(overload_response="503")
    done += sim.given(ev.SomebodyWaits(app="blog", generation=2))
    assert turners(done) == [(3, 1), (4, 2)]
    sim.ready(3, 4)
    sim.killed(3)
    assert sim.view().left == 0


def test_who_would_be_turned_away_when_a_start_comes_is_served() -> None:
    sim, done = stopped(overload_response="503")
    assert turners(done) == [(3, 1)]
    sim.spawned(3)
    done = sim.given(START)
    assert retirements(done) == [(3, False)]
    assert 1 in [generation for _, generation in spawns(done)]


def test_in_back_off_late_comers_are_turned_away_as_well() -> None:
    sim = running(blog(overload_response="503", restart_delay=0, min_server_life=30 * SECOND, init_start_delay=0))
    sim.given(ev.RestartRequested(app="blog"))
    sim.proved(2)
    sim.published(2)
    sim.after(1 * SECOND)
    sim.killed(1)
    for number in (2, 3, 4):
        if number > 2:
            sim.spawned(number)
        sim.exited(number)
        sim.after(SECOND)
    assert turners(sim.given(COME)) == [(5, 1)]


def test_one_that_cannot_be_started_is_tried_again_after_a_while() -> None:
    sim, done = stopped(overload_response="503")
    assert turners(done) == [(3, 1)]
    sim.given(ev.SpawnFailed(instance=ev.InstanceId(3), step="exec", error="no such file", at=sim.now))
    assert turners(sim.after(4 * SECOND)) == []
    assert turners(sim.after(3 * SECOND)) == [(4, 1)]


def test_what_a_manager_before_this_one_has_started_for_them_goes_when_done() -> None:
    living = [replace(alive(3, 1), turns_away=True), replace(alive(4, 2), turns_away=True), alive(5, 2)]
    sim = Simulation(blog(overload_response="503"), living=living, published={"blog": 2}, next_instance=6)
    assert sorted(retirements(sim.given(ev.Tick()))) == [(3, False), (4, False)]
    sim.killed(3, 4)
    assert [one.instance for one in sim.view().instances] == [5]


def test_a_shutdown_ends_it() -> None:
    sim, _ = stopped(overload_response="503")
    sim.ready(3)
    sim.given(ev.ShutdownRequested())
    sim.published(0)
    assert any(isinstance(one, cmd.Shutdown) and one.finished for one in sim.killed(3))


def test_without_a_stop_timeout_what_serves_late_comers_has_a_moment_all_the_same() -> None:
    sim = running(blog(stop_timeout=0))
    sim.given(ev.RestartRequested(app="blog"))
    sim.proved(2)
    sim.published(2)
    sim.after(1 * SECOND)
    sim.killed(1)
    sim.given(COME)
    assert retirements(sim.ready(3)) == [(3, False)]
    sim.refused(3)
    assert retirements(sim.after(SECOND - 1))[-1] == (3, False)
    assert (3, True) in retirements(sim.after(1))


def full_and_stopped() -> Simulation:
    """Return an application that is stopped while somebody is served and those behind him are turned away."""
    sim = running(blog(processes=None, min_processes=0, max_processes=1, overload_response="503"), 0)
    assert spawns(sim.given(COME)) == [(1, 1)]
    sim.ready(1)
    sim.after(SECOND)
    full = ev.Sample(queued=101, limit=100, busy=1, oldest_since=Instant(sim.now))
    assert turners(sim.looked(blog=full)) == [(2, 1)]
    sim.ready(2)
    sim.given(ev.StopRequested(app="blog"))
    assert (2, False) in retirements(sim.published(2))
    sim.refused(2, ev.Refusal.QUEUE)
    return sim


def test_what_turns_away_on_a_listener_that_becomes_an_old_one_leaves_its_place_to_another_one() -> None:
    sim = full_and_stopped()
    assert turners(sim.given(ev.SomebodyWaits(app="blog", generation=2)) + sim.after(SECOND)) == [(3, 2)]


def test_who_is_turned_away_from_an_old_listener_has_not_come_to_the_public_one() -> None:
    sim = full_and_stopped()
    sim.seen["blog"] = ev.Sample(queued=0, limit=100, busy=1)
    assert spawns(sim.given(START) + sim.after(5 * SECOND)) == []
