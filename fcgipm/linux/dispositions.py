"""What a process does on signals, and how a child forgets it before its exec.

Exec keeps ignored signals ignored.  The C library keeps two real-time signals (32 and 33) for itself and refuses to
change them; some parents, such as GNU make, leave them ignored all the same.  They are put back by the system call.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` makes enums of all it takes: 80 pages more to copy in a child
import ctypes
import os
import signal
from collections.abc import Iterable, Mapping
from typing import Final

from fcgipm.linux import procfs

CHANGEABLE: Final = tuple(map(int, signal.valid_signals()))
"""All signals that the C library lets us change."""
_SYS_RT_SIGACTION: Final[Mapping[str, int]] = {
    "x86_64": 13, "aarch64": 134, "riscv64": 134, "loongarch64": 134, "ppc64le": 173, "s390x": 174, "i686": 174,
    "armv7l": 174,
}  # fmt: skip
_MASK_BYTES: Final = 8
"""Of the kernel's own signal set."""

_DEFAULT: Final = int(signal.SIG_DFL)

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def changed() -> list[int]:
    """Return the signals whose disposition is not the default one, in this process."""
    bits = procfs.status_bits(b"SigIgn", b"SigCgt")
    return [number for number in range(1, bits.bit_length() + 1) if bits >> (number - 1) & 1]


def reset(numbers: Iterable[int]) -> None:
    """Give the signals *numbers* their default dispositions, and block none; raise OSError where that is refused."""
    for number in numbers:
        if number in CHANGEABLE:
            _signal.signal(number, _DEFAULT)
        else:
            _reset_by_call(number)
    _signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _reset_by_call(number: int) -> None:
    call = _SYS_RT_SIGACTION.get(os.uname().machine)
    if call is None:
        return  # that signal is nobody's but the C library's: nothing is lost
    default = ctypes.create_string_buffer(64)  # all of the structure is 0: SIG_DFL, no flags, no mask
    if _libc.syscall(call, number, default, None, ctypes.c_size_t(_MASK_BYTES)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
