"""Stop, restart, scale, apply and shutdown: nothing is removed before nobody can lose by it."""

from __future__ import annotations

from dataclasses import replace

from harness.simulation import Simulation, blog, canaries, publications, retirements, running, spawns, tcp

from fcgipm.config.schema import MILLISECOND, SECOND, Application, Change
from fcgipm.core import events as ev
from fcgipm.core.commands import Command, Shutdown, Topic
from fcgipm.core.outcome import Verdict, judge
from fcgipm.core.proving import MOMENT
from fcgipm.core.view import AppState


def test_a_stop_gives_visitors_a_new_listener_before_anything_is_removed() -> None:
    sim = running(blog(processes=2), processes=2)
    ordered = sim.given(ev.StopRequested(app="blog"))

    assert publications(ordered) == [2]
    assert retirements(ordered) == []
    assert sim.view().state is AppState.STOPPED
    assert retirements(sim.published(2)) == [(2, False)]
    assert retirements(sim.after(1 * SECOND - 1)) == []
    assert retirements(sim.after(1)) == [(1, False)]  # a connect may have been on its way to the old listener


def test_a_busy_instance_is_asked_again_and_cut_at_stop_timeout() -> None:
    sim = running(blog(stop_timeout=2 * SECOND))
    sim.given(ev.StopRequested(app="blog"))
    sim.published(2)
    assert retirements(sim.after(1 * SECOND)) == [(1, False)]
    sim.refused(1)

    assert retirements(sim.after(20 * MILLISECOND - 1)) == []
    assert retirements(sim.after(1)) == [(1, False)]
    sim.refused(1)
    assert retirements(sim.after(20 * MILLISECOND)) == [(1, False)]
    assert retirements(sim.after(960 * MILLISECOND)) == [(1, True)]
    sim.killed(1, how=ev.Removal.CUT, connections=1)
    assert sim.view().cut == 1
    assert "was killed with 1 open connection, after stop-timeout" in sim.texts(Topic.REQUESTS_CUT)[0]


def test_one_that_was_asked_and_does_not_go_is_killed_five_seconds_later() -> None:
    sim = running(blog())
    sim.given(ev.StopRequested(app="blog"))
    sim.published(2)
    sim.after(1 * SECOND)
    sim.given(ev.Removed(instance=ev.InstanceId(1), how=ev.Removal.ASKED, connections=0, at=sim.now))

    assert retirements(sim.after(5 * SECOND - 1)) == []
    assert retirements(sim.after(1)) == [(1, False)]


def test_stop_then_start_uses_the_new_generation() -> None:
    sim = running(blog())
    sim.given(ev.StopRequested(app="blog"))
    sim.published(2)
    sim.after(1 * SECOND)
    sim.killed(1)

    assert judge("stop", sim.view(), sim.view()).state is Verdict.DONE
    assert spawns(sim.given(ev.StartRequested(app="blog"))) == [(2, 2)]


def test_a_stop_of_a_tcp_app_kills_what_is_idle_and_cuts_the_rest_at_stop_timeout() -> None:
    sim = running(tcp(stop_timeout=1 * SECOND))

    assert retirements(sim.given(ev.StopRequested(app="blog"))) == [(1, False)]
    sim.refused(1)
    assert retirements(sim.after(999 * MILLISECOND)) == [(1, False)]
    sim.refused(1)
    assert (1, True) in retirements(sim.after(1 * MILLISECOND))


def test_a_restart_publishes_a_complete_generation_and_then_drains_the_old_one() -> None:
    sim = running(blog(processes=2), processes=2)

    assert spawns(sim.given(ev.RestartRequested(app="blog"))) == [(3, 2), (4, 2)]
    assert publications(sim.proved(3)) == []
    assert publications(sim.ready(4)) == []
    assert publications(sim.after(MOMENT - 1)) == []
    assert publications(sim.after(1)) == [2]
    assert retirements(sim.published(2)) == [(2, False)]
    sim.killed(2)
    assert retirements(sim.after(1 * SECOND)) == [(1, False)]
    before = sim.view()
    sim.killed(1)
    assert judge("restart", replace(before, generation=1), sim.view()).state is Verdict.DONE
    assert sim.engine.deadline() is None


def test_a_restart_that_fails_leaves_the_old_generation_alone() -> None:
    sim = running(blog())
    before = sim.view()
    sim.given(ev.RestartRequested(app="blog"))
    sim.spawned(2)

    assert retirements(sim.exited(2, code=3)) == []
    assert sim.view().generation == 1
    assert sim.view().ready == 1
    outcome = judge("restart", before, sim.view())
    assert outcome.state is Verdict.FAILED
    assert "exit status 3" in outcome.text
    assert sim.engine.deadline() is None


def test_the_rest_of_a_generation_that_is_given_up_goes_at_once() -> None:
    sim = running(blog(processes=2), processes=2)
    sim.given(ev.RestartRequested(app="blog"))
    sim.ready(3)
    sim.spawned(4)

    assert retirements(sim.exited(4)) == [(3, True)]


