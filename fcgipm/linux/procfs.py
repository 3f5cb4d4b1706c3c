"""What /proc tells about processes, typed.

Every function may raise ProcessLookupError or FileNotFoundError for a process that has ended, and PermissionError
where the kernel refuses: looking into descriptors needs the right to trace the process.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_PIECE: Final = 64 * 1024
_FORKED_ONLY: Final = 0x40
"""PF_FORKNOEXEC."""


@dataclass(frozen=True, slots=True)
class Stat:
    """One line of /proc/PID/stat: *state* is a letter (R S D T t Z X), *started* the start time in clock ticks."""

    pid: int
    state: str
    parent: int
    session: int
    started: int
    executed: bool = True
    """Whether it has executed anything since it was forked."""


@dataclass(frozen=True, slots=True)
class Call:
    """The system call that a task is blocked in: its number and its six arguments."""

    number: int
    arguments: tuple[int, ...]


def read(path: str) -> bytes:
    """Return the whole content of a file in /proc."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(descriptor, _PIECE):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)


def status_bits(*names: bytes) -> int:
    """Return the signal masks *names* (``SigIgn``) of this process, or-ed together: bit 0 is signal 1."""
    text, bits = read("/proc/self/status"), 0
    for name in names:
        begin = text.index(b"\n%s:" % name) + len(name) + 2
        bits |= int(text[begin : text.index(b"\n", begin)], 16)
    return bits


def oom_score_adjust() -> int:
    """Return how much more (or less) likely this process is to be killed when memory is short."""
    return int(read("/proc/self/oom_score_adj"))


def adjust_oom_score(value: int) -> None:
    """Set what `oom_score_adjust` returns; less than before takes the right to do so."""
    descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, b"%d" % value)
    finally:
        os.close(descriptor)


def owner(pid: int) -> tuple[int, int]:
    """Return the real uid and gid of process *pid*."""
    ids = {}
    for line in read(f"/proc/{pid}/status").split(b"\n"):
        name, _, value = line.partition(b":")
        if name in {b"Uid", b"Gid"}:
            ids[name] = int(value.split()[0])
    return ids[b"Uid"], ids[b"Gid"]


def pids() -> list[int]:
    """Return the numbers of all processes that can be seen."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def stat(pid: int) -> Stat:
    """Return what /proc says about process *pid*."""
    return _parsed(pid, read(f"/proc/{pid}/stat"))


def processes() -> Iterator[Stat]:
    """Yield all processes that can be seen; what ends meanwhile, or is hidden (hidepid), is left out."""
    for pid in pids():
        try:
            found = stat(pid)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        yield found


def exit_status(pid: int, started: int) -> int | None:
    """Return the wait status of process *pid*, started then, that has ended and is not waited for yet; else None."""
    line = read(f"/proc/{pid}/stat")
    found = _parsed(pid, line)
    if found.state != "Z" or found.started != started:
        return None
    return int(line.split()[-1])


def tasks(pid: int) -> list[int]:
    """Return the numbers of the threads of process *pid*."""
    return [int(name) for name in os.listdir(f"/proc/{pid}/task")]


def tells_children() -> bool:
    """Return whether the kernel has the files that `children` needs."""
    return os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def children(pid: int) -> list[int]:
    """Return the children of process *pid*, of all its threads; a process that has ended has none.

    Exact only while none of its children is reaped.  It costs little, however many processes there are.
    """
    found: list[int] = []
    try:
        for task in tasks(pid):
            found += map(int, read(f"/proc/{pid}/task/{task}/children").split())
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def task_state(pid: int, task: int) -> str:
    """Return the state letter of one thread."""
    return _parsed(task, read(f"/proc/{pid}/task/{task}/stat")).state


def living_task(pid: int) -> int | None:
    """Return a thread of process *pid* that lives, the main one if it does; None for a process that has ended.

    A process goes on when its main thread has ended, but /proc/PID/fd is empty then.
    """
    if stat(pid).state not in "ZX":
        return pid
    for task in tasks(pid):
        try:
            if task_state(pid, task) not in "ZX":
                return task
        except (FileNotFoundError, ProcessLookupError):
            continue
    return None


def descriptors(pid: int) -> dict[int, str]:
    """Return the open descriptors of process *pid* and what they are: ``socket:[4711]``."""
    task = living_task(pid)
    if task is None:
        return {}
    directory = f"/proc/{pid}/task/{task}/fd"
    found = {}
    for name in os.listdir(directory):
        try:
            found[int(name)] = os.readlink(f"{directory}/{name}")
        except FileNotFoundError:
            continue  # closed meanwhile
    return found


def descriptor(pid: int, task: int, number: int) -> str | None:
    """Return what descriptor *number* of a thread of process *pid* is; None where it has none."""
    try:
        return os.readlink(f"/proc/{pid}/task/{task}/fd/{number}")
    except FileNotFoundError:
        return None


def socket_at_input(pid: int) -> int | None:
    """Return the inode of the socket that process *pid* has as its fd 0, as FastCGI applications are given theirs.

    None where it has none there, or that may not be looked at.
    """
    try:
        return socket_inode(descriptor(pid, pid, 0))
    except OSError:
        return None


def socket_inode(link: str | None) -> int | None:
    """Return the inode of a socket's link ``socket:[4711]``; None for anything else."""
    if link is None or not link.startswith("socket:["):
        return None
    return int(link[8:-1])


