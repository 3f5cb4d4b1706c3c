"""Fixtures of the faults: how many of them, how many tests at a time, and the table of what they have shown.

``CHAOS=full`` asks for the full size, with CHAOS_SECONDS for no more time than that in each test. What was seen is in
the table, which goes to the file CHAOS_TABLE.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos.load import Crowd
from chaos.scene import Scene

FULL = os.environ.get("CHAOS") == "full"
collect_ignore = [] if FULL else ["test_peers.py"]
"""Others are measured by `make chaos` alone: only that needs them."""
AT_ONCE = 2
"""Tests that burden the machine at the same time; the others wait."""
TIME_BOX = float(os.environ.get("CHAOS_SECONDS", "inf"))
"""Seconds that the faults of one test may take at full size."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this directory time: some wait for others, all for a machine that is busy with them."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(2 * 60 * 60 if FULL else 300))


@pytest.fixture(autouse=True)
def _few_at_a_time(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Wait until fewer than AT_ONCE others are at work, also in the other processes of this run."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    with (shared / f"chaos{number % AT_ONCE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Rounds:
    """How often a fault is to happen, and how often it did."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self, small: int, full: int) -> Iterator[int]:
        """Yield the number of each round, as many as there are at this size, until the time is over."""
        end = time.monotonic() + TIME_BOX
        for number in range(full if FULL else small):
            if time.monotonic() > end:
                return
            yield number
            self.done += 1


@pytest.fixture
def rounds() -> Rounds:
    """Give the rounds of one test."""
    return Rounds()


Record = Callable[..., None]


@pytest.fixture
def record() -> Record:
    """Give a function (fault, who, what, times, crowd, **more) that writes a line of the table.

    *who* had the *fault* so many *times*, with an application of the kind *what*; *more* are further columns.
    """

    def write(fault: str, who: str, what: str, times: int, crowd: Crowd, **more: Any) -> None:
        path = os.environ.get("CHAOS_TABLE")
        if not path:
            return
        seen = crowd.seen()
        line = {
            "fault": fault, "who": who, "what": what, "times": times, "sent": seen.sent, "answered": seen.answered,
            "refused": seen.refused, "broken": seen.broken, "longest": seen.longest, **more,
        }  # fmt: skip
        with Path(path).open("a") as file:
            file.write(json.dumps(line) + "\n")

    return write


@pytest.fixture
def scene(start_daemon: Callable[..., Any], place: Path) -> Iterator[Callable[..., Scene]]:
    """Give a function (kind, tcp=False, **keys of the table) that starts a daemon with one application."""
    started: list[Scene] = []

    def start(*words: Any, **keys: Any) -> Scene:
        started.append(Scene(keys.pop("start_daemon", start_daemon), place, *words, **keys))
        return started[-1]

    yield start
    for each in started:
        each.end()