def test_a_restart_of_an_app_that_serves_nobody_publishes_first() -> None:
    sim = Simulation(blog())
    sim.given(ev.Tick())
    sim.spawned(1)
    sim.exited(1)

    assert publications(sim.given(ev.RestartRequested(app="blog"))) == [2]
    assert spawns(sim.published(2)) == [(2, 2)]


def test_a_restart_over_tcp_replaces_one_at_a_time() -> None:
    sim = running(tcp(processes=2), processes=2)

    assert canaries(sim.given(ev.RestartRequested(app="blog"))) == [3]
    assert spawns(sim.ready(3)) == []
    proved = sim.after(MOMENT)
    assert retirements(proved) == [(3, True)]
    assert spawns(proved) == [(4, 2)]
    sim.killed(3)
    assert spawns(sim.spawned(4)) == []
    replaced = sim.given(ev.BecameReady(instance=ev.InstanceId(4), how=ev.Readiness.ACCEPTING, at=sim.now))
    assert retirements(replaced) == [(1, False)]
    assert spawns(sim.killed(1)) == [(5, 2)]
    assert retirements(sim.ready(5)) == [(2, False)]
    sim.killed(2)
    assert sim.view().generation == 2
    assert sim.view().ready == 2


def test_a_tcp_replacement_that_fails_ends_the_restart() -> None:
    sim = running(tcp(processes=2), processes=2)
    before = sim.view()
    sim.given(ev.RestartRequested(app="blog"))
    sim.spawned(3)
    sim.exited(3, code=1)

    assert judge("restart", before, sim.view()).state is Verdict.FAILED
    assert sim.view().ready == 2
    assert sim.engine.deadline() is None


def test_two_restarts_at_once_are_done_one_after_the_other() -> None:
    sim = running(blog())
    sim.given(ev.RestartRequested(app="blog"))
    assert publications(sim.proved(2)) == [2]
    sim.given(ev.RestartRequested(app="blog"))

    assert spawns(sim.published(2)) == [(3, 3)]


def test_a_stop_while_a_generation_is_being_published() -> None:
    sim = running(blog())
    sim.given(ev.RestartRequested(app="blog"))
    sim.proved(2)
    sim.given(ev.StopRequested(app="blog"))

    assert publications(sim.published(2)) == [3]
    sim.published(3)
    assert {1, 2} == {number for number, _ in retirements(sim.after(1 * SECOND))} | {1}
    assert sim.view().state is AppState.STOPPED


def test_a_publication_that_fails_gives_the_generation_up() -> None:
    sim = running(blog())
    sim.given(ev.RestartRequested(app="blog"))
    sim.proved(2)

    failed = sim.given(ev.PublishFailed(app="blog", generation=2, error="link: No space left on device"))
    assert retirements(failed) == [(2, True)]
    assert "No space left" in sim.view().reason
    assert sim.view().ready == 2 - 1


def test_scaling_up_starts_at_once() -> None:
    sim = running(blog())

    assert spawns(sim.given(ev.ScaleRequested(app="blog", processes=3))) == [(2, 1), (3, 1)]


def test_scaling_down_takes_the_youngest_and_never_cuts() -> None:
    sim = running(blog(processes=3), processes=3)

    assert set(retirements(sim.given(ev.ScaleRequested(app="blog", processes=1)))) == {(3, False), (2, False)}
    sim.refused(3)
    assert all(not cut for _, cut in retirements(sim.after(900 * MILLISECOND)))


def test_a_saturated_surplus_is_relieved_by_a_new_generation() -> None:
    sim = running(blog(processes=2), processes=2)
    sim.given(ev.ScaleRequested(app="blog", processes=1))
    spawned: list[tuple[int, int]] = []
    for _ in range(60):
        sim.refused(2)
        spawned += spawns(sim.after(20 * MILLISECOND))

    assert spawned == [(3, 2)]
    assert publications(sim.proved(3)) == [2]


def test_a_saturated_tcp_surplus_is_asked_again_and_again() -> None:
    sim = running(tcp(processes=2), processes=2)
    sim.given(ev.ScaleRequested(app="blog", processes=1))
    for _ in range(200):
        sim.refused(2)
        assert all(one == (2, False) for one in retirements(sim.after(500 * MILLISECOND)))

    assert sim.view().ready == 1


def test_scale_auto_returns_to_the_configuration() -> None:
    sim = running(blog())
    sim.given(ev.ScaleRequested(app="blog", processes=2))
    sim.ready(2)

    assert retirements(sim.given(ev.ScaleRequested(app="blog", processes=None))) == [(2, False)]


def applied(sim: Simulation, *definitions: Application, **changes: Change) -> list[Command]:
    applications = {one.name: one for one in definitions}
    return sim.given(ev.ConfigurationApplied(applications=applications, changes=changes))


