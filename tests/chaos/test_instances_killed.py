"""Instances are killed at random: who was in them is lost, and nobody else; both logs say why."""

from __future__ import annotations

import os
import random
import re
import signal
from collections.abc import Callable
from functools import partial
from typing import Final

import pytest
from chaos.conftest import Record, Rounds
from chaos.scene import Scene
from harness.waiting import until

EXPLAINED: Final = "upstream prematurely closed|Connection reset by peer|Broken pipe"
"""What nginx says of a connection whose other end was killed: while it answered, or before it had read."""


@pytest.mark.parametrize("kind", ["mortal", "threaded"])
def test_only_requests_inside_the_killed_instances_fail(
    scene: Callable[..., Scene], rounds: Rounds, record: Record, kind: str
) -> None:
    stage, chance, killed = scene(kind), random.Random(4), list[int]()
    with stage.crowd() as (crowd, nginx):
        for _ in rounds(6, 500):
            victim = chance.choice(until(lambda: stage.daemon.instances("app"), what="an instance that is ready"))
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)
            until(partial(_is_known, stage, victim), what="fcgipm knows of it")
        crowd.more(10)
        stage.settle()
    record("kill -9 of instances", "fcgipm", kind, len(killed), crowd)
    seen = crowd.seen()
    assert 0 < seen.failed <= len(killed) * stage.kind.at_once
    # nobody is turned away: a request that fails had been taken
    assert crowd.tallies["directly"].refused == 0, crowd.failures
    assert crowd.tallies["nginx"].broken == 0, crowd.failures
    assert {one.why for one in crowd.tallies["nginx"].failures} <= {"status 502"}
    explained = nginx.explained()
    for one in crowd.tallies["nginx"].failures:
        assert re.search(EXPLAINED, explained[one.number])
    log = stage.daemon.log()
    for pid in killed:
        assert re.search(rf"pid {pid}\b.*SIGKILL", log), f"nothing about {pid}:\n{log[-5000:]}"


def _is_known(stage: Scene, victim: int) -> bool:
    return victim not in stage.daemon.instances("app", state=None)
