"""The configuration is read again and again, and nothing grows by it: descriptors, memory, threads, processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from chaos.conftest import FULL, Record, Rounds
from chaos.scene import Scene
from harness.leftovers import descendants
from harness.waiting import until

GROWTH = 3 * 1024 if FULL else 1536
"""KiB that keeper and manager may have grown by: the allocator's rest, which does not go on growing."""


class Footprint(NamedTuple):
    """What keeper and manager take."""

    keeper_descriptors: int
    manager_descriptors: int
    keeper_threads: int
    manager_threads: int
    processes: int
    """Instances included."""
    memory: int
    """Resident, not shared, in KiB, of both."""


def footprint(stage: Scene) -> Footprint:
    """Return what keeper and manager take now."""
    keeper, manager = (Path(f"/proc/{pid}") for pid in (stage.daemon.pid, stage.daemon.manager))
    return Footprint(
        keeper_descriptors=len(os.listdir(keeper / "fd")),
        # an ordinary user may not look at the manager's
        manager_descriptors=len(os.listdir(manager / "fd")) if os.access(manager / "fd", os.R_OK) else 0,
        keeper_threads=len(os.listdir(keeper / "task")),
        manager_threads=len(os.listdir(manager / "task")),
        processes=len(descendants(stage.daemon.pid)),
        memory=sum(
            int((base / "status").read_text().partition("RssAnon:")[2].split()[0]) for base in (keeper, manager)
        ),
    )


def grown(first: Footprint, last: Footprint) -> int:
    """Return by how much memory has grown (KiB); nothing else may have."""
    assert all(after <= before for before, after in zip(first[:-1], last[:-1], strict=True)), (first, last)
    assert last.memory - first.memory < GROWTH, (first, last)
    return last.memory - first.memory


def hang_up(stage: Scene, said: str) -> None:
    """Send SIGHUP and wait until the log has *said* so once more."""
    before = stage.daemon.log().count(said)
    os.kill(stage.daemon.pid, signal.SIGHUP)
    until(lambda: stage.daemon.log().count(said) > before, within=30, what=f"{said}: {stage.daemon.log()[-500:]}")


def many_times(stage: Scene, times: int) -> None:
    """Send SIGHUP *times* times, as fast as they are taken."""
    pending = Path(f"/proc/{stage.daemon.pid}/status")
    for _ in range(times):
        os.kill(stage.daemon.pid, signal.SIGHUP)
        until(lambda: "ShdPnd:\t0000000000000000" in pending.read_text(), what="the signal is taken")


def test_hanging_up_again_and_again(scene: Callable[..., Scene], rounds: Rounds, record: Record) -> None:
    stage = scene("mortal")
    before = stage.pids()
    with stage.crowd(pause=0.05) as (crowd, _):
        many_times(stage, 20)
        first = settled_footprint(stage)
        for _ in rounds(10, 1000):
            many_times(stage, 10)
        last = settled_footprint(stage)
    record("HUP", "fcgipm", "mortal", rounds.done * 10, crowd, grown_KiB=grown(first, last))
    assert crowd.failures == []
    assert stage.pids() == before


def settled_footprint(stage: Scene) -> Footprint:
    """Return the footprint when what was asked for is done: the least of many, since each question opens something."""
    stage.ctl("apply")
    seen = [footprint(stage) for _ in range(20)]
    return Footprint(*(min(each[field] for each in seen) for field in range(len(Footprint._fields))))


def test_a_bad_configuration_then_hanging_up(scene: Callable[..., Scene], rounds: Rounds, record: Record) -> None:
    stage = scene("mortal")
    before, good = stage.pids(), stage.daemon.config.read_text()
    with stage.crowd(pause=0.05) as (crowd, _):
        first = settled_footprint(stage)
        for _ in rounds(5, 1000):
            stage.daemon.config.write_text(good + "[app.bad]\ncommand = 7\n")
            hang_up(stage, "app.bad.command")
            assert stage.daemon.app("app")["ready"] == 3
        stage.daemon.config.write_text(good)
        last = settled_footprint(stage)
    record("bad configuration, then HUP", "fcgipm", "mortal", rounds.done, crowd, grown_KiB=grown(first, last))
    assert crowd.failures == []
    assert stage.pids() == before
