"""Instances kept, delays, and back-off: the static policy on a scripted clock."""

from __future__ import annotations

import pytest
from harness.simulation import START, Simulation, blog, retirements, running, spawns

from fcgipm.config.schema import MILLISECOND, SECOND
from fcgipm.core import events as ev
from fcgipm.core.commands import Shutdown, Topic
from fcgipm.core.events import InstanceId, Instant
from fcgipm.core.view import AppState, LiveInstance


def test_the_first_instance_starts_at_once_and_the_others_init_start_delay_apart() -> None:
    sim = Simulation(blog(processes=3, init_start_delay=2 * SECOND))

    assert spawns(sim.given(ev.Tick())) == [(1, 1)]
    assert spawns(sim.after(2 * SECOND - 1)) == []
    assert spawns(sim.after(1)) == [(2, 1)]
    assert spawns(sim.after(2 * SECOND)) == [(3, 1)]
    assert spawns(sim.after(20 * SECOND)) == []


def test_an_app_without_autostart_waits_to_be_told() -> None:
    sim = Simulation(blog(autostart=False))

    assert sim.given(ev.Tick()) == []
    assert sim.view().state is AppState.STOPPED
    assert sim.engine.deadline() is None
    assert spawns(sim.given(ev.StartRequested(app="blog"))) == [(1, 1)]


def test_states_from_starting_to_running() -> None:
    sim = Simulation(blog())
    sim.given(ev.Tick())

    assert sim.view().state is AppState.STARTING
    sim.spawned(1)
    assert sim.view().state is AppState.STARTING
    sim.given(ev.BecameReady(instance=InstanceId(1), how=ev.Readiness.ACCEPTING, at=sim.now))
    assert sim.view().state is AppState.RUNNING
    assert sim.engine.deadline() is None


def test_a_death_long_after_the_start_is_made_good_at_once() -> None:
    sim = running(blog())
    sim.after(5 * SECOND)

    assert spawns(sim.exited(1)) == [(2, 1)]


def test_a_death_soon_after_the_start_waits_for_restart_delay() -> None:
    sim = running(blog())
    sim.after(1 * SECOND)

    assert spawns(sim.exited(1)) == []
    assert sim.view().next_at == START + 5 * SECOND
    assert spawns(sim.after(4 * SECOND - 1)) == []
    assert spawns(sim.after(1)) == [(2, 1)]


def test_restart_delay_zero_is_no_busy_loop() -> None:
    sim = running(blog(restart_delay=0, min_server_life=0))

    assert spawns(sim.exited(1)) == []
    assert spawns(sim.after(100 * MILLISECOND)) == [(2, 1)]


def test_each_slot_has_a_restart_delay_of_its_own() -> None:
    sim = running(blog(processes=2), processes=2)  # started 1 s apart
    sim.after(4 * SECOND)

    assert spawns(sim.exited(1)) == [(3, 1)]
    assert spawns(sim.exited(2)) == []
    assert sim.view().next_at == START + 6 * SECOND


def fail_three_times(sim: Simulation) -> None:
    for number in (1, 2, 3):
        sim.ready(number)
        sim.exited(number)
        if number < 3:
            sim.after(5 * SECOND)


def test_three_short_lives_in_a_row_are_back_off() -> None:
    sim = Simulation(blog())
    sim.given(ev.Tick())
    fail_three_times(sim)

    assert sim.view().state is AppState.BACKOFF
    third_start = START + 10 * SECOND
    assert sim.view().backoff_until == third_start + 600 * SECOND
    sim.after(600 * SECOND - 1)
    assert sim.view().state is AppState.BACKOFF
    assert spawns(sim.after(1)) == [(4, 1)]
    assert len(sim.texts(Topic.BACKOFF_ENTERED)) == 1


def test_in_back_off_one_start_is_tried_for_the_whole_app() -> None:
    sim = Simulation(blog(processes=3, init_start_delay=0))
    assert len(spawns(sim.given(ev.Tick()))) == 3
    for number in (1, 2, 3):
        sim.ready(number)
        sim.exited(number)

    assert spawns(sim.after(600 * SECOND)) == [(4, 1)]
    assert spawns(sim.after(599 * SECOND)) == []
    assert spawns(sim.after(1 * SECOND)) == [(5, 1)]


def test_a_long_life_heals_while_it_goes_on() -> None:
    sim = Simulation(blog(processes=2, init_start_delay=0))
    sim.given(ev.Tick())
    sim.ready(1, 2)
    sim.exited(1)
    sim.exited(2)
    sim.after(5 * SECOND)
    sim.ready(3, 4)
    sim.exited(3)
    assert sim.view().backoff_until is not None

    assert spawns(sim.after(30 * SECOND - 1)) == []
    assert spawns(sim.after(1)) == [(5, 1)]  # instance 4 has lived longer than min-server-life
    assert len(sim.texts(Topic.BACKOFF_HEALED)) == 1
    assert sim.view().state is AppState.RUNNING


def test_exit_status_0_does_not_count() -> None:
    sim = Simulation(blog())
    sim.given(ev.Tick())
    for number in range(1, 6):
        sim.ready(number)
        sim.exited(number, code=0)
        assert spawns(sim.after(5 * SECOND)) == [(number + 1, 1)]

    assert sim.view().state is AppState.STARTING


def test_a_longer_life_breaks_the_row() -> None:
    sim = Simulation(blog())
    sim.given(ev.Tick())
    for number in (1, 2):
        sim.ready(number)
        sim.exited(number)
        sim.after(5 * SECOND)
    sim.ready(3)
    sim.after(31 * SECOND)
    sim.exited(3)
    sim.ready(4)
    sim.exited(4)

    assert sim.view().state is AppState.STARTING


