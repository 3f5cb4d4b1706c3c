"""Errors that say nothing of what was tried: the system, or our own process, is short of something, and that passes."""

from __future__ import annotations

import errno
from typing import Final

_OF_ALL: Final = frozenset({errno.EAGAIN, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""What the child meets as well, whatever limits of its own it has been given."""
_OURS: Final = _OF_ALL | {errno.EMFILE, errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def is_one(error: BaseException | None) -> bool:
    """Return whether *error*, or what it was made from, is for want of descriptors, processes, memory or room."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _OURS):
            return True
        error = error.__cause__
    return False


def is_of_all(number: int) -> bool:
    """Return whether the error *number*, in a child on its way to exec, is such a one."""
    return number in _OF_ALL
