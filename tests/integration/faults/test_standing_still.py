"""Keeper or manager stand still for a while: visitors do not notice, and everything goes on where it was."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from chaos.scene import Scene
from harness.waiting import until
from integration.faults.conftest import LONG
from integration.faults.faults import OTHER, wait_for_others

WHILE = 30 if LONG else 3
"""Seconds."""


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """Stop the process *pid*."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("who", ["keeper", "manager"])
def test_it_is_not_noticed(scene: Callable[..., Scene], who: str) -> None:
    stage = scene("libfcgi", others=OTHER)
    before, manager = stage.pids(), stage.daemon.manager
    victims = stage.daemon.instances("other")
    with stage.crowd(clients=10, pause=0.002) as (crowd, _):
        with standing_still(stage.daemon.pid if who == "keeper" else manager):
            end = time.monotonic() + WHILE
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            until(lambda: time.monotonic() > end, within=WHILE + 10)  # how long it takes is what is tried
            crowd.more(200)
        wait_for_others(stage, victims)
        stage.settle()
    assert crowd.failures == []
    assert stage.pids() == before
    assert stage.daemon.manager == manager
    assert "replaced:" not in stage.daemon.log()
