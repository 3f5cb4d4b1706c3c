"""Memory that the C library keeps although nobody uses it."""

from __future__ import annotations

import ctypes
from typing import Final

_libc: Final = ctypes.CDLL(None)


def give_back() -> None:
    """Return free memory to the kernel, where the C library can do that: what is resident is copied by forks."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)
