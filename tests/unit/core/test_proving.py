"""A new generation is proved before visitors meet it: ready, alive for a moment, its probe answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from harness.simulation import (
    Simulation,
    blog,
    canaries,
    probes,
    publications,
    retirements,
    running,
    spawns,
    tcp,
)

from fcgipm.config.schema import MILLISECOND, SECOND, Application, Change, Dynamic, Probe
from fcgipm.core import events as ev
from fcgipm.core.commands import Severity, Topic
from fcgipm.core.events import InstanceId
from fcgipm.core.proving import ANSWER_GRACE, MOMENT
from fcgipm.core.view import AppState, GivenUp, Rollout

PING = Probe(uri="/ping")
RELOAD = ev.ReloadRequested(app="blog")


def gathering(application: Application, processes: int = 1) -> Simulation:
    """Return a simulation in which generation 2 has just been begun."""
    sim = running(application, processes=processes)
    sim.given(RELOAD)
    return sim


def proving(application: Application | None = None) -> Simulation:
    """Return one in which instance 2 of generation 2 is ready, and has been asked where there is a probe."""
    sim = gathering(application or blog(probe=PING))
    sim.ready(2)
    return sim


def untouched(sim: Simulation, *numbers: int) -> bool:
    """Return whether the instances of the old generation are all there, ready, and its listener is the public one."""
    view = sim.view()
    old = {one.instance: one.state for one in view.instances if one.generation == 1}
    return view.generation == 1 and old == {InstanceId(number): "ready" for number in numbers or (1,)}


def abandoned(sim: Simulation) -> list[str]:
    return [tell.reason for tell in sim.told if tell.topic is Topic.GENERATION_ABANDONED]


# ── what is asked of it ──────────────────────────────────────────────────────────────────────────────────────────


def test_it_lives_for_a_moment_after_the_last_one_is_ready() -> None:
    sim = gathering(blog(processes=2), processes=2)

    assert publications(sim.proved(3)) == []
    assert publications(sim.ready(4)) == []
    assert publications(sim.after(MOMENT - 1)) == []
    assert publications(sim.after(1)) == [2]


def test_its_probe_is_sent_once_all_are_ready_and_not_before() -> None:
    sim = gathering(blog(processes=2, probe=PING), processes=2)

    assert probes(sim.ready(3)) == []
    assert probes(sim.ready(4)) == [2]


def test_it_is_published_when_both_have_passed_whichever_is_last() -> None:
    sim = proving()
    assert publications(sim.after(1 * SECOND)) == []
    assert publications(sim.probed(2)) == [2]

    sim = proving()
    assert publications(sim.probed(2)) == []
    assert publications(sim.after(MOMENT)) == [2]


def test_without_a_probe_nothing_is_asked() -> None:
    sim = gathering(blog())

    assert probes(sim.proved(2)) == []


def test_a_probe_that_fails_gives_it_up_and_says_why() -> None:
    sim = proving()
    failed = sim.probed(2, "GET /ping: 500 instead of 200")

    assert retirements(failed) == [(2, True)]
    assert publications(failed) == []
    assert untouched(sim)
    why = "its probe failed: GET /ping: 500 instead of 200"
    assert sim.view().given_up == GivenUp(generation=2, why=why, word="probe")
    assert sim.texts(Topic.GENERATION_ABANDONED) == [f"blog: generation 2 was given up: {why}; generation 1 goes on"]
    assert abandoned(sim) == ["probe"]
    sim.killed(2, how=ev.Removal.CUT)
    assert sim.engine.deadline() is None


def test_a_probe_that_nobody_answers_is_overdue() -> None:
    sim = proving(blog(probe=Probe(uri="/ping", timeout=2 * SECOND)))

    assert retirements(sim.after(2 * SECOND + ANSWER_GRACE - 1)) == []
    assert retirements(sim.after(1)) == [(2, True)]
    assert sim.view().given_up == GivenUp(generation=2, why="its probe was not answered within 2 s", word="too-slow")
    assert untouched(sim)
    assert publications(sim.probed(2)) == [], "the answer comes too late"


def test_one_that_is_not_ready_in_time_is_too_slow() -> None:
    sim = gathering(blog(processes=2, start_timeout=3 * SECOND), processes=2)
    sim.ready(3)
    sim.spawned(4)

    assert set(retirements(sim.after(3 * SECOND))) == {(3, True), (4, True)}
    given_up = sim.view().given_up
    assert given_up == GivenUp(generation=2, why="blog/4 is not ready after 3 s", word="too-slow")
    sim.killed(3, 4, how=ev.Removal.CUT)
    assert abandoned(sim) == ["too-slow"]
    assert untouched(sim, 1, 2)
    assert sim.engine.deadline() is None


def test_one_that_cannot_be_executed_gives_it_up() -> None:
    sim = gathering(blog())
    sim.given(ev.SpawnFailed(instance=InstanceId(2), step="exec", error="Exec format error", at=sim.now))

    given_up = sim.view().given_up
    assert given_up is not None
    assert (given_up.word, given_up.why) == ("start-failed", "cannot spawn blog/2: exec: Exec format error")
    assert untouched(sim)


def test_one_that_dies_while_it_starts_gives_it_up() -> None:
    sim = gathering(blog())
    sim.spawned(2)
    sim.exited(2, code=3)

    given_up = sim.view().given_up
    assert given_up is not None
    assert given_up.word == "died"
    assert "exit status 3" in given_up.why
    assert untouched(sim)
    assert sim.view().restarts == 0, "nobody was started in its place"


def test_one_that_dies_within_the_moment_gives_it_up() -> None:
    sim = gathering(blog())
    sim.ready(2)
    sim.after(MOMENT - 1)
    sim.exited(2, code=None, signal=11)

    assert publications(sim.after(60 * SECOND)) == []
    assert abandoned(sim) == ["died"]
    assert untouched(sim)


def test_one_that_dies_while_the_probe_is_under_way_gives_it_up_and_the_answer_is_late() -> None:
    sim = proving()
    sim.exited(2)

    assert abandoned(sim) == ["died"]
    assert publications(sim.probed(2)) == []
    assert publications(sim.after(60 * SECOND)) == []
    assert untouched(sim)


def test_failures_of_a_new_generation_are_no_back_off_of_the_one_that_serves() -> None:
    sim = running(blog())
    for number in range(2, 12):
        sim.given(RELOAD)
        sim.spawned(number)
        sim.exited(number)

    assert sim.view().state is AppState.RUNNING
    assert sim.view().backoff_until is None
    assert sim.engine.deadline() is None


def test_what_is_given_up_was_met_by_nobody_so_no_request_is_cut() -> None:
    sim = proving()
    sim.probed(2, "no answer in 5 s")
    sim.killed(2, how=ev.Removal.CUT, connections=1)

    assert sim.view().cut == 0
    assert sim.texts(Topic.REQUESTS_CUT) == []


def test_who_is_hidden_serves_nobody() -> None:
    sim = proving()
    sim.exited(1, code=0)

    assert sim.view().ready == 0
    assert sim.view().state is AppState.STARTING
    prospect = sim.engine.prospect("blog", sim.now)
    assert prospect is not None
    assert prospect.ready == 0


def test_the_last_one_given_up_is_shown_until_one_succeeds() -> None:
    sim = proving()
    sim.probed(2, "no")
    sim.killed(2)
    sim.given(RELOAD)
    assert sim.view().given_up is not None

    sim.ready(3)
    sim.probed(3)
    sim.after(MOMENT)
    sim.published(3)
    assert sim.view().given_up is None
    assert sim.view().reason == ""


def test_what_was_given_up_is_remembered_by_the_next_manager() -> None:
    sim = proving()
    sim.probed(2, "no")
    after = Simulation(blog(probe=PING), notes=sim.notes, next_instance=9)

    assert after.view().given_up == sim.view().given_up is not None


def test_how_far_it_is_can_be_seen() -> None:
    sim = gathering(blog(processes=2, probe=PING), processes=2)
    assert sim.view().rollout == Rollout(generation=2, phase="gathering", ready=0, of=2)
    sim.ready(3, 4)
    assert sim.view().rollout == Rollout(generation=2, phase="proving", ready=2, of=2)
    found = sim.engine.explain("blog", sim.now)
    assert found is not None
    assert "generation 2 is on its way (proving): reloaded by an operator" in found.summary
    sim.probed(2)
    sim.after(MOMENT)
    assert sim.view().rollout == Rollout(generation=2, phase="publishing", ready=2, of=2)
    sim.published(2)
    assert sim.view().rollout is None


def test_what_relieves_a_saturated_one_is_proved_too_and_not_tried_again_where_that_fails() -> None:
    sim = running(blog(processes=2, probe=PING), processes=2)
    sim.given(ev.ScaleRequested(app="blog", processes=1))
    started: list[tuple[int, int]] = []
    while not started:
        sim.refused(2)
        started += spawns(sim.after(20 * MILLISECOND))
    assert probes(sim.ready(3)) == [2]
    sim.probed(2, "no")
    sim.killed(3)

    for _ in range(200):
        sim.refused(2)
        assert spawns(sim.after(500 * MILLISECOND)) == []


# ── whatever comes between ───────────────────────────────────────────────────────────────────────────────────────

PHASES: Mapping[str, Callable[[], Simulation]] = {
    "gathering": lambda: gathering(blog(probe=PING)),
    "proving": proving,
    "answered": lambda: answered(blog(probe=PING)),
}


def answered(application: Application | None = None) -> Simulation:
    sim = proving(application)
    sim.probed(2)
    return sim


@pytest.fixture(params=PHASES)
def hidden(request: pytest.FixtureRequest) -> Simulation:
    """Return a simulation with a generation that nobody meets yet, however far it is."""
    return PHASES[request.param]()


def test_a_stop_gives_it_up_and_empties_the_old_one(hidden: Simulation) -> None:
    ordered = hidden.given(ev.StopRequested(app="blog"))

    assert (2, True) in retirements(ordered)
    assert publications(ordered) == [3]
    assert abandoned(hidden) == ["superseded"]
    hidden.probed(2)
    hidden.published(3)
    assert publications(hidden.after(60 * SECOND)) == []
    assert hidden.view().state is AppState.STOPPED


def test_its_removal_from_the_configuration_takes_it_at_once(hidden: Simulation) -> None:
    ordered = hidden.given(ev.ConfigurationApplied(applications={}, changes={}))

    assert retirements(ordered) == [(2, True)]
    hidden.probed(2)
    assert publications(hidden.after(1 * SECOND)) == []
    hidden.killed(1)
    hidden.killed(2)
    assert hidden.engine.view(hidden.now) == ()


def test_the_end_of_the_daemon_takes_it_at_once(hidden: Simulation) -> None:
    ordered = hidden.given(ev.ShutdownRequested())

    assert (2, True) in retirements(ordered)
    assert publications(ordered) == [0]
    assert publications(hidden.probed(2)) == []


@pytest.mark.parametrize("again", [RELOAD, ev.RestartRequested(app="blog")], ids=lambda one: type(one).__name__)
def test_a_newer_wish_begins_anew_and_an_answer_to_the_old_probe_proves_nothing(
    hidden: Simulation, again: ev.Event
) -> None:
    ordered = hidden.given(again)

    assert spawns(ordered) == [(3, 3)]
    assert (2, True) in retirements(ordered)
    assert abandoned(hidden) == ["superseded"]
    assert hidden.view().given_up is None, "that is no failure"
    hidden.ready(3)
    assert publications(hidden.probed(2, "connection refused")) == []
    assert publications(hidden.probed(2)) == []
    assert publications(hidden.after(1 * SECOND)) == []
    assert publications(hidden.probed(3)) == [3]


def test_another_definition_begins_anew(hidden: Simulation) -> None:
    other = blog(probe=PING, umask=0o77)
    ordered = hidden.given(ev.ConfigurationApplied(applications={"blog": other}, changes={"blog": Change.GENERATION}))

    assert spawns(ordered) == [(3, 3)]


def test_scaled_up_it_waits_for_the_new_ones_and_is_not_asked_again_if_it_was(hidden: Simulation) -> None:
    before = hidden.view().rollout
    assert before is not None
    started = spawns(hidden.given(ev.ScaleRequested(app="blog", processes=2)))
    assert sorted(generation for _, generation in started) == [1, 2]

    assert publications(hidden.probed(2)) == []
    done = hidden.ready(*([2] if before.phase == "gathering" else []), *(number for number, _ in started))
    assert probes(done) == ([2] if before.phase == "gathering" else [])
    hidden.probed(2)
    assert publications(hidden.after(MOMENT)) == [2]


def test_scaled_down_it_loses_one_and_goes_on() -> None:
    sim = gathering(blog(processes=2, probe=PING), processes=2)
    sim.ready(3, 4)
    done = sim.given(ev.ScaleRequested(app="blog", processes=1))

    assert set(retirements(done)) == {(4, True), (2, False)}
    sim.probed(2)
    assert publications(sim.after(MOMENT)) == [2]
    sim.published(2)
    sim.killed(4)
    assert sim.view().ready == 1


def test_a_publication_that_fails_gives_it_up_with_words() -> None:
    sim = answered()
    sim.after(MOMENT)
    failed = sim.given(ev.PublishFailed(app="blog", generation=2, error="link: No space left on device"))

    assert retirements(failed) == [(2, True)]
    assert sim.view().given_up == GivenUp(generation=2, why="link: No space left on device", word="publish")
    assert untouched(sim)


def test_a_listener_that_cannot_be_made_gives_it_up_before_it_is_complete(hidden: Simulation) -> None:
    hidden.given(ev.PublishFailed(app="blog", generation=2, error="bind: No space left on device"))

    assert abandoned(hidden) == ["publish"]
    assert untouched(hidden)


def test_one_that_dies_while_it_is_being_published_is_replaced_as_any_other() -> None:
    sim = answered()
    sim.after(MOMENT)
    sim.exited(2)

    assert abandoned(sim) == []
    sim.published(2)
    assert spawns(sim.after(5 * SECOND)) == [(3, 2)]


@pytest.mark.parametrize("far", ["gathering", "proving"])
def test_an_old_one_that_dies_is_replaced_by_an_old_one_until_the_new_ones_are_met(far: str) -> None:
    sim = PHASES[far]()
    sim.exited(1)

    assert spawns(sim.after(5 * SECOND)) == [(3, 1)]


def test_who_dies_of_the_old_generation_in_a_row_makes_a_back_off_that_does_not_hold_up_the_new_one() -> None:
    sim = gathering(blog(probe=PING, min_server_life=1_000 * SECOND, restart_delay=0))
    sim.exited(1)
    for number in (3, 4):
        sim.after(1 * SECOND)
        sim.spawned(number)
        sim.exited(number)
    assert sim.view().state is AppState.BACKOFF

    assert spawns(sim.given(ev.ScaleRequested(app="blog", processes=2))) == [(5, 2)]
    sim.ready(2, 5)
    sim.probed(2)
    assert publications(sim.after(MOMENT)) == [2]
    sim.published(2)
    assert sim.view().state is AppState.RUNNING


@pytest.mark.parametrize("event", [
    ev.SomebodyWaits(app="blog", generation=1), ev.Asked(app="blog"), ev.ProgramChanged(app="blog"),
    ev.StartRequested(app="blog"), ev.Tick(), ev.Published(app="blog", generation=2, at=ev.Instant(0)),
    ev.Probed(app="blog", generation=1, error="no"), ev.Probed(app="blog", generation=3, error="no"),
])  # fmt: skip
def test_what_does_not_concern_it_changes_nothing(hidden: Simulation, event: ev.Event) -> None:
    before = hidden.view().rollout
    done = hidden.given(event)

    assert (spawns(done), retirements(done), publications(done), probes(done)) == ([], [], [], [])
    assert hidden.view().rollout == before
    assert untouched(hidden)


# ── on a port that all generations share ─────────────────────────────────────────────────────────────────────────


def canary(**settings: Any) -> Simulation:
    """Return a simulation of a TCP application with two instances, whose canary 3 was just started."""
    return gathering(tcp(processes=2, **settings), processes=2)


def test_a_canary_is_proved_before_anybody_meets_the_new_program() -> None:
    sim = running(tcp(processes=2, probe=PING), processes=2)
    ordered = sim.given(RELOAD)

    assert canaries(ordered) == [3]
    assert spawns(ordered) == [(3, 2)]
    assert sim.view().rollout == Rollout(generation=2, phase="gathering", ready=0, of=1)
    assert probes(sim.ready(3)) == [2]
    assert spawns(sim.after(1 * SECOND)) == []
    passed = sim.probed(2)
    assert retirements(passed) == [(3, True)], "nobody can be there"
    assert (spawns(passed), canaries(passed)) == ([(4, 2)], [])
    assert sim.view().rollout == Rollout(generation=2, phase="rolling", ready=0, of=2)


@pytest.mark.parametrize("how", ["exec", "dies", "slow", "probe", "moment"])
def test_a_canary_that_fails_leaves_everybody_where_he_is(how: str) -> None:
    sim = canary(probe=PING, start_timeout=3 * SECOND)
    if how == "exec":
        sim.given(ev.SpawnFailed(instance=InstanceId(3), step="exec", error="ENOENT", at=sim.now))
    elif how == "dies":
        sim.spawned(3)
        sim.exited(3)
    elif how == "slow":
        sim.spawned(3)
        sim.after(3 * SECOND)
    elif how == "probe":
        sim.ready(3)
        assert retirements(sim.probed(2, "500 instead of 200")) == [(3, True)]
    else:
        sim.ready(3)
        sim.exited(3)

    word = {"exec": "start-failed", "dies": "died", "slow": "too-slow", "probe": "probe", "moment": "died"}[how]
    assert abandoned(sim) == [word]
    assert untouched(sim, 1, 2)
    assert spawns(sim.after(60 * SECOND)) == []


def test_a_replacement_that_dies_gives_the_rest_up() -> None:
    sim = canary()
    sim.proved(3)
    sim.killed(3)
    sim.ready(4)
    sim.killed(1)
    sim.spawned(5)
    sim.exited(5)

    assert abandoned(sim) == ["died"]
    view = sim.view()
    ready = [(one.instance, one.generation) for one in view.instances if one.state == "ready"]
    assert ready == [(2, 1), (4, 2)]
    assert retirements(sim.ready(6)) == [(4, False)], "who has a place of it is replaced by one that is proved"


def test_one_that_has_taken_its_place_and_dies_gives_the_rest_up_and_is_followed_by_an_old_one() -> None:
    sim = canary()
    sim.proved(3)
    sim.killed(3)
    sim.ready(4)
    sim.killed(1)
    sim.ready(5)
    sim.exited(4)

    assert abandoned(sim) == [], "it was complete, the last one has taken its place"

    sim = canary()
    sim.proved(3)
    sim.killed(3)
    sim.ready(4)
    sim.killed(1)
    sim.exited(4)
    assert abandoned(sim) == ["died"]
    assert retirements(sim.spawned(5)) == [(5, False)]
    sim.killed(5)
    assert spawns(sim.after(5 * SECOND)) == [(6, 1)]


def test_one_that_has_taken_its_place_and_served_enough_is_no_bad_one() -> None:
    sim = canary()
    sim.proved(3)
    sim.killed(3)
    sim.ready(4)
    sim.after(5 * SECOND)
    sim.exited(4, code=0)

    assert abandoned(sim) == []
    sim.ready(5)  # of the published one, until it has its turn
    sim.killed(1)
    sim.ready(6)
    sim.killed(5)
    sim.ready(7)
    sim.killed(2)
    view = sim.view()
    assert (view.generation, view.rollout) == (2, None)
    assert {one.generation for one in view.instances} == {2}


def test_one_that_has_taken_its_place_and_ends_at_once_gives_the_rest_up_however_it_ends() -> None:
    sim = canary()
    sim.proved(3)
    sim.killed(3)
    sim.ready(4)
    sim.exited(4, code=0)

    assert abandoned(sim) == ["died"]


@pytest.mark.parametrize("far", ["gathering", "proving", "rolling"])
def test_a_canary_goes_when_something_newer_is_wanted(far: str) -> None:
    sim = canary(probe=PING)
    if far != "gathering":
        sim.ready(3)
    if far == "rolling":
        sim.probed(2)
        sim.after(MOMENT)
        sim.killed(3)
    ordered = sim.given(RELOAD)

    assert len(canaries(ordered)) == 1
    if far != "rolling":
        assert (3, True) in retirements(ordered)
    else:
        assert retirements(sim.spawned(4)) == [(4, False)], "visitors may have met it"


def test_a_stop_takes_a_canary_at_once_and_the_others_as_they_can_go() -> None:
    sim = canary(probe=PING)
    sim.ready(3)

    assert set(retirements(sim.given(ev.StopRequested(app="blog")))) == {(1, False), (2, False), (3, True)}


def test_a_canary_is_no_instance_for_visitors() -> None:
    sim = canary(probe=PING)
    sim.ready(3)

    assert sim.view().ready == 2
    sim.exited(1, code=0)
    sim.exited(2, code=0)
    assert sim.view().state is AppState.STARTING


def test_another_port_that_was_given_up_is_tried_again_by_the_next_reload() -> None:
    sim = running(tcp())
    other = Application(name="blog", command=("/bin/blog",), port=9001)
    applied = ev.ConfigurationApplied(applications={"blog": other}, changes={"blog": Change.LISTENER})
    assert canaries(sim.given(applied)) == [], "it has a listener of its own"
    sim.spawned(2)
    sim.exited(2)

    assert spawns(sim.given(RELOAD)) == [(3, 3)]
    assert publications(sim.proved(3)) == [3]
    sim.published(3)
    assert canaries(sim.given(RELOAD)) == [4], "from now on it shares that one"


def test_a_newer_wish_does_not_forget_that_the_port_is_another_one() -> None:
    sim = running(tcp())
    other = Application(name="blog", command=("/bin/blog",), port=9001)
    sim.given(ev.ConfigurationApplied(applications={"blog": other}, changes={"blog": Change.LISTENER}))
    ordered = sim.given(ev.RestartRequested(app="blog"))

    assert canaries(ordered) == []
    assert publications(sim.proved(3)) == [3]


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_above_the_limits_is_only_the_generation_that_is_proved() -> None:
    dynamic = Dynamic(max_processes=2, max_class_processes=2, min_processes=0, process_slack=0)
    script = Application(
        name="cgi/a", command=("/srv/a",), socket="/run/a.sock", processes=None, min_processes=0, max_processes=2
    )
    sim = Simulation(script, dynamic=dynamic)
    sim.given(ev.Tick())
    sim.ready(*(number for number, _ in spawns(sim.given(ev.ScaleRequested(app="cgi/a", processes=2)))))
    started = spawns(sim.given(ev.ReloadRequested(app="cgi/a")))

    assert started == [(3, 2), (4, 2)]
    assert spawns(sim.proved(3, 4)) == []
    sim.published(2, "cgi/a")
    assert spawns(sim.after(60 * SECOND)) == []
    assert sim.view("cgi/a").ready == 2


def test_a_new_generation_is_told_at_the_severity_of_its_end() -> None:
    sim = proving()
    sim.given(RELOAD)
    sim.spawned(3)
    sim.exited(3)

    severities = [tell.severity for tell in sim.told if tell.topic is Topic.GENERATION_ABANDONED]
    assert severities == [Severity.INFO, Severity.ERROR]
