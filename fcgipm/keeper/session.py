"""The processes of an instance: its session, and descendants that have left it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fcgipm.linux import procfs


@dataclass(frozen=True, slots=True)
class Process:
    """A process and a descriptor of it."""

    pid: int
    pidfd: int


def members(leader: int) -> list[procfs.Stat]:
    """Return the processes of the session of *leader*, and their descendants wherever they are.

    The leader is among them as long as it has not been waited for.  A process that has left the session is missed
    if its parent has ended.
    """
    return members_among(leader, procfs.processes())


def members_among(leader: int, processes: Iterable[procfs.Stat]) -> list[procfs.Stat]:
    """Return those of *processes* that belong to *leader*."""
    found: dict[int, procfs.Stat] = {}
    children: dict[int, list[procfs.Stat]] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process)
        if leader in {process.session, process.pid}:
            found[process.pid] = process
    waiting = list(found)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child.pid not in found:
                found[child.pid] = child
                waiting.append(child.pid)
    return list(found.values())


def strays(inode: int, leaders: Iterable[int]) -> list[int]:
    """Return the processes that serve on the listener *inode* (as their fd 0) and belong to none of *leaders*.

    Such are the children of instances that have ended, which would serve for ever, and nobody would know.
    """
    processes = list(procfs.processes())
    known = {process.pid for leader in leaders for process in members_among(leader, processes)}
    return [pid for pid in procfs.holders_of(inode) if pid not in known]
