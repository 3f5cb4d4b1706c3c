"""What the kernel says of a process."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path


def switches(pid: int) -> int:
    """Return how often all threads of *pid* were switched away from: each wake-up is one."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        text = (task / "status").read_text()
        total += sum(int(count) for count in re.findall(r"ctxt_switches:\s+(\d+)", text))
    return total


def rollup(pid: int, field: str) -> float:
    """Return a field of smaps_rollup, such as Pss or Rss, in KiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(float(size) for size in re.findall(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE))


def children(pid: int) -> list[int]:
    """Return the children of *pid*."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def descendants(pid: int) -> list[str]:
    """Return the names of the programs that the descendants of *pid* have executed."""
    found: list[str] = []
    for child in _children_if_any(pid):
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{child}/comm").read_text().strip())
        found += descendants(child)
    return found


def _children_if_any(pid: int) -> list[int]:
    try:
        return children(pid)
    except OSError:
        return []


def processor_time(pid: int) -> float:
    """Return the seconds of processor time that *pid* has used, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
