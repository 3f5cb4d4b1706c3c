"""Remove an instance without losing a request: freeze it, look, then kill it or let it go on.

Only what is frozen can be judged: between a look at a running process and its death it may accept a visitor.  The
whole session is frozen and looked at, because threads, and children as php-cgi makes them, accept by themselves.
Each function here is one attempt and takes at most about a quarter of a second.
"""

from __future__ import annotations

import enum
import os
import select
import signal
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Self

from fcgipm.config.schema import MILLISECOND
from fcgipm.keeper.instances import session
from fcgipm.keeper.instances.session import IsLeader, Process
from fcgipm.keeper.instances.use import Use, connections_of, serves_already, use_of
from fcgipm.linux import pidfd as pidfds
from fcgipm.linux import procfs
from fcgipm.linux.sock_diag import Diag, Endpoint

FREEZE_LIMIT: Final = 250 * MILLISECOND
"""How long an instance may be on its way to standing still: a vfork never gets there."""
_PAUSE: Final = 0.0002
"""Seconds between two scans."""
_STILL: Final = "TtZX"
_MAX_KILL_ROUNDS: Final = 20


class Result(enum.Enum):
    """What became of an attempt; the values are those of `core.events.Removal` and `core.events.Refusal`."""

    KILLED = "killed"
    ASKED = "asked"
    BUSY = "busy"
    QUEUE = "queue"
    UNSTOPPABLE = "unstoppable"
    LOCK = "lock"
    GONE = "gone"

    @property
    def removed(self) -> bool:
        """Whether the instance is going, rather than spared."""
        return self in {Result.KILLED, Result.ASKED}


def try_removal(
    leader: Process,
    endpoint: Endpoint,
    *,
    published: bool,
    last: bool,
    asked: bool,
    stop_signal: int,
    is_leader: IsLeader | None = None,
) -> Result:
    """Try once to remove the instance *leader* without loss; its end, if it comes, is for the caller to wait for.

    An idle instance of a *published* listener (TCP always is) is killed.  One of an unpublished listener is sent
    *stop_signal* first, and killed when it was *asked* already.  While somebody waits in the queue of an unpublished
    listener, its *last* instance is spared, and another is not asked but killed: it could take a visitor on its way
    out.  What visibly serves somebody is not even stopped.  For *is_leader* see `session.members`.

    Raises OSError where /proc or the kernel's socket tables cannot be read; the instance goes on then.
    """
    found = session.members(leader.pid, is_leader)
    pids = {process.pid for process in found}
    with Diag() as diag, _Frozen(leader, is_leader) as frozen:
        if serves_already(pids, endpoint, diag):
            return Result.BUSY
        if _holds_awaited_lock(pids):
            return Result.LOCK
        if not frozen.freeze(found):
            return Result.GONE if pidfds.has_ended(leader.pidfd) else Result.UNSTOPPABLE
        use = use_of(leader.pid, frozen.pids(), endpoint, diag)
        if use is Use.BUSY:
            return Result.BUSY
        queue = None if published else diag.queue(endpoint)
        waiting = queue is not None and queue.waiting > 0
        if waiting and last:
            return Result.QUEUE
        if use is Use.HIDDEN and (published or asked or waiting or diag.accepted(endpoint)):
            return Result.BUSY  # what cannot be seen is taken for a visitor
        if not published and not asked and not waiting:
            frozen.send(stop_signal)
            return Result.ASKED
        frozen.kill()
        return Result.KILLED


def cut(leader: Process, endpoint: Endpoint, is_leader: IsLeader | None = None) -> int:
    """Kill the whole instance, whatever it does; return how many accepted connections it held, as far as is seen."""
    connections = 0
    with _Frozen(leader, is_leader) as frozen:
        # If it cannot be frozen or looked at, it is killed all the same, as far as it can be.
        with suppress(OSError):
            frozen.freeze(frozen.look())
            connections = connections_of(leader.pid, frozen.pids(), endpoint)
        with suppress(OSError):
            frozen.kill()
    return connections