def watched_for_input(pid: int, task: int, number: int) -> set[int]:
    """Return the inodes that the epoll descriptor *number* watches for EPOLLIN."""
    found = set()
    for line in read(f"/proc/{pid}/task/{task}/fdinfo/{number}").split(b"\n"):
        if line.startswith(b"tfd:"):
            words = line.replace(b":", b": ").split()
            fields = dict(zip(words[::2], words[1::2], strict=False))
            if int(fields[b"events:"], 16) & 1:
                found.add(int(fields[b"ino:"], 16))
    return found


def call(pid: int, task: int) -> Call | None:
    """Return the call that a thread is blocked in; None where it runs or is outside any call."""
    words = read(f"/proc/{pid}/task/{task}/syscall").split()
    if len(words) < 7 or words[0].startswith(b"-"):
        return None
    return Call(int(words[0]), tuple(int(word, 16) for word in words[1:7]))


def wait_channel(pid: int, task: int) -> bytes:
    """Return the kernel function that a thread sleeps in; ``0`` where it does not sleep, or where that is refused."""
    return read(f"/proc/{pid}/task/{task}/wchan")


def memory(pid: int, address: int, length: int) -> bytes:
    """Return *length* bytes at *address* of process *pid*; raise OSError (EIO) where nothing is."""
    handle = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(handle, length, address)
    finally:
        os.close(handle)


def polled_for_input(pid: int, address: int, count: int) -> set[int]:
    """Return the descriptors that an array of *count* pollfd structures names with POLLIN."""
    raw = memory(pid, address, 8 * count)
    return {number for number, events, _ in struct.iter_unpack("=ihh", raw[: len(raw) & ~7]) if events & 1}


def selected(pid: int, address: int, count: int) -> set[int]:
    """Return the descriptors below *count* that are in the fd_set at *address*."""
    if not address:
        return set()
    bits = int.from_bytes(memory(pid, address, (count + 7) // 8), "little")
    return {number for number in range(count) if bits >> number & 1}


def awaited_locks() -> list[tuple[int, int]]:
    """Return (holder, waiter) of each file lock that somebody waits for; a pid is 0 or -1 where it is unknown."""
    holders: dict[bytes, int] = {}
    waits = []
    for line in read("/proc/locks").split(b"\n"):
        words = line.split()
        if len(words) > 5 and words[1] == b"->":
            waits.append((words[0], int(words[5])))
        elif len(words) > 4:
            holders[words[0]] = int(words[4])
    return [(holders[lock], waiter) for lock, waiter in waits if lock in holders]


def _parsed(pid: int, line: bytes) -> Stat:
    # The name, in parentheses, may contain anything, parentheses and line feeds too.
    words = line[line.rindex(b")") + 2 :].split()
    executed = not int(words[6]) & _FORKED_ONLY
    return Stat(pid, chr(words[0][0]), int(words[1]), int(words[3]), int(words[19]), executed)
