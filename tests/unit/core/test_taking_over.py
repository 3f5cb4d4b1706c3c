"""What one keeper leaves to the next: sockets that outlive it, instances that it cannot be asked about any more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.simulation import Simulation, alive, blog, canaries, publications, retirements, running, spawns, tcp

from fcgipm.config.schema import SECOND, Application, Change, Probe
from fcgipm.core import commands as cmd
from fcgipm.core import events as ev
from fcgipm.core.commands import Shutdown, Topic
from fcgipm.core.events import Instant
from fcgipm.core.note import Memory, Mode, write
from fcgipm.core.view import AppState, GivenUp, LiveInstance

END = ev.ShutdownRequested(keeps_sockets=True)


def found(
    application: Application, *living: LiveInstance, published: int | None = 1, mode: Mode = Mode.RUN
) -> Simulation:
    """Return what the next manager finds; *published* is None where no listener could be had."""
    return Simulation(
        application,
        living=living,
        published={} if published is None else {"blog": published},
        notes={"blog": write(Memory(mode=mode, newest=2))},
        next_instance=10,
    )


def finished(ordered: list[cmd.Command]) -> bool:
    return any(isinstance(one, Shutdown) and one.finished for one in ordered)


# ── an end that keeps the sockets ────────────────────────────────────────────────────────────────────────────────


def test_visitors_are_kept_by_a_new_listener_while_what_runs_finishes() -> None:
    sim = running(blog(processes=2), processes=2)
    ordered = sim.given(END)

    assert publications(ordered) == [2]
    assert retirements(ordered) == []
    assert retirements(sim.published(2)) == [(2, False)]
    sim.killed(2)
    assert retirements(sim.after(1 * SECOND)) == [(1, False)]
    assert finished(sim.killed(1))


def test_on_a_port_nothing_is_taken_from_the_public() -> None:
    sim = running(tcp(stop_timeout=1 * SECOND))
    ordered = sim.given(END)

    assert (publications(ordered), retirements(ordered)) == ([], [(1, False)])
    sim.refused(1)
    assert (1, True) in retirements(sim.after(1 * SECOND))
    assert finished(sim.killed(1))


@pytest.mark.parametrize("application", [blog(autostart=False), replace(blog(), processes=None, min_processes=0,
                                                                         max_processes=2)])  # fmt: skip
def test_one_without_instances_just_keeps_its_socket(application: Application) -> None:
    sim = Simulation(application)
    sim.given(ev.Tick())
    ordered = sim.given(END)

    assert publications(ordered) == []
    assert finished(ordered)


def test_without_that_nobody_can_reach_it_any_more() -> None:
    assert publications(running(blog()).given(ev.ShutdownRequested())) == [0]


def test_what_is_being_published_is_emptied_afterwards_and_its_socket_kept() -> None:
    sim = running(blog())
    sim.given(ev.ReloadRequested(app="blog"))
    sim.proved(2)
    assert publications(sim.given(END)) == []
    assert publications(sim.published(2)) == [3]
    sim.published(3)
    sim.after(1 * SECOND)

    assert not finished(sim.killed(1))
    assert finished(sim.killed(2))


def test_what_is_not_proved_is_given_up() -> None:
    sim = running(blog(probe=Probe(uri="/")))
    sim.given(ev.ReloadRequested(app="blog"))
    sim.ready(2)
    ordered = sim.given(END)

    assert (2, True) in retirements(ordered)
    assert publications(ordered) == [3]
    assert publications(sim.probed(2)) == []


@pytest.mark.parametrize("mode", ["run", "stop"])
def test_what_people_wanted_is_what_they_want_of_the_next_daemon(mode: str) -> None:
    sim = running(blog())
    if mode == "stop":
        sim.given(ev.StopRequested(app="blog"))
        sim.published(2)
    before = dict(sim.notes)
    sim.given(END)
    for generation in (2, 3):
        sim.published(generation)
    sim.after(1 * SECOND)
    sim.killed(1)

    assert sim.notes == before


@pytest.mark.parametrize("keeps", [True, False])
def test_nobody_gets_an_instance_while_it_ends(keeps: bool) -> None:
    sim = running(blog())
    sim.given(ev.ShutdownRequested(keeps_sockets=keeps))

    assert spawns(sim.given(ev.SomebodyWaits(app="blog", generation=2))) == []
    assert spawns(sim.exited(1)) == []


# ── what a manager had begun ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_ready", [True, False])
def test_a_generation_that_was_not_published_is_removed_at_once_and_given_up(is_ready: bool) -> None:
    sim = found(blog(), alive(1), alive(2, 2, is_ready=is_ready))
    ordered = sim.given(ev.Tick())

    assert retirements(ordered) == [(2, True)]
    assert (spawns(ordered), publications(ordered)) == ([], [])
    assert sim.view().given_up == GivenUp(
        generation=2, why="the manager that had begun it has died", word="interrupted"
    )
    sim.killed(2, how=ev.Removal.CUT, connections=1)
    assert sim.view().cut == 0
    assert publications(sim.after(60 * SECOND)) == []
    assert sim.view().ready == 1


def test_where_the_definition_is_another_one_it_is_begun_anew() -> None:
    sim = found(blog(), replace(alive(1), outdated=True), alive(2, 2))
    ordered = sim.given(ev.Tick())

    assert retirements(ordered) == [(2, True)]
    assert spawns(ordered) == [(10, 3)]
    assert publications(sim.proved(10)) == [3]


def test_a_canary_is_removed_at_once_and_holds_no_place() -> None:
    sim = found(tcp(processes=2), alive(1), replace(alive(3, 2), canary=True), published=1)
    ordered = sim.given(ev.Tick())

    assert retirements(ordered) == [(3, True)]
    assert sim.view().ready == 1
    assert sim.view().generation == 1
    assert canaries(ordered) == []
    assert sim.texts(Topic.GENERATION_ABANDONED) != []


def test_generations_that_were_published_before_drain() -> None:
    sim = found(blog(), alive(1, 1), alive(2, 2), alive(3, 3), published=3)

    assert set(retirements(sim.given(ev.Tick()))) == {(1, False), (2, False)}
    assert sim.view().ready == 1


# ── instances that alone have their listener ─────────────────────────────────────────────────────────────────────


def estranged(*numbers: int) -> list[LiveInstance]:
    return [replace(alive(number), estranged=True) for number in numbers]


@pytest.mark.parametrize("published", [None, 1])
def test_a_new_listener_is_published_at_once_and_they_drain(published: int | None) -> None:
    sim = found(blog(processes=2), *estranged(1, 2), published=published)
    ordered = sim.given(ev.Tick())

    assert publications(ordered) == [3]
    assert (retirements(ordered), spawns(ordered)) == ([], [])
    done = sim.published(3)
    assert spawns(done) == [(10, 3), (11, 3)]
    assert retirements(done) == [(2, False)]
    sim.killed(2)
    assert retirements(sim.after(1 * SECOND)) == [(1, False)]


def test_where_that_failed_another_one_is_begun_beside_those_who_serve() -> None:
    sim = found(blog(), *estranged(1), published=None)
    sim.given(ev.Tick())
    sim.given(ev.PublishFailed(app="blog", generation=3, error="No space left on device"))

    ordered = sim.given(ev.ReloadRequested(app="blog"))
    assert (spawns(ordered), retirements(ordered)) == ([(10, 4)], [])
    assert publications(sim.proved(10)) == [4]
    sim.published(4)
    assert sim.view().generation == 4


def test_one_that_dies_before_is_not_started_again_where_nobody_can() -> None:
    sim = found(blog(processes=2), *estranged(1, 2), published=1)
    sim.given(ev.Tick())

    assert spawns(sim.exited(2)) == []
    assert spawns(sim.after(60 * SECOND)) == []
    assert len(spawns(sim.published(3))) == 2


def test_those_of_an_old_generation_drain_and_the_public_one_stays() -> None:
    sim = found(blog(), *estranged(1), alive(2, 2), published=2)
    ordered = sim.given(ev.Tick())

    assert publications(ordered) == []
    assert retirements(ordered) == [(1, False)]


def test_on_a_port_they_go_first() -> None:
    sim = found(tcp(processes=2, stop_timeout=2 * SECOND), *estranged(1, 2), published=None)
    ordered = sim.given(ev.Tick())

    assert set(retirements(ordered)) == {(1, False), (2, False)}
    assert (publications(ordered), spawns(ordered)) == ([], [])
    sim.killed(1)
    sim.refused(2)
    assert publications(sim.after(1 * SECOND)) == []
    assert (2, True) in retirements(sim.after(1 * SECOND))
    assert publications(sim.killed(2)) == [3]
    assert len(spawns(sim.published(3))) == 2
    sim.ready(10, 11)
    assert sim.view().state is AppState.RUNNING
    assert canaries(sim.given(ev.ReloadRequested(app="blog"))) == [12]


def test_on_a_port_what_answers_503_goes_first_too() -> None:
    refuser = replace(estranged(5)[0], turns_away=True)
    sim = found(tcp(overload_response="503"), *estranged(1), refuser, published=None)

    assert set(retirements(sim.given(ev.Tick()))) == {(1, False), (5, False)}
    assert publications(sim.killed(1)) == []
    assert publications(sim.killed(5)) == [3]


def clearing() -> Simulation:
    sim = found(tcp(), *estranged(1), published=None)
    sim.given(ev.Tick())
    return sim


@pytest.mark.parametrize(
    "event",
    [
        ev.ReloadRequested(app="blog"), ev.RestartRequested(app="blog"), ev.StartRequested(app="blog"),
        ev.ProgramChanged(app="blog"), ev.ScaleRequested(app="blog", processes=1),
        ev.SomebodyWaits(app="blog", generation=1), ev.Asked(app="blog"),
        ev.PublishFailed(app="blog", generation=3, error="in use"), ev.Probed(app="blog", generation=3, error="no"),
        ev.Published(app="blog", generation=3, at=Instant(0)),
        ev.ConfigurationApplied(applications={"blog": tcp(umask=0)}, changes={"blog": Change.GENERATION}),
    ],
    ids=lambda one: type(one).__name__,
)  # fmt: skip
def test_while_a_port_is_not_free_whatever_is_wanted_begins_when_it_is(event: ev.Event) -> None:
    sim = clearing()
    ordered = sim.given(event)

    assert (spawns(ordered), publications(ordered)) == ([], [])
    assert publications(sim.killed(1)) == [3]
    assert spawns(sim.published(3)) == [(10, 3)]


def test_while_a_port_is_not_free_a_stop_keeps_the_socket_and_starts_nothing() -> None:
    sim = clearing()
    sim.given(ev.StopRequested(app="blog"))

    assert publications(sim.killed(1)) == [3]
    assert spawns(sim.published(3)) == []
    assert sim.view().state is AppState.STOPPED
    assert spawns(sim.given(ev.StartRequested(app="blog"))) == [(10, 3)]


@pytest.mark.parametrize("end", [END, ev.ShutdownRequested()], ids=["keeping", "not"])
def test_while_a_port_is_not_free_the_daemon_can_end(end: ev.ShutdownRequested) -> None:
    sim = clearing()
    sim.given(end)

    assert finished(sim.killed(1))


def test_while_a_port_is_not_free_it_can_be_removed_and_come_back() -> None:
    sim = clearing()
    sim.given(ev.ConfigurationApplied(applications={}, changes={}))
    back = sim.given(ev.ConfigurationApplied(applications={"blog": tcp()}, changes={}))
    assert publications(back) == []

    assert publications(sim.killed(1)) == [4]
    assert spawns(sim.published(4)) == [(10, 4)]


def test_a_port_that_another_one_takes_meanwhile_is_a_failure() -> None:
    sim = clearing()
    sim.killed(1)
    sim.given(ev.PublishFailed(app="blog", generation=3, error="Address already in use"))

    assert sim.view().state is AppState.FAILED
    assert publications(sim.given(ev.StartRequested(app="blog"))) == [4]


@pytest.mark.parametrize("application", [blog(), tcp()], ids=["unix", "tcp"])
def test_of_a_stopped_one_they_go_and_it_gets_a_socket(application: Application) -> None:
    sim = found(application, *estranged(1), published=None, mode=Mode.STOP)
    ordered = sim.given(ev.Tick())

    assert retirements(ordered) == [(1, False)]
    assert 3 in publications([*ordered, *sim.killed(1)])
    assert spawns(sim.published(3)) == []


# ── ends that nobody was there to see ────────────────────────────────────────────────────────────────────────────


def unknown_end(sim: Simulation, number: int) -> list[cmd.Command]:
    return sim.exited(number, code=None)


def test_an_end_of_which_the_status_is_not_known_is_told_and_followed() -> None:
    sim = found(blog(), alive(1))
    sim.given(ev.Tick())
    sim.after(1 * SECOND)
    unknown_end(sim, 1)

    assert "ended: how is not known, noticed 1 s after its start" in sim.texts(Topic.INSTANCE_ENDED)[0]
    assert spawns(sim.after(5 * SECOND)) == [(10, 1)]


def test_it_counts_neither_way() -> None:
    sim = found(blog(processes=3), *(alive(number) for number in (1, 2, 3)))
    sim.given(ev.Tick())
    for number in (1, 2, 3):
        unknown_end(sim, number)

    assert sim.view().state is AppState.STARTING
    assert len(spawns(sim.after(5 * SECOND))) == 3
