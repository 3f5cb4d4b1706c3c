"""The same visitors before others: what their operations cost. Measured, not judged; only at full size."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from chaos.conftest import Record, Rounds
from chaos.peers import PEERS, Missing, Peer
from chaos.scene import both_ways
from harness.waiting import until


@pytest.fixture
def peer(request: pytest.FixtureRequest, place: Path) -> Iterator[Peer]:
    try:
        with PEERS[request.param](place) as found:
            yield found
    except Missing as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("peer", "operation"),
    [
        ("supervisor", "restart (supervisorctl)"),
        ("supervisor", "reload (HUP)"),
        ("php-fpm", "reload (USR2)"),
        ("php-fpm patient", "reload (USR2)"),
    ],
    indirect=["peer"],
)
def test_restart_or_reload(peer: Peer, operation: str, rounds: Rounds, record: Record) -> None:
    with both_ways(peer.place, peer.address, peer.kind.script) as (crowd, _):
        for _ in rounds(3, 50):
            peer.operations[operation]()
            crowd.more(10)
    record(operation, peer.name, peer.kind.name, rounds.done, crowd)


@pytest.mark.parametrize("peer", list(PEERS), indirect=True)
def test_instances_killed(peer: Peer, rounds: Rounds, record: Record) -> None:
    chance = random.Random(4)
    with both_ways(peer.place, peer.address, peer.kind.script) as (crowd, _):
        for _ in rounds(5, 100):
            victim = chance.choice(until(peer.workers, what="an instance"))
            os.kill(victim, signal.SIGKILL)
            until(partial(replaced, peer.workers, victim), within=30, what="another instance")
    record("kill -9 of instances", peer.name, peer.kind.name, rounds.done, crowd)


@pytest.mark.parametrize("peer", ["supervisor", "php-fpm", "multiwatch"], indirect=True)
def test_killed_and_started_again(peer: Peer, record: Record) -> None:
    before = peer.workers()
    how = ""
    with both_ways(peer.place, peer.address, peer.kind.script) as (crowd, _):
        peer.kill()
        try:
            peer.start()
        except AssertionError:
            how = "does not start again; "
        crowd.more(10)
        how += f"{len(peer.workers())} instances, {len(set(before) & set(peer.workers()))} of them the old ones"
    record("kill -9, then start", peer.name, peer.kind.name, 1, crowd, how=how)


def replaced(workers: Callable[[], list[int]], victim: int) -> bool:
    now = workers()
    return len(now) >= 3 and victim not in now
