"""The manager is killed again and again: instances do not notice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial

from chaos.conftest import Record, Rounds
from chaos.scene import Scene, altered
from harness.waiting import ended, until


def test_a_manager_that_is_killed_is_not_missed(scene: Callable[..., Scene], rounds: Rounds, record: Record) -> None:
    stage = scene("libfcgi", program=altered("hasty"))
    before = stage.pids()
    with stage.crowd() as (crowd, _):
        for _ in rounds(3, 200):
            manager = stage.daemon.manager
            os.kill(manager, signal.SIGKILL)
            ended(manager)
            until(partial(_another, stage, manager), within=40, what="another manager")
            assert stage.pids() == before
        stage.settle()
    record("kill -9 of the manager", "fcgipm", "libfcgi", rounds.done, crowd)
    assert crowd.failures == []
    assert stage.pids() == before


def _another(stage: Scene, manager: int) -> bool:
    return stage.daemon.answering() and stage.daemon.manager != manager