def test_apply_without_a_difference_touches_nothing() -> None:
    sim = running(blog())

    assert applied(sim, blog()) == []


def test_apply_of_a_key_in_place_starts_and_removes_nothing_else() -> None:
    sim = running(blog())

    assert applied(sim, blog(restart_delay=0), blog=Change.IN_PLACE) == []


def test_apply_of_another_program_is_a_new_generation() -> None:
    sim = running(blog())

    assert spawns(applied(sim, blog(umask=0o77), blog=Change.GENERATION)) == [(2, 2)]


def test_apply_of_another_port_switches_listeners() -> None:
    sim = running(tcp())
    other = replace(tcp(), port=9001)

    assert spawns(applied(sim, other, blog=Change.LISTENER)) == [(2, 2)]
    assert publications(sim.proved(2)) == [2]


def test_apply_of_another_number_of_processes_forgets_the_operators_scale() -> None:
    sim = running(blog())
    sim.given(ev.ScaleRequested(app="blog", processes=2))
    sim.ready(2)

    assert spawns(applied(sim, blog(processes=3), blog=Change.IN_PLACE)) == [(3, 1)]


def test_an_added_app_starts_and_a_removed_one_drains() -> None:
    sim = running(blog())
    wiki = Application(name="wiki", command=("/bin/wiki",), socket="/run/wiki.sock")

    ordered = applied(sim, wiki)
    assert spawns(ordered) == [(2, 1)]
    assert retirements(sim.after(1 * SECOND)) == [(1, False)]
    sim.killed(1)
    assert [one.name for one in sim.engine.view(sim.now)] == ["wiki"]


def test_an_app_that_comes_back_while_it_leaves_gets_a_generation_of_its_own() -> None:
    sim = running(blog())
    applied(sim)

    assert publications(applied(sim, blog())) == [2]
    assert spawns(sim.published(2)) == [(2, 2)]


def test_shutdown_unpublishes_drains_and_ends() -> None:
    sim = running(blog())

    assert publications(sim.given(ev.ShutdownRequested())) == [0]
    sim.published(0)
    assert retirements(sim.after(1 * SECOND)) == [(1, False)]
    assert [(one.status, one.finished) for one in sim.killed(1) if isinstance(one, Shutdown)] == [(0, True)]


def test_shutdown_of_a_stopped_daemon_is_immediate() -> None:
    sim = Simulation(blog(autostart=False))

    ended = sim.given(ev.ShutdownRequested())
    assert [(one.status, one.finished) for one in ended if isinstance(one, Shutdown)] == [(0, False), (0, True)]


def test_nothing_is_started_while_shutting_down() -> None:
    sim = running(blog())
    sim.given(ev.ShutdownRequested())
    sim.published(0)

    assert spawns(sim.exited(1)) == []


def test_a_late_comer_on_an_old_listener_gets_an_instance_that_goes_when_done() -> None:
    sim = running(blog())
    sim.given(ev.RestartRequested(app="blog"))
    sim.proved(2)
    sim.published(2)
    sim.after(1 * SECOND)
    sim.killed(1)

    assert spawns(sim.given(ev.SomebodyWaits(app="blog", generation=1))) == [(3, 1)]
    assert retirements(sim.ready(3)) == [(3, False)]
    sim.refused(3, ev.Refusal.QUEUE)
    assert retirements(sim.after(20 * MILLISECOND)) == [(3, False)]
    assert sim.view().ready == 1


def test_what_was_overtaken_is_said_at_once() -> None:
    sim = running(blog())
    before = sim.view()
    sim.given(ev.StopRequested(app="blog"))
    assert judge("stop", before, sim.view()).state is Verdict.PENDING
    sim.given(ev.StartRequested(app="blog"))

    assert judge("stop", before, sim.view()).state is Verdict.FAILED
    sim.given(ev.StopRequested(app="blog"))
    assert judge("start", before, sim.view()).state is Verdict.FAILED
    assert judge("restart", before, sim.view()).state is Verdict.FAILED


def test_of_two_restarts_the_first_is_done_by_the_second() -> None:
    sim = running(blog())
    before = sim.view()
    sim.given(ev.RestartRequested(app="blog"))
    sim.given(ev.RestartRequested(app="blog"))
    sim.killed(2, how=ev.Removal.CUT)
    sim.proved(3)
    sim.published(3)
    sim.after(1 * SECOND)
    sim.killed(1)

    assert judge("restart", before, sim.view()).state is Verdict.DONE


def test_a_restart_of_a_stopped_app_is_done_when_all_are_ready() -> None:
    sim = Simulation(blog(processes=2, autostart=False))
    before = sim.view()
    sim.given(ev.RestartRequested(app="blog"))
    sim.published(2)
    sim.ready(1)

    assert judge("restart", before, sim.view()).state is Verdict.PENDING
    sim.ready(2)
    assert judge("restart", before, sim.view()).state is Verdict.DONE
