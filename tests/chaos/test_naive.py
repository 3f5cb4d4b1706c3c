"""What everybody does loses requests, and these visitors notice: without that the other proofs would prove nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chaos.conftest import Record
from chaos.kinds import Kind, frozen, kind_of, leaders
from chaos.load import Crowd
from chaos.scene import both_ways
from harness.leftovers import end_all
from harness.waiting import ended, until

INSTANCES = 3
PROGRAM = Path(__file__).parent / "naive.py"


class Naive:
    """The naive supervisor in *place*, and what it runs."""

    def __init__(self, place: Path, kind: str, *, together: bool) -> None:
        self.place = place
        self.kind: Kind = kind_of(kind, place)
        self.path = str(place / "naive.sock")
        self._environment = {**os.environ, "END_WITH_ME": "yes" if together else ""}
        self.start()

    def start(self) -> None:
        """Start it, also after it was killed."""
        variables = [f"{name}={value}" for name, value in {"VERSION": "1", **self.kind.environment}.items()]
        command = [sys.executable, str(PROGRAM), self.path, str(INSTANCES), *variables, *self.kind.command]
        self.process = subprocess.Popen(command, env=self._environment)

    def order(self, number: signal.Signals) -> None:
        """Have it do what the signal stands for."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()

    def pids(self) -> list[int]:
        """Return its instances, as they are seen from outside."""
        return leaders(self.place)

    def end(self) -> None:
        """End it and all that it has left."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        end_all(dict.fromkeys(self.pids(), "left by the naive one"))


StartNaive = Callable[..., Naive]


@pytest.fixture
def naive(place: Path) -> Iterator[StartNaive]:
    """Give a function (kind, together=False) that starts it; *together*: its instances die with it."""
    started: list[Naive] = []

    def start(kind: str, *, together: bool = False) -> Naive:
        one = Naive(place, kind, together=together)
        started.append(one)
        until(lambda: len(one.pids()) == INSTANCES, what="its instances")
        return one

    yield start
    for each in started:
        each.end()


def until_failed(crowd: Crowd, one: Naive, order: signal.Signals, most: int = 20) -> int:
    """Give the same order again and again until somebody has noticed; return how often."""

    def noticed() -> bool:
        return crowd.seen().refused + crowd.seen().broken > 0

    for times in range(1, most + 1):
        before = one.pids()
        one.order(order)
        until(lambda: noticed() or (len(one.pids()) == INSTANCES and one.pids() != before), what="others")  # noqa: B023
        if noticed():
            return times
    raise AssertionError(f"{most} times, and nobody has noticed")


@pytest.mark.parametrize(
    ("what", "kind", "order"),
    [
        ("rolling restart: blind TERM", "mortal", signal.SIGUSR1),
        ("rolling restart: TERM, then KILL", "deaf", signal.SIGUSR1),
        ("reload: close, then bind", "threaded", signal.SIGHUP),
        ("upgrade: all anew", "libfcgi", signal.SIGUSR2),
    ],
)
def test_what_everybody_does_loses_requests(
    naive: StartNaive, record: Record, what: str, kind: str, order: signal.Signals
) -> None:
    one = naive(kind)
    before = one.pids()
    with both_ways(one.place, one.path, one.kind.script) as (crowd, _):
        times = until_failed(crowd, one, order)
    record(what, "naive", kind, times, crowd)
    assert crowd.seen().failed > 0
    assert before != one.pids()


def test_a_supervisor_whose_instances_die_with_it_refuses_everybody(naive: StartNaive, record: Record) -> None:
    one = naive("mortal", together=True)
    with both_ways(one.place, one.path) as (crowd, _):
        one.kill()
        until(lambda: one.pids() == [], what="they die with it")
        until(lambda: crowd.seen().refused, what="nobody is there")
        one.start()
        crowd.more(5)
    record("kill -9, then start", "naive", "mortal", 1, crowd)
    assert crowd.seen().refused > 0


def test_a_supervisor_that_adopts_nobody_has_everything_twice(naive: StartNaive, record: Record) -> None:
    one = naive("mortal")
    with both_ways(one.place, one.path) as (crowd, _):
        one.kill()
        one.start()
        until(lambda: len(one.pids()) == 2 * INSTANCES, what="twice as many")
        crowd.more(5)
    record("kill -9, then start", "naive, orphans", "mortal", 1, crowd, instances=len(one.pids()))


def test_who_is_left_frozen_is_seen(naive: StartNaive) -> None:
    one = naive("threaded")
    victim = one.pids()[0]
    os.kill(victim, signal.SIGSTOP)
    until(lambda: frozen(one.place) == [f"{victim} T"], what="it stands still")
    os.kill(victim, signal.SIGKILL)
    ended(victim)
