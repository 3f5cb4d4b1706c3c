"""What people asked for is told twice: when it begins, and when it is done, with what it took."""

from __future__ import annotations

from harness.simulation import START, Simulation, blog, running, tcp

from fcgipm.config.schema import SECOND, Change
from fcgipm.core import events as ev
from fcgipm.core.commands import Topic
from fcgipm.core.note import Memory, Mode, write
from fcgipm.core.view import AppState, LiveInstance

REPLACED = "blog: every instance is replaced"


def test_a_stop_is_told_when_the_last_instance_is_gone() -> None:
    sim = running(blog(processes=2), processes=2)
    sim.given(ev.StopRequested(app="blog"))
    sim.published(2)
    sim.after(2 * SECOND)
    sim.killed(2)
    assert sim.texts(Topic.APP_STOPPING) == ["blog: stopping, by an operator"]
    assert sim.texts(Topic.APP_STOPPED) == []

    sim.killed(1, how=ev.Removal.CUT, connections=3)
    assert sim.texts(Topic.APP_STOPPED) == ["blog: stopped after 2 s; 3 connections cut"]


def test_only_what_was_cut_meanwhile_is_counted() -> None:
    sim = running(tcp())
    sim.given(ev.StopRequested(app="blog"))
    sim.killed(1, how=ev.Removal.CUT, connections=3)
    sim.given(ev.StartRequested(app="blog"))
    sim.ready(2)
    sim.given(ev.StopRequested(app="blog"))
    sim.killed(2)

    assert sim.texts(Topic.APP_STOPPED)[1] == "blog: stopped after 0 s; 0 connections cut"


def test_a_stop_that_a_start_takes_back_is_never_done() -> None:
    sim = running(tcp())
    sim.given(ev.StopRequested(app="blog"))
    sim.given(ev.StartRequested(app="blog"))
    sim.killed(1)
    sim.ready(2)

    assert sim.texts(Topic.APP_STOPPED) == []


def test_a_stop_that_a_dead_manager_had_begun_is_told_by_the_next_one() -> None:
    alive = LiveInstance(
        instance=ev.InstanceId(4), app="blog", generation=1, pid=99, started_at=START, ready_at=START, asked=False
    )
    notes = {"blog": write(Memory(mode=Mode.STOP))}
    sim = Simulation(tcp(), living=[alive], published={"blog": 1}, notes=notes, next_instance=5)
    sim.given(ev.Tick())
    sim.killed(4)

    assert sim.texts(Topic.APP_STOPPED) == ["blog: stopped; 0 connections cut"]


def test_a_restart_is_told_when_the_old_generation_is_gone() -> None:
    sim = running(blog())
    sim.given(ev.RestartRequested(app="blog"))
    sim.proved(2)
    sim.published(2)
    sim.after(3 * SECOND)
    assert sim.texts(Topic.APP_RESTARTING) == ["blog: restarting, by an operator"]
    assert sim.texts(Topic.APP_RESTARTED) == []

    sim.killed(1)
    assert sim.texts(Topic.APP_RESTARTED) == [f"{REPLACED} after 3 s; 0 connections cut"]


def test_a_restart_on_a_shared_listener_is_told_once_all_are_replaced() -> None:
    sim = running(tcp(processes=2), processes=2)
    sim.given(ev.RestartRequested(app="blog"))
    sim.proved(3)
    sim.killed(3)
    sim.ready(4)
    sim.killed(1)
    assert sim.texts(Topic.APP_RESTARTED) == []

    sim.ready(5)
    sim.killed(2)
    assert sim.texts(Topic.APP_RESTARTED) == [f"{REPLACED} after 10 ms; 0 connections cut"]


def test_a_restart_that_was_given_up_is_never_done() -> None:
    sim = running(blog())
    sim.given(ev.RestartRequested(app="blog"))
    sim.spawned(2)
    sim.exited(2)
    sim.after(60 * SECOND)

    assert len(sim.texts(Topic.GENERATION_ABANDONED)) == 1
    assert sim.texts(Topic.APP_RESTARTED) == []


def test_what_leaves_the_configuration_is_shown_and_told_until_it_is_gone() -> None:
    sim = running(blog())
    sim.given(ev.ConfigurationApplied(applications={}, changes={}))
    assert (sim.view().state, sim.view().reason) == (AppState.STOPPED, "removed, draining")
    assert sim.texts(Topic.APP_GONE) == []

    sim.after(1 * SECOND)
    sim.killed(1)
    assert sim.engine.view(sim.now) == ()
    assert sim.texts(Topic.APP_GONE) == ["blog: its last instance is gone after 1 s; 0 connections cut"]


def test_what_comes_back_into_the_configuration_is_not_draining() -> None:
    sim = running(blog())
    sim.given(ev.ConfigurationApplied(applications={}, changes={}))
    sim.given(ev.ConfigurationApplied(applications={"blog": blog()}, changes={"blog": Change.IN_PLACE}))

    assert sim.view().reason == ""


def test_what_a_dead_manager_has_left_of_a_removed_application_is_draining() -> None:
    alive = LiveInstance(
        instance=ev.InstanceId(4), app="blog", generation=1, pid=99, started_at=START, ready_at=START, asked=False
    )
    sim = Simulation(living=[alive], next_instance=5)

    assert sim.view().reason == "removed, draining"