def test_min_server_life_0_switches_back_off_off() -> None:
    sim = Simulation(blog(min_server_life=0))
    sim.given(ev.Tick())
    for number in range(1, 10):
        sim.ready(number)
        sim.exited(number)
        assert spawns(sim.after(5 * SECOND)) == [(number + 1, 1)]


@pytest.mark.parametrize("event", [ev.StartRequested(app="blog"), ev.ProgramChanged(app="blog")])
def test_start_and_a_new_program_end_back_off(event: ev.Event) -> None:
    sim = Simulation(blog())
    sim.given(ev.Tick())
    fail_three_times(sim)
    sim.after(10 * SECOND)

    assert spawns(sim.given(event)) == [(4, 1)]


def test_a_failed_spawn_is_a_life_of_zero_and_says_step_and_errno() -> None:
    sim = Simulation(blog())
    sim.given(ev.Tick())
    failed = ev.SpawnFailed(instance=InstanceId(1), step="chdir /srv/blog", error="Permission denied", at=sim.now)

    assert spawns(sim.given(failed)) == []
    assert sim.texts(Topic.START_FAILED) == [
        "blog: cannot spawn blog/1: chdir /srv/blog: Permission denied; next try in 5 s"
    ]
    assert spawns(sim.after(5 * SECOND)) == [(2, 1)]


def test_an_instance_never_ready_is_cut_at_start_timeout_and_counts_as_failed() -> None:
    sim = Simulation(blog(start_timeout=3 * SECOND))
    sim.given(ev.Tick())
    sim.spawned(1)

    assert retirements(sim.after(3 * SECOND - 1)) == []
    assert retirements(sim.after(1)) == [(1, True)]
    sim.killed(1, how=ev.Removal.CUT)
    assert sim.view().restarts == 1
    assert "not ready after 3 s" in sim.texts(Topic.START_FAILED)[0]


def test_on_failure_exit_ends_the_daemon_with_status_1() -> None:
    sim = Simulation(blog(on_failure="exit"))
    sim.given(ev.Tick())
    for number in (1, 2):
        sim.ready(number)
        sim.exited(number)
        sim.after(5 * SECOND)
    sim.ready(3)

    ended = sim.exited(3)
    assert [(one.status, one.finished) for one in ended if isinstance(one, Shutdown)] == [(1, False), (1, True)]


def test_a_wrapper_that_refuses_is_failed_not_tried_again() -> None:
    sim = running(blog(wrapper="/usr/lib/apache2/suexec"))

    sim.exited(1, code=120)
    assert sim.view().state is AppState.FAILED
    assert "not owned by the target user" in sim.view().reason
    assert sim.engine.deadline() is None
    assert spawns(sim.given(ev.StartRequested(app="blog"))) == [(2, 1)]


def test_exit_status_120_without_a_wrapper_is_an_ordinary_end() -> None:
    sim = running(blog(wrapper="off"))

    sim.exited(1, code=120)
    assert sim.view().state is AppState.STARTING


def test_a_new_manager_goes_on_where_the_old_one_was() -> None:
    old = running(blog(processes=2), processes=2)
    old.given(ev.ScaleRequested(app="blog", processes=1))
    living = [
        LiveInstance(
            instance=InstanceId(1), app="blog", generation=1, pid=1001, started_at=START, ready_at=START, asked=False
        )
    ]

    new = Simulation(blog(processes=2), living=living, notes=old.notes, next_instance=3)
    assert new.given(ev.Tick()) == []
    assert new.view().wanted == 1
    assert new.view().state is AppState.RUNNING


def test_a_stop_outlives_the_manager() -> None:
    old = running(blog())
    old.given(ev.StopRequested(app="blog"))

    new = Simulation(blog(), notes=old.notes, next_instance=2)
    assert new.given(ev.Tick()) == []
    assert new.view().state is AppState.STOPPED


def test_a_new_manager_keeps_the_delays_of_what_nobody_saw_die() -> None:
    old = running(blog())

    new = Simulation(blog(), notes=old.notes, next_instance=2)
    assert spawns(new.given(ev.Tick())) == []
    assert spawns(new.after(5 * SECOND)) == [(2, 1)]


def test_back_off_outlives_the_manager() -> None:
    old = Simulation(blog())
    old.given(ev.Tick())
    fail_three_times(old)

    new = Simulation(blog(), notes=old.notes, next_instance=4)
    assert new.view().state is AppState.BACKOFF
    assert spawns(new.after(600 * SECOND)) == []
    assert spawns(new.after(10 * SECOND)) == [(4, 1)]


def test_an_unreadable_note_is_forgotten() -> None:
    sim = Simulation(blog(), notes={"blog": "{not json"})

    assert spawns(sim.given(ev.Tick())) == [(1, 1)]


def test_an_instance_of_an_app_that_is_no_more_is_removed() -> None:
    living = [
        LiveInstance(
            instance=InstanceId(7), app="gone", generation=2, pid=77, started_at=START, ready_at=START, asked=False
        )
    ]
    sim = Simulation(blog(), living=living, next_instance=8)

    assert retirements(sim.given(ev.Tick())) == [(7, False)]


def test_events_of_instances_that_are_gone_are_ignored() -> None:
    sim = running(blog())

    assert sim.exited(99) == []
    assert sim.refused(99) == []


def test_late_news_carry_the_time_at_which_they_happened() -> None:
    sim = running(blog())
    died_at = Instant(sim.now + 1 * SECOND)
    sim.after(40 * SECOND)  # the manager was stopped meanwhile

    sim.given(ev.Exited(instance=InstanceId(1), code=1, signal=None, dumped=False, at=died_at))
    assert "after 1 s" in sim.view().reason
