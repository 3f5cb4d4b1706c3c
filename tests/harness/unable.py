"""Run a program that may not take descriptors from other processes: ``python -m harness.unable PROGRAM WORD…``.

As where yama's ptrace_scope is 1, for processes that are no children: pidfd_getfd is refused with EPERM.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

_PIDFD_GETFD = 438
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _instruction(code: int, then: int, otherwise: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)


def main() -> None:
    """Forbid it, and execute."""
    steps = [
        _instruction(_LOAD, 0, 0, 0),
        _instruction(_EQUAL, 0, 1, _PIDFD_GETFD),
        _instruction(_RETURN, 0, 0, _ERRNO | errno.EPERM),
        _instruction(_RETURN, 0, 0, _ALLOW),
    ]
    libc = ctypes.CDLL(None, use_errno=True)
    program = _Program(len(steps), b"".join(steps))
    unused = [ctypes.c_ulong(0)] * 2
    if libc.prctl(_NO_NEW_PRIVS, ctypes.c_ulong(1), ctypes.c_ulong(0), *unused) or libc.prctl(
        _SECCOMP, ctypes.c_ulong(_FILTER), ctypes.byref(program), *unused
    ):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
