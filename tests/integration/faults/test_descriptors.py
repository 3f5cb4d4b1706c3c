"""No descriptors are left, in the keeper or in the manager: requests go on, and all heals when there are some again."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from functools import partial

from chaos.scene import Scene
from harness.waiting import until
from integration.faults.faults import OTHER, descriptors, kill_others, limited, said, wait_for_others

StartScene = Callable[..., Scene]
EMFILE = "Too many open files"


def test_in_the_keeper(scene: StartScene) -> None:
    stage = scene("mortal", others=OTHER)
    keeper, before = stage.daemon.pid, descriptors(stage.daemon.pid)
    manager = stage.daemon.manager
    with stage.crowd(clients=10, pause=0.002) as (crowd, _):
        with limited(keeper, resource.RLIMIT_NOFILE, 3):
            victims = kill_others(stage)
            stage.ctl("--no-wait", "scale", "app", "4")
            until(lambda: "cannot spawn app/" in stage.daemon.log(), what="the shortage is said")
            assert EMFILE in stage.ctl("reload", "app", code=1)
            crowd.more(500)
            stage.ctl("--no-wait", "scale", "app", "2")  # nobody can be looked at: all stay
            crowd.more(500)
        wait_for_others(stage, victims)
        stage.processes = 2
        stage.settle()
    assert crowd.failures == []
    assert stage.daemon.manager == manager
    assert said(stage, "cannot spawn other/") == 1, stage.daemon.log()
    assert said(stage, "other: instances can be started again") == 1
    assert said(stage, "cannot look into") <= 1
    assert "back-off" not in stage.daemon.log()
    until(lambda: descriptors(keeper) <= before, what=f"{before} descriptors, as before")


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123
        return [int(word) for word in file.read().split()]


def test_in_the_manager(scene: StartScene) -> None:
    stage = scene("mortal", others=OTHER)
    manager, instances = stage.daemon.manager, stage.pids()
    with stage.crowd(clients=10, pause=0.002) as (crowd, _):
        with limited(manager, resource.RLIMIT_NOFILE, 3):
            answering = partial(stage.daemon.http, "GET", "/v1/status", timeout=1)
            try:
                answering()
            except OSError:
                crowd.more(500)
            else:
                raise AssertionError("it answered without a descriptor for that")
        until(stage.daemon.answering, within=20, what="it answers again")
        assert stage.daemon.manager == manager, stage.daemon.log()
        assert said(stage, "no more connections can be taken for now") == 1

        with limited(manager, resource.RLIMIT_NOFILE, 3):
            victims = []
            for pid in _children(stage.daemon.pid):
                if pid not in instances and pid != manager:
                    victims.append(pid)
                    os.kill(pid, signal.SIGKILL)
            until(lambda: "the manager has no descriptors left" in stage.daemon.log(), within=20, what="that is said")
        wait_for_others(stage, victims)
    assert crowd.failures == []
    assert stage.pids() == instances
    assert "because of a bug" not in stage.daemon.log()
