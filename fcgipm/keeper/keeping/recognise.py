"""Which of the processes that a keeper has left are still there, and are those, beyond doubt.

A number is believed only where the machine was not started since, the process was started at the same moment and holds
the same socket.  Nobody else is sent anything, not even the signal that lets it go on.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from fcgipm.config.schema import MILLISECOND, SECOND
from fcgipm.keeper.instances import session
from fcgipm.keeper.instances.borrowed import as_owner
from fcgipm.keeper.instances.ended import end_of_other
from fcgipm.keeper.instances.session import Process
from fcgipm.keeper.keeping.state import KeptInstance, KeptListener, KeptProcess, KeptStray, State
from fcgipm.linux import pidfd as pidfds
from fcgipm.linux import procfs

_EXEC: Final = SECOND
"""How long those between fork and exec may take to it, or to their end: all together."""
_PAUSE: Final = 0.002
"""Seconds."""
_FAREWELL: Final = 2 * SECOND
"""How long the manager of the keeper before may take to end."""


@dataclass(frozen=True, slots=True)
class Survivor:
    """An instance that is still there."""

    kept: KeptInstance
    pidfd: int
    is_child: bool = False
    """Whether it is a child of this process, which has left the state itself, in another program."""


@dataclass(frozen=True, slots=True)
class Departed:
    """An instance that has ended meanwhile."""

    kept: KeptInstance
    end: pidfds.Ended


@dataclass(frozen=True, slots=True)
class Stray:
    """A process that has outlived its instance, *name*; *cut_at* where that was decided already."""

    process: Process
    started: int
    listener: int
    name: str
    cut_at: int | None


@dataclass(slots=True)
class Found:
    """What has become of all processes."""

    survivors: list[Survivor] = field(default_factory=list)
    departed: list[Departed] = field(default_factory=list)
    strays: list[Stray] = field(default_factory=list)
    doubtful: dict[int, str] = field(default_factory=dict)
    """By the number of the instance: why a process that may be it is left alone."""


class _Doubt(Exception):
    """It cannot be seen whether the process is the one that is meant."""


def find(state: State) -> Found:
    """Look for all processes of *state*, which is of this start of the machine; let go on what stands still."""
    found = Found()
    outlived: set[int] = set()
    """Sessions of which somebody else was, beyond doubt, than a leader that can be taken up."""
    processes = list(procfs.processes())
    sessions: dict[int, list[procfs.Stat]] = {}
    for stat in processes:
        sessions.setdefault(stat.session, []).append(stat)
    for kept in state.instances:
        try:
            pidfd = _recognised(KeptProcess(pid=kept.pid, start_time=kept.start_time), kept.listener)
        except _Doubt as doubt:
            found.doubtful[kept.number] = str(doubt)
            outlived |= {kept.pid} if _is_proved(kept, sessions.get(kept.pid, ())) else set()
            continue
        if pidfd is None:
            found.departed.append(Departed(kept, end_of_other(kept.pid, kept.start_time, None)))
            left = _others(kept, sessions.get(kept.pid, ()))
            found.strays += _left_behind(kept, left)
            outlived |= {kept.pid} if _has_output(kept, left) else set()
        else:
            found.survivors.append(Survivor(kept, pidfd))
    known = {stray.process.pid for stray in found.strays}
    found.strays += [
        stray for kept_stray in state.strays if (stray := _stray(kept_stray)) and stray.process.pid not in known
    ]
    _thaw({one.kept.pid for one in found.survivors} | outlived, found.strays, sessions, processes)
    _await_exec(found)
    return found


def find_children(state: State) -> Found:
    """Do what `find` does after this process itself has left *state*, in another program: nothing stands still then.

    Its children are those, beyond doubt.  Also who has ended meanwhile is still there, and is waited for like others.
    """
    found, others = Found(), []
    for kept in state.instances:
        try:
            stat = procfs.stat(kept.pid)
        except OSError:
            others.append(kept)
            continue
        if (stat.parent, stat.started) != (os.getpid(), kept.start_time):
            others.append(kept)
        elif kept.executed:  # else it was killed before: nobody is to hear of it
            found.survivors.append(Survivor(kept, pidfds.open_process(kept.pid), is_child=True))
    if others or state.strays:
        more = find(replace(state, instances=tuple(others)))
        found.survivors += more.survivors
        found.departed, found.strays, found.doubtful = more.departed, more.strays, more.doubtful
    return found


def await_end(manager: KeptProcess) -> bool:
    """Wait for the end of the manager of the keeper before, whose wire is closed; return whether it has come.

    While it lives it may hold a port that is to be bound.
    """
    try:
        process = session.hold_started(manager.pid, manager.start_time)
    except OSError:
        return True
    if process is None:
        return True
    try:
        return pidfds.has_ended(process.pidfd, _FAREWELL // MILLISECOND)
    except OSError:
        return True
    finally:
        os.close(process.pidfd)


def holds(pid: int, inode: int, kind: str = "socket") -> bool:
    """Return whether process *pid* has the socket, or another *kind*, *inode* open.

    Raises PermissionError where that cannot be seen.
    """

    def look() -> bool:
        return f"{kind}:[{inode}]" in procfs.descriptors(pid).values()

    try:
        return look()
    except PermissionError:
        told = as_owner(pid, lambda: "yes" if look() else "no")
        if told is None:
            raise
        return told == "yes"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _recognised(kept: KeptProcess, inode: int) -> int | None:
    """Return a descriptor of the process, None where it has ended; raise `_Doubt`."""
    try:
        pidfd = pidfds.open_process(kept.pid)
    except ProcessLookupError:
        return None
    except (OSError, OverflowError) as error:
        raise _Doubt(f"pid {kept.pid} cannot be looked at: {error}") from None
    try:
        stat = procfs.stat(kept.pid)
        if stat.started == kept.start_time and not pidfds.has_ended(pidfd):
            if holds(kept.pid, inode):
                return pidfd
            if not pidfds.has_ended(pidfd):
                raise _Doubt(f"pid {kept.pid} does not hold the socket that it was given")
    except PermissionError:
        os.close(pidfd)
        raise _Doubt(f"what pid {kept.pid} holds may not be looked at") from None
    except (FileNotFoundError, ProcessLookupError):
        pass
    except _Doubt:
        os.close(pidfd)
        raise
    os.close(pidfd)
    return None


def _others(kept: KeptInstance, members: Iterable[procfs.Stat]) -> list[procfs.Stat]:
    """Return who beside *kept* may be of its session, which has *members*, if it is that one."""
    return [
        stat for stat in members if stat.pid != kept.pid and stat.state not in "ZX" and stat.started >= kept.start_time
    ]


def _has_output(kept: KeptInstance, others: Iterable[procfs.Stat]) -> bool:
    """Return whether any of the *others* has an output of *kept*, which also proves it; they need not serve."""
    for stat in others:
        with contextlib.suppress(OSError):
            if any(holds(stat.pid, inode, "pipe") for inode in (kept.stdout, kept.stderr)):
                return True
    return False


def _is_proved(kept: KeptInstance, members: Iterable[procfs.Stat]) -> bool:
    """Return whether the session with *members* is that of *kept*, whose leader has closed the socket it was given.

    Another one of it that has that socket proves it, or anybody who has an output that only *kept* was given.
    """
    others = _others(kept, members)
    leader = [stat for stat in members if stat.pid == kept.pid and stat.started == kept.start_time]
    if _has_output(kept, [*leader, *others]):
        return True
    for stat in others:
        with contextlib.suppress(OSError):
            if holds(stat.pid, kept.listener):
                return True
    return False


def _left_behind(kept: KeptInstance, others: Iterable[procfs.Stat]) -> list[Stray]:
    """Return who is left of the session of *kept*, if it is that one: a socket that only it was given proves it."""
    strays = []
    for stat in others:
        with contextlib.suppress(OSError):
            process = session.hold(stat) if holds(stat.pid, kept.listener) else None
            if process is not None:
                strays.append(Stray(process, stat.started, kept.listener, f"{kept.app}/{kept.number}", None))
    return strays


def _stray(kept: KeptStray) -> Stray | None:
    try:
        pidfd = _recognised(KeptProcess(pid=kept.pid, start_time=kept.start_time), kept.listener)
    except _Doubt:
        return None
    if pidfd is None:
        return None
    return Stray(Process(kept.pid, pidfd), kept.start_time, kept.listener, kept.name, kept.cut_at)


def _thaw(
    leaders: set[int], strays: list[Stray], sessions: dict[int, list[procfs.Stat]], processes: list[procfs.Stat]
) -> None:
    """Let everybody go on: the keeper may have ended while it looked at them."""
    members = session.members_among(leaders, processes) if leaders else []
    for stray in strays:
        with contextlib.suppress(OSError):
            # With one of it known, all of the session are.
            members += sessions.get(procfs.stat(stray.process.pid).session, ())
    for stat in {stat.pid: stat for stat in members}.values():
        process = session.hold(stat)
        if process is not None:
            with contextlib.suppress(PermissionError):
                pidfds.send(process.pidfd, signal.SIGCONT)
            os.close(process.pidfd)


def _await_exec(found: Found) -> None:
    """Wait until nobody is a copy of the keeper any more: who has not been let go on ends, the others execute."""
    deadline = time.monotonic_ns() + _EXEC
    waiting = [one for one in found.survivors if not one.kept.executed]
    while waiting and time.monotonic_ns() < deadline:
        for one in list(waiting):
            if pidfds.has_ended(one.pidfd):
                found.survivors.remove(one)
                found.departed.append(Departed(one.kept, end_of_other(one.kept.pid, one.kept.start_time, one.pidfd)))
                os.close(one.pidfd)
                waiting.remove(one)
            elif _has_executed(one.kept.pid):
                waiting.remove(one)
        if waiting:
            select.select((), (), (), _PAUSE)  # bounded by the limit, before there is a loop


def _has_executed(pid: int) -> bool:
    try:
        return procfs.stat(pid).executed
    except OSError:
        return False  # it has just ended


def holders(found: Found, kept: KeptListener) -> list[Process]:
    """Return who has the listener *kept*."""
    leaders = [Process(one.kept.pid, one.pidfd) for one in found.survivors if one.kept.listener == kept.inode]
    return leaders + [stray.process for stray in found.strays if stray.listener == kept.inode]
