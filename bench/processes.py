"""What the kernel says of a process."""

from __future__ import annotations

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
