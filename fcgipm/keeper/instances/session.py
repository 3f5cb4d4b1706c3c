"""The processes of an instance: its session, and descendants that have left it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

from fcgipm.linux import pidfd as pidfds
from fcgipm.linux import procfs

IsLeader: TypeAlias = Callable[[int], bool]
"""Tells whether a child of ours is one that we have started, rather than one that came to us as an orphan."""

_TELLS_CHILDREN: Final = procfs.tells_children()


@dataclass(frozen=True, slots=True)
class Process:
    """A process and a descriptor of it."""

    pid: int
    pidfd: int


def hold(stat: procfs.Stat) -> Process | None:
    """Return the process with a new descriptor of it; None if it has ended meanwhile."""
    return hold_started(stat.pid, stat.started)


def hold_started(pid: int, started: int) -> Process | None:
    """Return process *pid* with a new descriptor, if it is the one *started* then (clock ticks); None if it is not."""
    try:
        pidfd = pidfds.open_process(pid)
    except ProcessLookupError:
        return None
    try:
        if procfs.stat(pid).started == started:
            return Process(pid, pidfd)
    except (FileNotFoundError, ProcessLookupError):
        pass
    except BaseException:
        os.close(pidfd)
        raise
    os.close(pidfd)
    return None


def kill(stat: procfs.Stat) -> None:
    """Kill a process, if it is still that one; one that may not be killed is left."""
    process = hold(stat)
    if process is not None:
        try:
            with suppress(PermissionError):
                pidfds.send(process.pidfd, signal.SIGKILL)
        finally:
            os.close(process.pidfd)


def members(leader: int, is_leader: IsLeader | None = None) -> list[procfs.Stat]:
    """Return the processes of the session of *leader*, and their descendants wherever they are.

    The leader is among them as long as it has not been waited for.  A process that has left the session is missed
    if its parent has ended.

    With *is_leader* only our own descendants are looked at, which is cheap: as we are their subreaper, whoever belongs
    to the leader descends from it, or from an orphan among our children.  One look may miss a process while another
    is being reaped (see `procfs.children`), so where it matters take two.
    """
    if is_leader is None or not _TELLS_CHILDREN:
        return members_among((leader,), procfs.processes())
    # Orphans last: what loses its parent between the two looks is among them then.
    found = {stat.pid: stat for stat in _descendants((leader,))}
    found.update((stat.pid, stat) for stat in orphans(is_leader))
    return members_among((leader,), found.values())


def members_among(leaders: Collection[int], processes: Iterable[procfs.Stat]) -> list[procfs.Stat]:
    """Return those of *processes* that belong to one of *leaders*."""
    leaders = frozenset(leaders)
    found: dict[int, procfs.Stat] = {}
    children: dict[int, list[procfs.Stat]] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process)
        if process.session in leaders or process.pid in leaders:
            found[process.pid] = process
    waiting = list(found)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child.pid not in found:
                found[child.pid] = child
                waiting.append(child.pid)
    return list(found.values())


def orphans(is_leader: IsLeader) -> list[procfs.Stat]:
    """Return the processes that came to us because their parents have ended, and all their descendants.

    Children of instances that have ended are among them; they could serve for ever, and nobody would know.
    """
    if _TELLS_CHILDREN:
        return list(_descendants(pid for pid in procfs.children(os.getpid()) if not is_leader(pid)))
    processes = list(procfs.processes())
    heads = {stat.pid for stat in processes if stat.parent == os.getpid() and not is_leader(stat.pid)}
    return members_among(heads, processes) if heads else []


def _descendants(heads: Iterable[int]) -> Iterator[procfs.Stat]:
    """Yield the processes *heads* and all their descendants."""
    waiting = list(heads)
    known = set(waiting)
    while waiting:
        pid = waiting.pop()
        try:
            yield procfs.stat(pid)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        new = [child for child in procfs.children(pid) if child not in known]
        known.update(new)
        waiting += new
