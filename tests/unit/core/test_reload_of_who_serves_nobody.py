"""A reload where nobody is served: a probe is asked all the same, and what was stopped starts with the new code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from harness.simulation import Simulation, blog, canaries, probes, publications, retirements, running, spawns, tcp

from fcgipm.config.schema import SECOND, Application, Change, Probe
from fcgipm.core import events as ev
from fcgipm.core.proving import MOMENT
from fcgipm.core.view import AppState

RELOAD = ev.ReloadRequested(app="blog")
PING = Probe(uri="/ping")
Make = Callable[..., Application]


def stopped(application: Application) -> Simulation:
    """Return one that has served with two instances, and was stopped by an operator."""
    sim = running(application, processes=2)
    sim.given(ev.StopRequested(app="blog"))
    if application.port is None:
        sim.published(2)
    sim.killed(1, 2)
    assert sim.view().state is AppState.STOPPED
    return sim


def test_what_was_stopped_is_proved_before_anybody_meets_it() -> None:
    sim = stopped(blog(processes=2, probe=PING))
    ordered = sim.given(RELOAD)

    assert (spawns(ordered), publications(ordered)) == ([(3, 3), (4, 3)], [])
    assert probes(sim.ready(3, 4)) == [3]
    sim.after(MOMENT)
    assert publications(sim.probed(3)) == [3]
    sim.published(3)
    assert (sim.view().state, sim.view().ready) == (AppState.RUNNING, 2)


@pytest.mark.parametrize("make", [blog, tcp])
def test_where_its_probe_fails_the_old_code_runs_again(make: Make) -> None:
    sim = stopped(make(processes=2, probe=PING))
    before = sim.view().generation
    started = [number for number, _ in spawns(sim.given(RELOAD))]
    sim.ready(*started)
    ordered = sim.probed(before + 1, "500 instead of 200")

    assert retirements(ordered) == [(number, True) for number in started]
    assert {generation for _, generation in spawns(ordered)} == {before}
    assert sim.view().given_up is not None
    assert sim.view().generation == before


def test_over_a_shared_port_only_its_canary_comes_before_the_proof_and_no_old_one_after_it() -> None:
    sim = stopped(tcp(processes=2, probe=PING))
    ordered = sim.given(RELOAD)
    assert (spawns(ordered), canaries(ordered)) == ([(3, 2)], [3])
    sim.ready(3)
    sim.after(MOMENT)

    assert spawns(sim.probed(2)) == []
    assert spawns(sim.killed(3)) == [(4, 2), (5, 2)]
    sim.ready(4, 5)
    assert (sim.view().generation, sim.view().ready, sim.view().rollout) == (2, 2, None)


def test_one_in_back_off_is_proved_beside_the_old_one() -> None:
    sim = running(blog(probe=PING, min_server_life=60 * SECOND, restart_delay=0))
    sim.exited(1)
    for number in (2, 3):
        sim.after(1 * SECOND)
        sim.spawned(number)
        sim.exited(number)
    assert sim.view().state is AppState.BACKOFF
    ordered = sim.given(RELOAD)

    assert publications(ordered) == []
    assert {generation for _, generation in spawns(ordered)} == {2}
    assert {generation for _, generation in spawns(sim.after(1 * SECOND))} == {1}, "whose listener visitors wait at"


@pytest.mark.parametrize("settings", [{}, {"processes": None, "min_processes": 0, "max_processes": 2, "probe": PING}])
def test_without_a_probe_or_an_instance_there_is_nothing_to_wait_for(settings: dict[str, Any]) -> None:
    sim = running(blog(**settings), processes=0) if settings else stopped(blog(processes=2))

    assert publications(sim.given(RELOAD)) == [sim.view().generation + 1]


@pytest.mark.parametrize("make", [blog, tcp])
def test_what_starts_after_a_stop_has_the_definition_of_now_also_where_that_was_given_up(make: Make) -> None:
    sim = running(make(probe=PING))
    changed = make(probe=PING, umask=0o77)
    sim.given(ev.ConfigurationApplied(applications={"blog": changed}, changes={"blog": Change.GENERATION}))
    sim.ready(2)
    sim.probed(2, "500 instead of 200")
    sim.killed(2)
    sim.given(ev.StopRequested(app="blog"))
    if changed.port is None:
        sim.published(3)
    sim.killed(1)

    assert spawns(sim.given(ev.StartRequested(app="blog"))) == [(3, 3)]
