"""A reload: what runs is replaced by what is configured and on the disk now, whatever state the application is in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.simulation import (
    Simulation,
    blog,
    canaries,
    publications,
    retirements,
    running,
    spawns,
    tcp,
)

from fcgipm.config.schema import SECOND, Application, Change, Dynamic, Probe
from fcgipm.core import events as ev
from fcgipm.core.commands import Topic
from fcgipm.core.outcome import Outcome, Verdict, judge
from fcgipm.core.proving import MOMENT
from fcgipm.core.view import AppState, AppView

RELOAD = ev.ReloadRequested(app="blog")
CHANGED = ev.ProgramChanged(app="blog")


def on_demand(**settings: object) -> Application:
    return replace(blog(), processes=None, min_processes=0, max_processes=3, **settings)  # type: ignore[arg-type]


def far(sim: Simulation, before: AppView) -> Outcome:
    return judge("reload", before, sim.view())


# ── how far it is ────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_is_done_as_soon_as_visitors_meet_the_new_generation() -> None:
    sim = running(blog(processes=2), processes=2)
    before = sim.view()
    sim.given(RELOAD)
    assert far(sim, before) == Outcome(
        state=Verdict.PENDING,
        text="blog: generation 2 is on its way, gathering, 0 of 2 instances ready",
        phase="gathering",
    )
    sim.proved(3, 4)
    assert far(sim, before).state is Verdict.PENDING
    sim.published(2)

    text = "blog: reloaded, generation 2, 2 of 2 instances ready; 2 old instances still finish"
    assert far(sim, before) == Outcome(state=Verdict.DONE, text=text)
    sim.killed(1)
    assert far(sim, before).text.endswith("; 1 old instance still finishes")
    sim.killed(2)
    assert far(sim, before).text == "blog: reloaded, generation 2, 2 of 2 instances ready"


def test_over_a_shared_port_it_is_done_when_nobody_can_meet_an_old_one() -> None:
    sim = running(tcp(processes=2), processes=2)
    before = sim.view()
    sim.given(RELOAD)
    sim.proved(3)
    sim.killed(3)
    sim.ready(4)
    assert (far(sim, before).state, far(sim, before).phase) == (Verdict.PENDING, "rolling")
    sim.killed(1)
    sim.ready(5)

    text = "blog: generation 2 is complete, but visitors may meet the old one: 1 old instance still finishes"
    assert far(sim, before) == Outcome(state=Verdict.PENDING, text=text, phase="complete")
    sim.killed(2)

    text = "blog: reloaded, generation 2, 2 of 2 instances ready"
    assert far(sim, before) == Outcome(state=Verdict.DONE, text=text)


def test_one_that_is_given_up_fails_with_the_reason() -> None:
    sim = running(blog(probe=Probe(uri="/ping")))
    before = sim.view()
    sim.given(RELOAD)
    sim.ready(2)
    sim.probed(2, "GET /ping: 500 instead of 200")

    text = "blog: generation 2 was given up: its probe failed: GET /ping: 500 instead of 200; generation 1 serves on"
    assert far(sim, before) == Outcome(state=Verdict.FAILED, text=text)
    sim.exited(1)
    assert far(sim, before).text == text, "what has become of the others meanwhile is another matter"


def test_an_earlier_failure_is_not_this_one() -> None:
    sim = running(blog())
    sim.given(RELOAD)
    sim.spawned(2)
    sim.exited(2)
    before = sim.view()
    sim.given(RELOAD)

    assert far(sim, before).state is Verdict.PENDING
    sim.proved(3)
    sim.published(3)
    assert far(sim, before).state is Verdict.DONE


def test_what_was_on_its_way_to_be_published_before_is_not_it() -> None:
    sim = running(blog())
    sim.given(RELOAD)
    sim.proved(2)
    before = sim.view()
    sim.given(RELOAD)

    assert spawns(sim.published(2)) == [(3, 3)]
    assert far(sim, before).state is Verdict.PENDING
    sim.proved(3)
    sim.published(3)
    assert far(sim, before).state is Verdict.DONE


def test_nor_is_its_failure() -> None:
    sim = running(blog())
    sim.given(RELOAD)
    sim.proved(2)
    before = sim.view()
    sim.given(RELOAD)
    failed = sim.given(ev.PublishFailed(app="blog", generation=2, error="ENOSPC"))

    assert spawns(failed) == [(3, 3)]
    assert far(sim, before).state is Verdict.PENDING
    sim.spawned(3)
    sim.exited(3)
    assert far(sim, before).state is Verdict.FAILED


def test_one_that_a_newer_wish_supersedes_is_done_by_that() -> None:
    sim = running(blog())
    before = sim.view()
    sim.given(RELOAD)
    sim.given(ev.RestartRequested(app="blog"))
    assert far(sim, before).state is Verdict.PENDING
    sim.proved(3)
    sim.published(3)

    assert far(sim, before).state is Verdict.DONE


def test_what_overtakes_it_is_said_at_once() -> None:
    sim = running(blog())
    before = sim.view()
    sim.given(RELOAD)
    sim.given(ev.StopRequested(app="blog"))
    assert far(sim, before).state is Verdict.FAILED

    sim = running(blog())
    sim.given(RELOAD)
    sim.given(ev.ConfigurationApplied(applications={}, changes={}))
    sim.killed(1, 2)
    assert judge("reload", before, None).state is Verdict.FAILED


def test_it_is_told_when_it_begins_and_when_the_old_ones_are_gone() -> None:
    sim = running(blog())
    sim.given(RELOAD)
    sim.proved(2)
    sim.published(2)
    assert sim.texts(Topic.APP_RELOADING) == ["blog: reloading, by an operator"]
    assert sim.texts(Topic.GENERATION_PUBLISHED) == ["blog: generation 2 is published: reloaded by an operator"]
    sim.after(1 * SECOND)
    sim.killed(1)

    assert sim.texts(Topic.APP_RELOADED) == ["blog: reloaded, every instance is replaced after 1 s; 0 connections cut"]


# ── in whatever state it is ──────────────────────────────────────────────────────────────────────────────────────


def test_an_idle_one_has_a_new_generation_at_once_and_nothing_is_started() -> None:
    sim = Simulation(on_demand())
    sim.given(ev.Tick())
    before = sim.view()
    ordered = sim.given(RELOAD)

    assert (publications(ordered), spawns(ordered)) == ([2], [])
    sim.published(2)
    assert far(sim, before) == Outcome(
        state=Verdict.DONE, text="blog: reloaded, generation 2, idle; the next visitor gets an instance of it"
    )
    assert spawns(sim.given(ev.SomebodyWaits(app="blog", generation=2))) == [(1, 2)]


def test_an_idle_one_on_a_port_counts_on_and_nothing_is_started() -> None:
    sim = Simulation(replace(tcp(), processes=None, min_processes=0, max_processes=3))
    sim.given(ev.Tick())
    before = sim.view()

    assert sim.given(RELOAD) == []
    assert far(sim, before).state is Verdict.DONE
    assert spawns(sim.given(ev.SomebodyWaits(app="blog", generation=1))) == [(1, 2)]


def test_one_that_follows_the_demand_is_replaced_in_the_number_that_it_has() -> None:
    sim = Simulation(on_demand())
    sim.given(ev.Tick())
    sim.given(ev.SomebodyWaits(app="blog", generation=1))
    sim.ready(1)

    assert spawns(sim.given(RELOAD)) == [(2, 2)]


def test_a_stopped_one_is_started() -> None:
    sim = running(blog())
    sim.given(ev.StopRequested(app="blog"))
    sim.published(2)
    sim.after(1 * SECOND)
    sim.killed(1)
    before = sim.view()

    assert publications(sim.given(RELOAD)) == [3]
    assert spawns(sim.published(3)) == [(2, 3)]
    assert far(sim, before).state is Verdict.PENDING
    sim.ready(2)
    assert far(sim, before).state is Verdict.DONE


def test_one_that_is_being_stopped_is_started() -> None:
    sim = running(blog())
    sim.given(ev.StopRequested(app="blog"))
    before = sim.view()
    assert publications(sim.given(RELOAD)) == []

    assert publications(sim.published(2)) == [3]
    assert far(sim, before).state is Verdict.PENDING
    assert spawns(sim.published(3)) == [(2, 3)]
    sim.ready(2)
    assert far(sim, before).state is Verdict.DONE


def test_one_that_is_starting_and_serves_nobody_yet_begins_anew_at_once() -> None:
    sim = Simulation(blog())
    sim.given(ev.Tick())
    sim.spawned(1)

    assert publications(sim.given(RELOAD)) == [2]
    assert spawns(sim.published(2)) == [(2, 2)]


def in_backoff(processes: int = 1) -> Simulation:
    """Return a simulation of an application in back-off, of which all instances but the last one are ready."""
    sim = running(blog(processes=processes, min_server_life=1_000 * SECOND, restart_delay=0), processes=processes)
    number = processes
    while sim.view().backoff_until is None:
        sim.exited(number)
        sim.after(1 * SECOND)
        number = max([one.instance for one in sim.view().instances], default=0)
        if sim.view().backoff_until is None:
            sim.spawned(number)
    return sim


def test_a_back_off_ends_and_it_is_started() -> None:
    sim = in_backoff()
    assert sim.view().state is AppState.BACKOFF
    before = sim.view()

    assert publications(sim.given(RELOAD)) == [2]
    assert sim.view().backoff_until is None
    assert sim.texts(Topic.BACKOFF_HEALED) == ["blog: back-off is over: reloaded by an operator"]
    assert len(spawns(sim.published(2))) == 1
    assert far(sim, before).state is Verdict.PENDING


def test_one_in_back_off_that_still_serves_is_replaced_by_a_proved_generation() -> None:
    sim = in_backoff(processes=2)
    assert sim.view().state is AppState.RUNNING
    ordered = sim.given(RELOAD)

    assert sim.view().backoff_until is None
    assert [generation for _, generation in spawns(ordered)].count(2) == 2
    assert retirements(ordered) == []
    new = [number for number, generation in spawns(ordered) if generation == 2]
    assert publications(sim.proved(*new)) == [2]


def test_one_that_has_failed_is_tried_again() -> None:
    sim = Simulation(blog(wrapper="/usr/lib/suexec", user="blog"))
    sim.given(ev.Tick())
    sim.spawned(1)
    sim.exited(1, code=120)
    assert sim.view().state is AppState.FAILED
    before = sim.view()

    assert publications(sim.given(RELOAD)) == [2]
    assert far(sim, before).state is Verdict.PENDING
    assert spawns(sim.published(2)) == [(2, 2)]


def test_a_dynamic_one_is_reloaded_like_any_other() -> None:
    script = Application(
        name="cgi/a", command=("/srv/a",), socket="/run/a.sock", processes=None, min_processes=0, max_processes=10
    )
    sim = Simulation(script, dynamic=Dynamic())
    sim.given(ev.Tick())
    sim.ready(*(number for number, _ in spawns(sim.given(ev.SomebodyWaits(app="cgi/a", generation=1)))))

    assert spawns(sim.given(ev.ReloadRequested(app="cgi/a"))) == [(2, 2)]
    assert publications(sim.proved(2)) == [2]


@pytest.mark.parametrize("leaving", ["removed", "ending"])
def test_one_that_leaves_is_not_brought_back(leaving: str) -> None:
    sim = running(blog())
    if leaving == "removed":
        sim.given(ev.ConfigurationApplied(applications={}, changes={}))
    else:
        sim.given(ev.ShutdownRequested())

    assert sim.given(RELOAD) == []
    assert sim.texts(Topic.APP_RELOADING) == []


def test_one_that_nobody_knows_is_no_matter() -> None:
    sim = running(blog())

    assert sim.given(ev.ReloadRequested(app="shop")) == []


def test_scaled_by_an_operator_it_stays_so() -> None:
    sim = running(blog())
    sim.given(ev.ScaleRequested(app="blog", processes=3))
    sim.ready(2, 3)

    assert len(spawns(sim.given(RELOAD))) == 3


# ── its files have changed ───────────────────────────────────────────────────────────────────────────────────────


def test_with_auto_update_a_changed_file_is_a_reload() -> None:
    sim = running(blog(auto_update=True))

    assert spawns(sim.given(CHANGED)) == [(2, 2)]
    assert sim.texts(Topic.APP_RELOADING) == ["blog: reloading: its files have changed"]
    assert publications(sim.proved(2)) == [2]


def test_a_bad_file_leaves_the_old_generation_serving_and_is_not_tried_again() -> None:
    sim = running(blog(auto_update=True))
    sim.given(CHANGED)
    sim.spawned(2)
    sim.exited(2)

    assert sim.view().ready == 1
    assert spawns(sim.after(1_000 * SECOND)) == []
    assert spawns(sim.given(CHANGED)) == [(3, 3)]


def test_files_that_change_again_meanwhile_begin_anew() -> None:
    sim = running(blog(auto_update=True))
    sim.given(CHANGED)
    sim.ready(2)
    ordered = sim.given(CHANGED)

    assert (spawns(ordered), retirements(ordered)) == ([(3, 3)], [(2, True)])


def test_on_a_port_the_canary_is_of_the_changed_files() -> None:
    sim = running(tcp(auto_update=True))

    assert canaries(sim.given(CHANGED)) == [2]


def test_one_that_an_operator_has_stopped_stays_stopped() -> None:
    sim = running(blog(auto_update=True))
    sim.given(ev.StopRequested(app="blog"))
    sim.published(2)
    sim.after(1 * SECOND)
    sim.killed(1)

    assert sim.given(CHANGED) == []
    assert sim.view().state is AppState.STOPPED


def test_without_auto_update_a_changed_program_only_ends_a_back_off() -> None:
    assert running(blog()).given(CHANGED) == []

    sim = in_backoff()
    assert [generation for _, generation in spawns(sim.given(CHANGED))] == [1]


def test_auto_update_holds_as_soon_as_it_is_configured() -> None:
    sim = running(blog())
    changed = {"blog": blog(auto_update=True)}
    sim.given(ev.ConfigurationApplied(applications=changed, changes={"blog": Change.IN_PLACE}))

    assert spawns(sim.given(CHANGED)) == [(2, 2)]


def test_the_moment_is_short_beside_what_a_deploy_may_take() -> None:
    assert MOMENT <= SECOND // 20
