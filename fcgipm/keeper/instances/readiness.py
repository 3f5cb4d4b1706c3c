"""See that an instance is ready without its help: it waits for its listener, or already serves."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fcgipm.config.schema import MILLISECOND
from fcgipm.keeper.instances import session
from fcgipm.keeper.instances.borrowed import as_owner
from fcgipm.keeper.instances.use import serves_already, sockets_of, unseen_among
from fcgipm.linux import procfs
from fcgipm.linux.sock_diag import Diag, Endpoint

LONGEST_INTERVAL: Final = 50 * MILLISECOND
"""Between two looks; they begin at 1 ms and double."""

_MAX_POLLED: Final = 1 << 16
"""A larger count is not that of a poll."""


class Look(enum.Enum):
    """What one look at an instance showed."""

    ACCEPTING = "accepting"
    """Some task of it waits for a connection of the listener."""
    SERVING = "serving"
    """It holds an accepted connection."""
    ASLEEP = "asleep"
    """All tasks of it wait, for something else."""
    RUNNING = "running"
    """Some task of it computes."""
    UNKNOWN = "unknown"
    """We have no right to see what it waits for."""
    GONE = "gone"
    """It has ended."""


class _Wait(enum.Enum):
    """What a system call waits for, and so where its descriptors are."""

    ACCEPT = enum.auto()
    POLL = enum.auto()
    SELECT = enum.auto()
    EPOLL = enum.auto()
    RESTART = enum.auto()
    """Continued after a stop; the arguments are those of the first call."""


_CALLS: Final[Mapping[str, Mapping[int, _Wait]]] = {
    "x86_64": {
        43: _Wait.ACCEPT,  # accept
        288: _Wait.ACCEPT,  # accept4
        7: _Wait.POLL,
        271: _Wait.POLL,  # ppoll
        23: _Wait.SELECT,
        270: _Wait.SELECT,  # pselect6
        232: _Wait.EPOLL,  # epoll_wait
        281: _Wait.EPOLL,  # epoll_pwait
        441: _Wait.EPOLL,  # epoll_pwait2
        219: _Wait.RESTART,  # restart_syscall
    },
    "aarch64": {
        202: _Wait.ACCEPT,
        242: _Wait.ACCEPT,
        73: _Wait.POLL,
        72: _Wait.SELECT,
        22: _Wait.EPOLL,
        441: _Wait.EPOLL,
        128: _Wait.RESTART,
    },
}
_WAITS: Final = _CALLS.get(os.uname().machine, {})
"""Empty on an unknown machine: there an instance is seen serving, or assumed to be ready."""


@dataclass(slots=True)
class Watch:
    """The looks at one starting instance; times are nanoseconds of the monotonic clock.

    Call `look`, and `step` with what it showed, when *next_look* is reached.
    """

    started: int
    ready_timeout: int
    """Nanoseconds."""
    next_look: int = 0
    interval: int = MILLISECOND
    asleep_since: int | None = None

    def __post_init__(self) -> None:
        self.next_look = self.started + self.interval

    def step(self, now: int, seen: Look) -> str | None:
        """Return how it is known that the instance is ready (`core.events.Readiness`), None: look again."""
        if seen in {Look.ACCEPTING, Look.SERVING}:
            return str(seen.value)
        if seen in {Look.ASLEEP, Look.UNKNOWN}:
            if self.asleep_since is None:
                self.asleep_since = now
            elif now - self.asleep_since >= self.ready_timeout:
                return "assumed"
        else:
            self.asleep_since = None
        self.interval = min(2 * self.interval, LONGEST_INTERVAL)
        self.next_look = now + self.interval
        return None


def look(
    pid: int,
    endpoint: Endpoint,
    *,
    among: Sequence[procfs.Stat] | None = None,
    is_leader: session.IsLeader | None = None,
) -> Look:
    """Look once at all tasks of all processes of the instance *pid*, whose fd 0 is *endpoint*.

    Whoever looks at many instances gives all processes (*among*), so that /proc is read through once for all; for a
    single one *is_leader* makes that needless, as in `session.members`: it takes the processor from the very instance.
    """
    members = session.members(pid, is_leader) if among is None else session.members_among((pid,), among)
    processes = [process.pid for process in members if _lives(process)]
    if not processes:
        return Look.GONE
    seen = _look_at_all(processes, endpoint)
    if seen is Look.UNKNOWN:
        told = as_owner(pid, lambda: str(_look_at_all(processes, endpoint).value))
        return seen if told is None else Look(told)
    return seen


def _look_at_all(processes: list[int], endpoint: Endpoint) -> Look:
    seen = [_look_at_process(process, endpoint) for process in processes]
    if Look.ACCEPTING in seen:
        return Look.ACCEPTING
    if _serves(processes, endpoint):
        return Look.SERVING
    for result in (Look.UNKNOWN, Look.RUNNING):
        if result in seen:
            return result
    return Look.ASLEEP


def _lives(process: procfs.Stat) -> bool:
    try:
        return process.state not in "ZX" or procfs.living_task(process.pid) is not None
    except OSError:
        return False


def _look_at_process(pid: int, endpoint: Endpoint) -> Look:
    result = Look.ASLEEP
    try:
        tasks = procfs.tasks(pid)
    except OSError:
        return Look.RUNNING  # it has just ended
    for task in tasks:
        try:
            if procfs.task_state(pid, task) in "ZX":
                continue
            call = procfs.call(pid, task)
            if call is not None and _waits_for(pid, task, call, endpoint):
                return Look.ACCEPTING
            if call is None and procfs.task_state(pid, task) == "R":
                result = Look.RUNNING
        except PermissionError:
            return Look.UNKNOWN
        except OSError:
            result = Look.RUNNING  # the task, or the memory that its arguments point to, is gone: it moves
    return result


def _waits_for(pid: int, task: int, call: procfs.Call, endpoint: Endpoint) -> bool:
    wait = _WAITS.get(call.number)
    first, second = call.arguments[0], call.arguments[1]
    if wait is _Wait.RESTART and b"poll" in procfs.wait_channel(pid, task):
        wait = _Wait.POLL  # nothing else that is restarted reads descriptors
    match wait:
        case _Wait.ACCEPT:
            numbers = {first & 0xFFFFFFFF}
        case _Wait.EPOLL:
            return endpoint.inode in procfs.watched_for_input(pid, task, first & 0xFFFFFFFF)
        case _Wait.POLL if second <= _MAX_POLLED:
            numbers = procfs.polled_for_input(pid, first, second)
        case _Wait.SELECT if first <= _MAX_POLLED:
            numbers = procfs.selected(pid, second, first)
        case _:
            return False
    return any(procfs.socket_inode(procfs.descriptor(pid, task, number)) == endpoint.inode for number in numbers)


def _serves(pids: list[int], endpoint: Endpoint) -> bool:
    try:
        if not sockets_of(pids)[0].keys() - {endpoint.inode}:
            return False  # they hold nothing but the listener: the kernel's tables, which may be long, say no more
        with Diag() as diag:
            return serves_already(pids, endpoint, diag) or bool(unseen_among(pids, endpoint, diag)[0])
    except OSError:
        return False
