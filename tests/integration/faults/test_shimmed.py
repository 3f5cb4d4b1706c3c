"""No fork, no file left in the whole system, a wall clock that jumps: requests go on, no decision reads that clock."""

from __future__ import annotations

import errno
import mmap
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from chaos.scene import Scene
from harness.components import need
from harness.waiting import until
from integration.faults.conftest import LONG
from integration.faults.faults import OTHER, kill_others, said, wait_for_others

HERE = Path(__file__).parent


class Faults:
    """What happens to a daemon that is started by `program`."""

    def __init__(self, place: Path) -> None:
        library, path = place / "shim.so", place / "faults"
        words = [need("gcc"), "-O1", "-shared", "-fPIC", "-o", str(library), str(HERE / "shim.c")]
        subprocess.run(words, check=True, timeout=60)
        path.write_bytes(bytes(24))
        path.chmod(0o644)
        self.program = (sys.executable, str(HERE / "shimmed.py"), str(library), str(path))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 24)

    def set(self, *, ahead: int = 0, fork: int = 0, pipe: int = 0) -> None:
        """Let the wall clock be so many seconds *ahead*, and fork and pipe2 fail with these errors."""
        self._map[:] = struct.pack("=3q", ahead, fork, pipe)


@pytest.fixture
def faults(place: Path) -> Faults:
    return Faults(place)


@pytest.mark.parametrize(("what", "error"), [("fork", errno.ENOMEM), ("fork", errno.EAGAIN), ("pipe", errno.ENFILE)])
def test_no_start(scene: Callable[..., Scene], faults: Faults, what: str, error: int) -> None:
    stage = scene("mortal", others=OTHER, program=faults.program)
    manager = stage.daemon.manager
    with stage.crowd(clients=10, pause=0.002) as (crowd, _):
        faults.set(**{what: error})
        victims = kill_others(stage)
        until(lambda: said(stage, "cannot spawn other/"), what="the shortage is said")
        before = sorted(stage.pids())
        assert f"cannot be started: {what}" in stage.ctl("restart", "app", code=1)
        assert sorted(stage.pids()) == before
        crowd.more(500)
        faults.set()
        wait_for_others(stage, victims)
        stage.ctl("restart", "app")
        stage.settle()
    assert crowd.failures == []
    assert stage.daemon.manager == manager
    assert said(stage, "cannot spawn other/") == 1
    assert said(stage, "other: instances can be started again") == 1


def test_no_fork_for_a_manager(scene: Callable[..., Scene], faults: Faults) -> None:
    stage = scene("mortal", program=faults.program)
    with stage.crowd(clients=10, pause=0.002) as (crowd, _):
        faults.set(fork=errno.ENOMEM)
        subprocess.run(["kill", "-9", str(stage.daemon.manager)], check=True)
        until(lambda: said(stage, "the manager cannot be started"), within=20, what="that is said")
        crowd.more(500)
        faults.set()
        until(stage.daemon.answering, within=40, what="another manager")
        stage.settle()
    assert crowd.failures == []


def test_a_wall_clock_that_jumps(scene: Callable[..., Scene], faults: Faults) -> None:
    limits = {"processes": None, "min-processes": 2, "max-processes": 4, "max-lifetime": "30m", "idle-timeout": 30}
    stage = scene("mortal", program=faults.program, others=OTHER, **limits)
    stage.processes = len(stage.pids())
    before, others = sorted(stage.pids()), stage.daemon.instances("other")
    with stage.crowd(clients=2, pause=0.02) as (crowd, _):
        for ahead in (3600, -3600, 0, 7200, 0):
            faults.set(ahead=ahead)
            crowd.more(400 if LONG else 100)
            assert stage.daemon.answering()
            assert abs(stage.daemon.status()["uptime"]) < 600
        faults.set(ahead=-3600)
        victims = kill_others(stage)  # delays and back-off are those of another clock
        wait_for_others(stage, victims)
        stage.ctl("restart", "other")
    assert crowd.failures == []
    assert set(before) <= set(stage.pids())
    assert "back-off" not in stage.daemon.log()
    assert others != stage.daemon.instances("other")
