"""The program is replaced again and again: instances do not notice, and nothing grows by it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from chaos.conftest import Record, Rounds
from chaos.scene import Scene, altered
from harness.waiting import until

StartScene = Callable[..., Scene]


def upgrade(stage: Scene, count: int) -> float:
    """Upgrade for the *count*th time; return the pause in seconds."""
    until(lambda: tried(stage), within=120, what="an upgrade")
    found = stage.daemon.status()["upgraded"]
    assert found["count"] == count
    return float(found["pause"])


def tried(stage: Scene) -> bool:
    """Upgrade; return False where the trial did not get along in its five seconds, since others had the processors."""
    done = stage.daemon.ctl("upgrade", "--timeout", "100", timeout=120)
    assert done.returncode == 0 or "has not said within 5 s" in done.stderr, done.stderr + stage.daemon.log()[-5000:]
    return done.returncode == 0


@pytest.mark.parametrize("kind", ["mortal", "php"])
def test_an_upgrade_is_not_noticed(scene: StartScene, rounds: Rounds, record: Record, kind: str) -> None:
    stage = scene(kind)
    before = stage.pids()
    pauses: list[float] = []
    descriptors: set[int] = set()
    with stage.crowd() as (crowd, _):
        for number in rounds(2, 50):
            pauses.append(upgrade(stage, number + 1))
            assert stage.pids() == before
            crowd.more(50)
            descriptors.add(until(lambda: settled_descriptors(stage)))
        stage.settle()
    record("upgrade", "fcgipm", kind, rounds.done, crowd, pause=max(pauses))
    assert crowd.failures == []
    assert stage.pids() == before
    assert len(descriptors) == 1, descriptors


def settled_descriptors(stage: Scene) -> int:
    """Return how many descriptors the keeper has when it is not about anything; 0 while it is."""
    directory = f"/proc/{stage.daemon.pid}/fd"
    counts = {len(os.listdir(directory)) for _ in range(20)}
    return counts.pop() if len(counts) == 1 else 0


def test_the_same_loses_requests_where_it_is_a_stop_and_a_start(scene: StartScene, record: Record) -> None:
    stage, times = scene("mortal", program=altered("abrupt")), 0
    with stage.crowd() as (crowd, _):
        while not crowd.seen().broken + crowd.seen().refused and times < 10:
            times += 1
            stage.daemon.ctl("upgrade", "--timeout", "30")
            stage.daemon.wait_answering(60)
            crowd.more(5)
    record("upgrade", "abrupt", "mortal", times, crowd)
    assert crowd.seen().failed > 0
