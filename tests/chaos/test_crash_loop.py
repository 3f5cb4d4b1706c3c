"""An application ends at once, again and again: the log stays short, the processor free, and others untouched."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from chaos.conftest import FULL, TIME_BOX, Record
from chaos.scene import Scene
from harness.waiting import until

SECONDS = min(600, TIME_BOX) if FULL else 4
ENDLESS = "min-server-life = 0\nrestart-delay = 0\n"


def processor_time(pid: int) -> float:
    """Return the seconds of the processor that *pid* has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# With the defaults it is in back-off soon; without min-server-life it is started again and again, for ever.
@pytest.mark.parametrize(
    ("settings", "lines", "share"), [("", 0, 0.05), (ENDLESS, 100, 0.6)], ids=["defaults", "endless"]
)
def test_a_crash_loop_is_bounded(
    scene: Callable[..., Scene], record: Record, settings: str, lines: int, share: float
) -> None:
    """At most *lines* in a second are written, and *share* of a processor is used."""
    stage = scene("mortal")
    before = stage.pids()
    stage.others(f'[app.crasher]\ncommand = ["/bin/false"]\nprocesses = 4\n{settings}')
    with stage.crowd(pause=0.05) as (crowd, _):
        stage.ctl("--no-wait", "apply")
        until(lambda: "crasher" in stage.daemon.log(), what="it crashes")
        pids = [stage.daemon.pid, stage.daemon.manager]
        used = sum(map(processor_time, pids))
        end = time.monotonic() + SECONDS
        until(lambda: time.monotonic() > end, within=SECONDS + 10, what="the time is over")
        used = sum(map(processor_time, pids)) - used
    written = stage.daemon.log().count("\n")
    what = "no limits" if settings else "defaults"
    record("crash loop", "fcgipm", what, 1, crowd, seconds=SECONDS, cpu=used / SECONDS, lines=written)
    assert crowd.failures == []
    assert stage.pids() == before
    assert written <= 60 + lines * SECONDS, stage.daemon.log()[-3000:]
    assert used / SECONDS < share
