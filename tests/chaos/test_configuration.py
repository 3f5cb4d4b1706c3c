"""The configuration is read again and again, and nothing grows by it: descriptors, memory, threads, processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from chaos.conftest import FULL, Record, Rounds
from chaos.scene import Scene
from harness.leftovers import descendants
from harness.waiting import until

GROWTH = 3 * 1024 if FULL else 1536
"""KiB that keeper and manager may have grown by: the allocator's rest, which does not go on growing."""


def footprint(stage: Scene) -> tuple[dict[str, tuple[int, int]], int, int]:
    """Return descriptors and threads of keeper and manager, the number of all processes, and resident KiB."""
    counts, memory = {}, 0
    for name, pid in (("keeper", stage.daemon.pid), ("manager", stage.daemon.manager)):
        base = Path(f"/proc/{pid}")
        # an ordinary user may not look at the manager's
        open_ones = len(os.listdir(base / "fd")) if os.access(base / "fd", os.R_OK) else 0
        counts[name] = (open_ones, len(os.listdir(base / "task")))
        status = (base / "status").read_text()
        memory += int(status.partition("RssAnon:")[2].split()[0])
    return counts, len(descendants(stage.daemon.pid)), memory


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
    record("HUP", "fcgipm", "mortal", rounds.done * 10, crowd, grown=last[2] - first[2])
    assert crowd.failures == []
    assert stage.pids() == before
    assert last[:2] == first[:2]
    assert last[2] - first[2] < GROWTH, (first, last)


def settled_footprint(stage: Scene) -> tuple[dict[str, tuple[int, int]], int, int]:
    """Return the footprint when what was asked for is done: as often the same as it takes to be believed."""
    seen = [footprint(stage)]

    def rests() -> bool:
        seen.append(footprint(stage))
        return len(seen) > 5 and len({str(each[:2]) for each in seen[-5:]}) == 1

    stage.ctl("apply")
    until(rests, within=30, what=f"rest: {seen[-3:]}")
    return seen[-1]


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
    record("bad configuration, then HUP", "fcgipm", "mortal", rounds.done, crowd, grown=last[2] - first[2])
    assert crowd.failures == []
    assert stage.pids() == before
    assert last[:2] == first[:2]
    assert last[2] - first[2] < GROWTH, (first, last)
