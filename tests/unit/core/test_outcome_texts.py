"""What an operator is told of what did not come about: why, what holds instead, and what comes next."""

from __future__ import annotations

import pytest
from harness.simulation import Simulation, blog, running, tcp

from fcgipm.config.schema import SECOND
from fcgipm.core import events as ev
from fcgipm.core.commands import Severity, Tell, Topic
from fcgipm.core.events import InstanceId
from fcgipm.core.outcome import Outcome, Verdict, judge
from fcgipm.core.view import AppView

RESTART = ev.RestartRequested(app="blog")


def far(sim: Simulation, verb: str, before: AppView) -> Outcome:
    return judge(verb, before, sim.view(), sim.now)


def errors(sim: Simulation) -> list[str]:
    return [tell.text for tell in sim.told if isinstance(tell, Tell) and tell.severity is Severity.ERROR]


def cannot_exec(number: int, sim: Simulation) -> ev.SpawnFailed:
    return ev.SpawnFailed(instance=InstanceId(number), step="exec /srv/blog", error="Permission denied", at=sim.now)


def test_in_back_off_when_the_next_try_is_and_where_to_look() -> None:
    sim = Simulation(blog(processes=3, init_start_delay=0))
    before = sim.view()
    sim.given(ev.Tick())
    sim.ready(1, 2, 3)
    for number in (1, 2, 3):
        sim.exited(number, code=4)
    sim.after(30 * SECOND)

    text = (
        "blog: blog/3: exit status 4 after 0 s; back-off: the next try is in 10 min, or at `fcgipmctl start blog`; "
        "`fcgipmctl logs blog` has what it wrote"
    )
    assert far(sim, "start", before) == Outcome(state=Verdict.FAILED, text=text)
    assert "the next try is later, or at" in judge("start", before, sim.view()).text


def test_of_one_that_has_failed_what_it_waits_for() -> None:
    sim = Simulation(blog(wrapper="/usr/lib/apache2/suexec"))
    before = sim.view()
    sim.given(ev.Tick())
    sim.spawned(1)
    sim.exited(1, code=120)

    found = far(sim, "start", before)
    assert found.state is Verdict.FAILED
    assert "not tried again until `fcgipmctl start blog` or a changed definition; `fcgipmctl logs blog`" in found.text


@pytest.mark.parametrize("verb", ["restart", "reload"])
def test_a_generation_that_died_names_the_log_and_who_serves_on(verb: str) -> None:
    sim = running(blog())
    before = sim.view()
    sim.given(RESTART if verb == "restart" else ev.ReloadRequested(app="blog"))
    sim.spawned(2)
    sim.exited(2, code=3)

    text = (
        "blog: generation 2 was given up: blog/2: exit status 3 after 0 s (`fcgipmctl logs blog`); "
        "generation 1 serves on"
    )
    assert far(sim, verb, before) == Outcome(state=Verdict.FAILED, text=text)


def test_one_that_cannot_be_executed_has_written_nothing() -> None:
    sim = running(blog())
    before = sim.view()
    sim.given(RESTART)
    sim.given(cannot_exec(2, sim))

    text = "generation 2 was given up: cannot spawn blog/2: exec /srv/blog: Permission denied; generation 1 serves on"
    assert far(sim, "restart", before).text == f"blog: {text}"


def test_scale_says_why_instances_are_missing_and_when_they_are_tried() -> None:
    sim = running(blog())
    before = sim.view()
    sim.given(ev.ScaleRequested(app="blog", processes=2))
    sim.given(
        ev.SpawnFailed(
            instance=InstanceId(2), step="fork", error="Resource temporarily unavailable", at=sim.now, shortage=True
        )
    )

    text = "blog: 1 of 2 instances ready: blog/2: fork: Resource temporarily unavailable; next try in 1 s"
    assert far(sim, "scale", before) == Outcome(state=Verdict.PENDING, text=text)


def test_scale_says_who_keeps_it_waiting() -> None:
    sim = running(blog(processes=2), processes=2)
    before = sim.view()
    sim.given(ev.ScaleRequested(app="blog", processes=1))

    assert far(sim, "scale", before).text == "blog: 1 of 1 instance ready, 1 more still serves somebody"


# ── one failure, one error ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_program_that_cannot_be_executed_is_one_error() -> None:
    sim = running(blog(processes=2), processes=2)
    sim.given(RESTART)
    sim.given(cannot_exec(3, sim))
    sim.given(cannot_exec(4, sim))

    assert errors(sim) == [
        "blog: generation 2 was given up: cannot spawn blog/3: exec /srv/blog: Permission denied; generation 1 goes on"
    ]
    assert [text.rpartition("; ")[2] for text in sim.texts(Topic.START_FAILED)] == [
        "its generation is given up",
        "its generation was given up before",
    ]


def test_a_new_one_that_is_not_ready_in_time_is_one_error() -> None:
    sim = running(blog(start_timeout=3 * SECOND))
    sim.given(RESTART)
    sim.spawned(2)
    sim.after(3 * SECOND)
    sim.killed(2)

    assert errors(sim) == ["blog: generation 2 was given up: blog/2 is not ready after 3 s; generation 1 goes on"]
    assert not any("not replaced" in text for text in sim.texts(Topic.START_FAILED))


def test_a_shortage_that_ends_a_new_generation_is_one_error() -> None:
    sim = running(blog())
    sim.given(RESTART)
    sim.given(
        ev.SpawnFailed(
            instance=InstanceId(2), step="fork", error="Resource temporarily unavailable", at=sim.now, shortage=True
        )
    )

    (error,) = errors(sim)
    assert error.startswith("blog: generation 2 was given up: an instance cannot be started: fork: Resource temp")


def test_a_canary_that_cannot_be_executed_is_one_error() -> None:
    sim = running(tcp())
    sim.given(RESTART)
    sim.given(cannot_exec(2, sim))

    assert len(errors(sim)) == 1
    assert "generation 2 was given up" in errors(sim)[0]


def test_a_first_generation_that_cannot_be_published_is_one_error() -> None:
    sim = Simulation(blog(), published={"blog": 0})
    sim.given(ev.Tick())
    sim.given(ev.PublishFailed(app="blog", generation=2, error="cannot bind: No space left on device"))

    assert len(errors(sim)) == 1
    assert errors(sim)[0].startswith("blog: failed: generation 2 was given up: cannot bind: No space left on device")


def test_a_stop_that_cannot_publish_an_empty_socket_says_what_becomes_of_it() -> None:
    sim = running(blog())
    sim.given(ev.StopRequested(app="blog"))
    sim.given(ev.PublishFailed(app="blog", generation=2, error="cannot bind: Read-only file system"))

    text = "cannot bind: Read-only file system; the instances are removed where visitors still come"
    assert errors(sim) == [f"blog: generation 2 was given up: {text}"]