@dataclass(slots=True)
class _Member:
    started: int
    pidfd: int

    def send(self, number: int) -> bool:
        """Send signal *number*; return False where that is refused (a setuid program, seen by an ordinary user)."""
        try:
            pidfds.send(self.pidfd, number)
        except PermissionError:
            return False
        return True


@dataclass(slots=True)
class _Frozen:
    """The members of an instance, from the first stop to the kill or to going on.

    Leaving the context continues everything that was stopped, whatever went wrong in between.
    """

    leader: Process
    is_leader: IsLeader | None
    members: dict[int, _Member] = field(default_factory=dict)
    complete: bool = False
    """Whether all stand still, and nobody else is left."""
    refused: bool = False
    """Whether some member cannot be sent signals."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A stopped process that was killed dies all the same; one that was asked gets its signal when it goes on.
        self.send(signal.SIGCONT)
        for member in self.members.values():
            os.close(member.pidfd)
        self.members.clear()

    def pids(self) -> list[int]:
        return list(self.members)

    def look(self) -> list[procfs.Stat]:
        """Return the members as they are now."""
        return session.members(self.leader.pid, self.is_leader)

    def freeze(self, found: Iterable[procfs.Stat]) -> bool:
        """Stop *found* and all others; return False if the leader has ended or something does not stop in time."""
        deadline = time.monotonic_ns() + FREEZE_LIMIT
        self._stop_new(found)
        while not self.refused and not pidfds.has_ended(self.leader.pidfd):
            # What stands still makes nothing new (a fork that was under way when the stop arrived starts over after
            # it): when all that are known stand still and a scan shows nobody else, there is nobody else.
            if self._all_still():
                # The cheap look can miss somebody once, while an unknown sibling of his is being reaped.
                self.complete = not self._stop_new(self.look()) and (
                    self.is_leader is None or not self._stop_new(self.look())
                )
            if self.complete:
                return True
            if time.monotonic_ns() > deadline:
                break
            select.select((), (), (), _PAUSE)  # bounded by the limit: the instance must not stand for longer
        return False

    def send(self, number: int) -> None:
        """Send *number* to every member, the leader last."""
        for pid in sorted(self.members, key=lambda pid: pid == self.leader.pid):
            self.members[pid].send(number)

    def kill(self) -> None:
        """Kill every member, the leader last; what could not be frozen, again until nothing new is found.

        Were the leader first, stopped members in another process group would be sent SIGHUP and SIGCONT, and run.
        """
        try:
            for _ in range(_MAX_KILL_ROUNDS):
                for pid, member in self.members.items():
                    if pid != self.leader.pid:
                        member.send(signal.SIGKILL)
                if self.complete or not self._stop_new(self.look()):
                    break
        finally:
            pidfds.send(self.leader.pidfd, signal.SIGKILL)

    def _stop_new(self, stats: Iterable[procfs.Stat]) -> bool:
        """Stop those of the members *stats* that are not known yet; return whether there were any."""
        found = False
        for stat in stats:
            known = self.members.get(stat.pid)
            if known is not None and known.started == stat.started:
                continue
            process = session.hold(stat)
            if process is not None:
                if known is not None:
                    os.close(known.pidfd)
                member = self.members[stat.pid] = _Member(stat.started, process.pidfd)
                found = True
                self.refused = not member.send(signal.SIGSTOP) or self.refused
        return found

    def _all_still(self) -> bool:
        return all(_is_still(pid) for pid in self.members)


def _is_still(pid: int) -> bool:
    try:
        return all(procfs.task_state(pid, task) in _STILL for task in procfs.tasks(pid))
    except (FileNotFoundError, ProcessLookupError):
        return True  # it, or a thread of it, has ended


def _holds_awaited_lock(pids: Collection[int]) -> bool:
    """Return whether one of *pids* holds a file lock that somebody else waits for: he would stand still too."""
    try:
        waits = procfs.awaited_locks()
    except FileNotFoundError:
        return False  # a kernel without file locks
    return any(holder in pids and waiter not in pids for holder, waiter in waits)
