"""An upgrade: how long nothing is started or reaped; and a manager that is killed: until metrics answer again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from chaos.scene import altered
from harness.daemon import Daemon
from harness.waiting import until

from bench.programs import hello
from bench.table import Row, Skipped

TIMES = 10
INSTANCES = 100
APPS = 10


def measure(place: Path) -> Iterator[Row | Skipped]:
    """Yield the rows about both."""
    program = hello(place)
    each = INSTANCES // APPS
    apps = "".join(f'[app.hello{n}]\ncommand = ["{program}"]\nprocesses = {each}\n' for n in range(APPS))
    (place / "upgrade").mkdir(mode=0o755)
    daemon = Daemon(place / "upgrade", apps, program=altered("hasty"))  # so many managers are killed in a row
    try:
        daemon.wait_running(within=60)
        pauses = [upgraded(daemon) for _ in range(TIMES)]
        yield Row(what=f"upgrade with {INSTANCES} instances: pause, median", ours=median(pauses), unit="ms", bound=300)
        yield Row(what=f"upgrade with {INSTANCES} instances: pause, worst", ours=max(pauses), unit="ms", bound=300)
        gaps = [killed(daemon) for _ in range(TIMES)]
        yield Row(what="kill -9 of the manager: until metrics answer, median", ours=median(gaps), unit="ms", bound=1000)
        yield Row(what="kill -9 of the manager: until metrics answer, worst", ours=max(gaps), unit="ms", bound=1000)
    finally:
        daemon.stop(within=60)


def upgraded(daemon: Daemon) -> float:
    """Upgrade *daemon* to itself; return the pause in milliseconds."""
    done = daemon.ctl("upgrade")
    assert done.returncode == 0, done.stderr
    return float(daemon.status()["upgraded"]["pause"]) * 1000


def killed(daemon: Daemon) -> float:
    """Kill the manager, and return the milliseconds until metrics are answered."""
    before = daemon.manager
    begin = time.perf_counter()
    os.kill(before, signal.SIGKILL)
    until(lambda: daemon.manager != before and daemon.http("GET", "/metrics")[0] == 200, within=20)
    return (time.perf_counter() - begin) * 1000
