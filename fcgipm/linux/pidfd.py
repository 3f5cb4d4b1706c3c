"""Processes held by a descriptor: what is done to one can never hit another that got its number."""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import struct
from dataclasses import dataclass
from typing import Final

_SYS_PIDFD_GETFD: Final = 438
"""The same number on every architecture."""
_PIDFD_GET_INFO: Final = 0xC040FF0B
_INFO_SIZE: Final = 64
_INFO_EXIT: Final = 8
_INFO_STATUS: Final = 60
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_CHILD_SUBREAPER: Final = 36

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


ENDS: Final = frozenset({os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED})
"""What `waitid` tells of the end of a process; anything else is a stop."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: by itself with *code*, or by *signal*."""

    code: int | None
    signal: int | None
    dumped: bool


def open_process(pid: int) -> int:
    """Return a new descriptor of process *pid* (close-on-exec); raise ProcessLookupError where there is none."""
    return os.pidfd_open(pid)


def send(pidfd: int, number: int) -> bool:
    """Send signal *number*; return False if the process has ended already.  Raises PermissionError."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


def has_ended(pidfd: int, within: int = 0) -> bool:
    """Return whether the process has ended (it may still be waited for), or does so *within* some milliseconds."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(within))


def wait(pidfd: int, within: int) -> Ended | None:
    """Wait at most *within* milliseconds for the end of a child and collect it; None while it lives."""
    return reap(pidfd) if has_ended(pidfd, within) else None


def reap(pidfd: int, *, block: bool = False) -> Ended | None:
    """Collect the end of a child; None while it lives.

    Stops are not ends: only WEXITED is asked for, and one of a process that lets itself be traced, which is told all
    the same, is passed over.  Raises ChildProcessError for a process that is not our child.
    """
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | (0 if block else os.WNOHANG))
    if result is None or result.si_code not in ENDS:
        return None
    if result.si_code == os.CLD_EXITED:
        return Ended(result.si_status, None, dumped=False)
    return Ended(None, result.si_status, dumped=result.si_code == os.CLD_DUMPED)


def end_of_other(pidfd: int) -> Ended:
    """Return how a process that is not our child has ended, as far as the kernel tells (Linux 6.15 does)."""
    info = bytearray(_INFO_SIZE)
    struct.pack_into("=Q", info, 0, _INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return Ended(None, None, dumped=False)
    if not struct.unpack_from("=Q", info, 0)[0] & _INFO_EXIT:
        return Ended(None, None, dumped=False)
    return ended_with(struct.unpack_from("=i", info, _INFO_STATUS)[0])


def ended_with(status: int) -> Ended:
    """Return what a wait status says."""
    if os.WIFEXITED(status):
        return Ended(os.WEXITSTATUS(status), None, dumped=False)
    return Ended(None, os.WTERMSIG(status), dumped=os.WCOREDUMP(status))


def take_descriptor(pidfd: int, number: int) -> int:
    """Return a copy (close-on-exec) of descriptor *number* of the process.

    It shares the open file description: flags set on it are set for the process too.  Raises OSError: EPERM where
    the rights to trace the process are missing, EBADF where it has no such descriptor, ESRCH where it has ended.
    """
    result = int(_libc.syscall(_SYS_PIDFD_GETFD, pidfd, number, 0))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def forbid_new_privileges() -> None:
    """Make exec of setuid programs give this process, and its children, no rights; for ever."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def become_subreaper() -> None:
    """Make this process the parent of its descendants whose own parents have ended."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    arguments = [ctypes.c_ulong(number) for number in (value, 0, 0, 0)]
    if _libc.prctl(option, *arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
