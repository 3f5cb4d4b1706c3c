"""What a new manager brings to its end, what was begun by one that died; and visitors on old listeners."""

from __future__ import annotations

from harness.simulation import Simulation, alive, blog, canaries, publications, retirements, running, spawns, tcp

from fcgipm.config.schema import SECOND
from fcgipm.core import events as ev
from fcgipm.core.commands import Shutdown
from fcgipm.core.events import InstanceId
from fcgipm.core.view import AppState


def test_instances_of_another_definition_are_replaced_by_the_next_manager() -> None:
    sim = Simulation(blog(), living=[alive(1, outdated=True)], next_instance=2)

    assert spawns(sim.given(ev.Tick())) == [(2, 2)]
    assert publications(sim.proved(2)) == [2]


def test_instances_of_this_definition_are_left_alone() -> None:
    sim = Simulation(blog(), living=[alive(1)], next_instance=2)

    assert sim.given(ev.Tick()) == []


def test_over_tcp_what_is_outdated_is_replaced_one_by_one() -> None:
    sim = Simulation(tcp(processes=2), living=[alive(1, outdated=True), alive(2, outdated=True)], next_instance=3)

    assert canaries(sim.given(ev.Tick())) == [3]


def test_a_listener_that_is_not_where_it_should_be_is_exchanged() -> None:
    sim = Simulation(tcp(), living=[alive(1)], moved=["blog"], next_instance=2)

    assert spawns(sim.given(ev.Tick())) == [(2, 2)]
    assert publications(sim.proved(2)) == [2]


def test_an_app_without_a_public_listener_gets_one_before_it_is_started() -> None:
    sim = Simulation(blog(), published={})

    ordered = sim.given(ev.Tick())
    assert spawns(ordered) == []
    assert publications(ordered) == [2]
    assert spawns(sim.published(2)) == [(1, 2)]


def test_a_shutdown_that_was_decided_goes_on_and_starts_nothing() -> None:
    sim = Simulation(blog(), published={}, living=[alive(1)], next_instance=2)

    ordered = sim.given(ev.ShutdownRequested(status=1))
    assert spawns(ordered) == []
    assert publications(ordered) == []
    assert retirements(ordered) == [(1, False)]
    assert [(one.status, one.finished) for one in sim.killed(1) if isinstance(one, Shutdown)] == [(1, True)]


def test_an_instance_that_never_came_to_be_and_that_nobody_knows_frees_its_slot() -> None:
    sim = Simulation(blog(start_timeout=2 * SECOND))
    sim.given(ev.Tick())
    assert retirements(sim.after(2 * SECOND)) == [(1, True)]

    sim.refused(1, ev.Refusal.GONE)
    assert sim.view().instances == ()
    assert spawns(sim.after(5 * SECOND)) == [(2, 1)]


def late(sim: Simulation) -> list[tuple[int, int]]:
    return spawns(sim.given(ev.SomebodyWaits(app="blog", generation=1)))


def switched() -> Simulation:
    sim = running(blog())
    sim.given(ev.RestartRequested(app="blog"))
    sim.proved(2)
    sim.published(2)
    sim.after(1 * SECOND)
    sim.killed(1)
    return sim


def test_a_late_comer_gets_one_instance_however_often_it_is_told() -> None:
    sim = switched()

    assert late(sim) == [(3, 1)]
    assert late(sim) == []


def test_an_instance_for_a_late_comer_that_cannot_start_is_tried_again_after_the_delay_only() -> None:
    sim = switched()
    late(sim)
    sim.given(ev.SpawnFailed(instance=InstanceId(3), step="exec", error="No such file or directory", at=sim.now))

    assert late(sim) == []
    assert spawns(sim.after(5 * SECOND - 1)) == []
    assert spawns(sim.after(1)) == [(4, 1)]


def test_failures_for_a_late_comer_are_no_back_off_of_the_app_and_end_with_its_listener() -> None:
    sim = switched()
    late(sim)
    for number in range(3, 40):
        failed = ev.SpawnFailed(instance=InstanceId(number), step="exec", error="gone", at=sim.now)
        if number not in {one.instance for one in sim.view().instances}:
            break
        sim.given(failed)
        sim.after(5 * SECOND)

    assert sim.view().state is AppState.RUNNING
    assert sim.view().backoff_until is None
    assert sim.engine.deadline() is None


def test_an_instance_for_a_late_comer_that_is_never_ready_is_cut_at_start_timeout() -> None:
    sim = switched()
    late(sim)
    sim.spawned(3)

    assert retirements(sim.after(30 * SECOND)) == [(3, True)]
