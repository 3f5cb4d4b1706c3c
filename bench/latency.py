"""How much longer visitors wait while their application is being reloaded."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

from chaos.kinds import kind_of
from chaos.load import Crowd, Tally
from chaos.scene import crowd_at
from harness.daemon import Daemon

from bench.table import Row

CROWDS = {"50 visitors, who come again at once": (50, 0.0), "8 visitors, who pause 50 ms": (8, 0.05)}
"""How many there are, and their pauses in seconds."""
ROUNDS = 12
WORK = 5_000
"""Microseconds that a request takes."""


def measure(place: Path) -> Iterator[Row]:
    """Yield the 99th percentiles of latency, second by second: with a reload in it, and without."""
    kind = kind_of("libfcgi", place)
    daemon = Daemon(place, kind.table(processes=4, environment={"WORK": str(WORK)}))
    try:
        daemon.wait_running()
        for who, (clients, pause) in CROWDS.items():
            ways = {"directly": ("fcgi", str(daemon.socket("app")))}
            with crowd_at(place, ways, clients=clients, pause=pause) as crowd:
                rounds = [(slowest(crowd, nothing), slowest(crowd, lambda: reload(daemon))) for _ in range(ROUNDS)]
            assert not crowd.seen().failed, crowd.failures
            yield Row(
                what=f"p99 latency in a second with a reload, {who}, {WORK // 1000} ms each",
                ours=median(during for _, during in rounds),
                unit="ms",
                bound=2,
                of_ratio=True,
                peer="without",
                theirs=median(quiet for quiet, _ in rounds),
                ratios=tuple(during / quiet for quiet, during in rounds),
            )
    finally:
        daemon.stop()


def slowest(crowd: Crowd, act: Callable[[], object]) -> float:
    """Return the milliseconds within which 99 of 100 were answered in the second that begins with *act*."""
    before = crowd.seen()
    act()
    select.select([], [], [], 1)
    return between(before, crowd.seen()).quantile(0.99) * 1000


def between(before: Tally, after: Tally) -> Tally:
    """Return what came between two looks."""
    return replace(after, waits=tuple(late - early for early, late in zip(before.waits, after.waits, strict=True)))


def nothing() -> None:
    """Leave the application alone."""


def reload(daemon: Daemon) -> None:
    """Reload the application."""
    done = daemon.ctl("reload", "app")
    assert done.returncode == 0, done.stderr
