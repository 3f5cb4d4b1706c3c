"""What a test must not leave behind: processes and sockets that belong to a directory."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.waiting import ended

_DYING = 2
"""Seconds that a killed process may take until it has ended, on a machine that is busy with others."""


def processes() -> Iterator[int]:
    """Yield the ids of all processes."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def parent_and_start(pid: int) -> tuple[int, int] | None:
    """Return the parent and the start time (clock ticks) of *pid*; None if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else (int(fields[1]), int(fields[19]))


def descendants(root: int) -> set[tuple[int, int]]:
    """Return (pid, start time) of *root* and all that came from it and still hangs together."""
    known = {pid: facts for pid in processes() if (facts := parent_and_start(pid)) is not None}
    if root not in known:
        return set()
    family = {root}
    while more := {pid for pid, (parent, _) in known.items() if parent in family and pid not in family}:
        family |= more
    return {(pid, known[pid][1]) for pid in family}


def alive(identity: tuple[int, int]) -> bool:
    """Say whether the process (pid, start time) still lives."""
    facts = parent_and_start(identity[0])
    return facts is not None and facts[1] == identity[1]


def bound_sockets(directory: str) -> dict[int, str]:
    """Return the inode and path of each Unix socket that was bound below *directory* and still exists."""
    found = {}
    for line in Path("/proc/net/unix").read_text(errors="surrogateescape").splitlines()[1:]:
        columns = line.split(maxsplit=7)
        if len(columns) == 8 and columns[7].startswith(f"{directory}/"):
            found[int(columns[6])] = columns[7]
    return found


def holders(directory: str) -> dict[int, str]:
    """Return the processes that belong to *directory* and why: a socket of it, their program, arguments or cwd."""
    inodes = {f"socket:[{inode}]": path for inode, path in bound_sockets(directory).items()}
    found = {}
    for pid in processes():
        if pid != os.getpid() and (reason := _reason(pid, directory, inodes)):
            found[pid] = reason
    return found


def _reason(pid: int, directory: str, inodes: dict[str, str]) -> str | None:
    base = Path(f"/proc/{pid}")
    with contextlib.suppress(OSError):
        words = (base / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        if f"{directory}/" in words and " -m pytest" not in words:
            return words
        if os.readlink(base / "cwd").startswith(directory):
            return f"works in {directory}: {words}"
        for descriptor in os.listdir(base / "fd"):
            with contextlib.suppress(OSError):
                link = os.readlink(base / "fd" / descriptor)
                if link in inodes:
                    return f"holds {inodes[link]}: {words}"
    return None


def stay(look: Callable[[], dict[int, str]]) -> dict[int, str]:
    """Return what *look* finds for longer than killed processes take to die: those end when they run the next time."""
    deadline = time.monotonic() + _DYING
    while (found := look()) and time.monotonic() < deadline:
        select.select([], [], [], 0.01)
    return found


def end_all(pids: dict[int, str]) -> None:
    """Kill what was left, so that one bad test does not spoil the next."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    for pid in pids:
        ended(pid)
