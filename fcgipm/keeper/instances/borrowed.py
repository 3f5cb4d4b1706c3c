"""Look at an instance with the rights of its own user, where root's do not suffice.

Root without CAP_SYS_PTRACE, as in a container by default, may not look into the processes of others; their own user
may.  So a child becomes that user, looks, and tells.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable
from typing import Final, NoReturn

from fcgipm.linux import pidfd as pidfds
from fcgipm.linux import procfs

_MAX_ANSWER: Final = 4096
_PATIENCE: Final = 250
"""Milliseconds that an answer, and then the end of who gave it, may take."""


def as_owner(pid: int, ask: Callable[[], str]) -> str | None:
    """Return what *ask* returns in a child that has the ids of process *pid*.

    None where that cannot help or does not work: we are not root, the process is root's or has ended, *ask* fails or
    takes longer than a quarter of a second.  The answer has at most 4,096 bytes.
    """
    if os.geteuid() != 0:
        return None
    try:
        uid, gid = procfs.owner(pid)
        if uid == 0:
            return None
        reader, writer = os.pipe2(os.O_CLOEXEC)
    except OSError:
        return None
    # All of them: a handler of ours that ran in the child would wake the keeper's loop a second time.
    mask = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    try:
        child = os.fork()
        if child == 0:
            _answer(uid, gid, ask, writer)
    except OSError:
        child = None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(writer)
    try:
        if child is None:
            return None
        return _answer_of(child, reader)
    finally:
        os.close(reader)


def descriptor_as_owner(pid: int, take: Callable[[], int]) -> int | None:
    """Return a copy (close-on-exec) of the descriptor that *take* returns in a child that has the ids of *pid*.

    None where that cannot help or does not work, as with `as_owner`.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def send() -> str:
            number = take()
            socket.send_fds(theirs, [b"."], [number])
            return "."

        if as_owner(pid, send) is None:
            return None
        ours.setblocking(False)
        try:
            _, numbers, _, _ = socket.recv_fds(ours, 1, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return None
    return numbers[0] if numbers else None


def _answer_of(child: int, reader: int) -> str | None:
    """Return what *child* tells; it is reaped, or later, with the keeper's other children, if it does not end."""
    pidfd = pidfds.open_process(child)
    try:
        poller = select.poll()
        poller.register(reader, select.POLLIN)
        told = os.read(reader, _MAX_ANSWER).decode() if poller.poll(_PATIENCE) else ""
        if not told:
            pidfds.send(pidfd, signal.SIGKILL)
        pidfds.wait(pidfd, _PATIENCE)
        return told or None
    finally:
        os.close(pidfd)


def _answer(uid: int, gid: int, ask: Callable[[], str], writer: int) -> NoReturn:
    try:
        os.setgroups(())
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        os.write(writer, ask().encode())
    finally:
        os._exit(0)
