"""Every way in which an instance is removed, while visitors come on every way: none of them goes without an answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import pytest
from chaos.load import Crowd
from chaos.scene import altered, crowd_at
from integration.removal.conftest import WAYS, Stage

Start = Callable[..., Stage]
FLEXIBLE: Final[Mapping[str, Any]] = MappingProxyType(
    {"processes": None, "max-processes": 3, "update-interval": 1, "kill-interval": 1, "init-start-delay": 0}
)


@pytest.fixture(params=["busy", "calm"])
def busy(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "busy")


def more(crowds: Sequence[Crowd], count: int) -> None:
    """Wait until on each way so many more have been answered."""
    for crowd in crowds:
        crowd.more(count)


def without_loss(crowds: Sequence[Crowd], here: Stage) -> None:
    """See that everybody was answered, and that nothing was cut."""
    failures = [failure for crowd in crowds for failure in crowd.failures]
    assert failures == [], here.daemon.log()[-4000:]
    assert all(tally.answered > 20 for crowd in crowds for tally in crowd.tallies.values())
    assert "after stop-timeout" not in here.daemon.log()


def test_stop(stage: Start, *, busy: bool) -> None:
    here = stage()
    with here.crowds(busy=busy) as crowds:
        more(crowds, 20)
        assert "cut" not in here.ctl("stop", *here.ways)
        assert not any(here.pids().values())
        here.ctl("start", *here.ways)
        more(crowds, 5)
    without_loss(crowds, here)


def test_restart(stage: Start, *, busy: bool) -> None:
    here = stage()
    with here.crowds(busy=busy) as crowds:
        more(crowds, 20)
        before = here.pids()
        assert "cut" not in here.ctl("restart", *here.ways)
        here.see(lambda: here.gone(before), "the old ones have gone")
    without_loss(crowds, here)


def test_scale(stage: Start, *, busy: bool) -> None:
    here = stage()
    with here.crowds(busy=busy) as crowds:
        for number in (3, 1):
            for way in here.ways:
                here.ctl("--no-wait", "scale", way, str(number))
            here.see(partial(here.have, number), f"{number} of each")
            more(crowds, 15)
    without_loss(crowds, here)


@pytest.mark.parametrize("limit", ["max-requests", "max-lifetime"])
def test_recycling(stage: Start, limit: str, *, busy: bool) -> None:
    here = stage(**{limit: {"max-requests": 5, "max-lifetime": 1}[limit]})
    before = here.pids()
    with here.crowds(busy=busy) as crowds:
        more(crowds, 20)
        here.see(lambda: here.gone(before), "the first ones are replaced")
    without_loss(crowds, here)


def test_recycling_by_size(stage: Start) -> None:
    here = stage(**{"max-memory": "1M"})
    before = here.pids()
    with here.crowds(busy=True) as crowds:
        more(crowds, 20)
        here.see(lambda: here.gone(before), "the first ones are replaced")
    without_loss(crowds, here)


def test_kill_runs(stage: Start) -> None:
    here = stage(**{**FLEXIBLE, "min-processes": 1, "multi-threshold": 100, "start-delay": 0.05})
    with here.crowds(busy=False) as crowds:
        for way in here.ways:
            here.ctl("--no-wait", "scale", way, "3")
        here.see(partial(here.have, 3), "three of each")
        for way in here.ways:
            here.ctl("--no-wait", "scale", way, "auto")
        here.see(lambda: here.taken("kill-run") == set(here.ways), "a run has taken one of each")
        more(crowds, 5)
    without_loss(crowds, here)


def test_idle_stops(stage: Start) -> None:
    here = stage(**{**FLEXIBLE, "min-processes": 0, "idle-stop": 1})
    met: dict[str, set[int]] = {way: set() for way in here.ways}

    def have_come_again() -> bool:
        for way, pids in here.pids().items():
            met[way] |= pids
        return all(len(pids) >= 3 for pids in met.values())

    visitors = here.crowd(1, 1.6)
    visitors.first = 1  # they come seldom
    with visitors as crowd:  # sometimes just before the second is over, sometimes just after
        here.see(have_come_again, "two others of each, after the first")
    assert crowd.failures == [], here.daemon.log()[-4000:]
    assert here.taken("idle-stop") == set(here.ways)


def test_who_does_not_look_loses_requests_on_every_way(stage: Start) -> None:
    """The proof that these visitors notice a loss; who pauses for long would take long to meet one."""
    here = stage([way for way in WAYS if way != "tcp-keep"], program=altered("blind"))

    def have_all_lost(crowds: Sequence[Crowd]) -> bool:
        for way in here.ways:
            here.ctl("--no-wait", "restart", way)
        return all(
            visitors.tally.refused + visitors.tally.broken for crowd in crowds for visitors in crowd.ways.values()
        )

    with here.crowds(busy=True) as crowds:
        here.see(partial(have_all_lost, crowds), "somebody has lost a request on each way")
    assert {failure.partition(":")[0] for crowd in crowds for failure in crowd.failures} == set(here.ways)


def test_a_kept_connection_that_is_never_idle_is_waited_for_until_stop_timeout(stage: Start) -> None:
    here = stage(["tcp-keep"], **{"stop-timeout": 3, "processes": 1})
    with crowd_at(here.place, {"tcp-keep": here.way("tcp-keep")}, clients=1, pause=0.0) as crowd:
        crowd.more(20)
        begun = time.monotonic()
        said = here.ctl("stop", "tcp-keep")
        took = time.monotonic() - begun
        here.ctl("start", "tcp-keep")
    cut = crowd.seen().failed
    assert cut <= 1, crowd.failures
    assert took >= 3 or "cut" not in said, "it was idle for a moment"
    assert ("1 connection cut, after stop-timeout" in said) == (took >= 3)


def test_what_runs_and_what_waits_is_finished_before_the_daemon_ends(stage: Start) -> None:
    here = stage(["unix-close", "tcp-close"], work=300_000)
    with ExitStack() as stack:
        answers = [stack.enter_context(here.visitor(way)) for way in here.ways for _ in range(6)]
        here.see(lambda: sum(app["queue"] for app in here.daemon.status()["apps"]) == 8, "four wait on each way")
        assert "0 connections cut" in here.ctl("shutdown")
        assert [one.getresponse().status for one in answers] == [200] * 12
    assert here.daemon.process.wait(20) == 0


def test_what_takes_longer_than_stop_timeout_is_cut_and_told(stage: Start) -> None:
    here = stage(["unix-close", "tcp-close"], work=30_000_000, **{"stop-timeout": 1})
    with ExitStack() as stack:
        for way in here.ways:
            stack.enter_context(here.visitor(way))
        here.see(lambda: all(app["busy"] == 1 for app in here.daemon.status()["apps"]), "each serves somebody")
        begun = time.monotonic()
        assert "1 connection cut, after stop-timeout" in here.ctl("stop", "unix-close")
        assert "1 connection cut" in here.ctl("shutdown")
        assert time.monotonic() - begun >= 2
    assert here.daemon.process.wait(20) == 0
