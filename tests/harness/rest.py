"""Processes at rest: they sleep, and nothing wakes them."""

from __future__ import annotations

import contextlib
import select
from pathlib import Path

from harness.waiting import until


def switches(pid: int) -> int:
    """Return how often the threads of a process have waited for something, or had to let others run."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            total += sum(int(line.split()[1]) for line in status.read_text().splitlines() if "_ctxt_" in line)
    return total


def at_rest(*pids: int, seconds: float, within: float = 30) -> None:
    """Wait until none of the processes *pids* has woken for *seconds* on end.

    When the last of what was under way is done, is the machine's affair; who wakes without cause does so again and
    again, and then this raises AssertionError after *within* seconds.
    """

    def rested() -> bool:
        before = [switches(pid) for pid in pids]
        assert all(before), "one of them has ended"
        select.select([], [], [], seconds)  # what does not happen cannot be waited for
        return [switches(pid) for pid in pids] == before

    until(rested, within=within, what=f"{seconds:g} s in which nothing wakes {pids}")
