"""inotify: learn of changes to files and directories without looking."""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass
from typing import Final

ATTRIB: Final = 0x4
"""Owner, mode or the number of names of a file changed."""
CLOSE_WRITE: Final = 0x8
MOVED_FROM: Final = 0x40
MOVED_TO: Final = 0x80
CREATE: Final = 0x100
DELETE: Final = 0x200
DELETE_SELF: Final = 0x400
MOVE_SELF: Final = 0x800
ONLYDIR: Final = 0x0100_0000
MASK_ADD: Final = 0x2000_0000
"""What is watched already for something is watched for this as well."""
OVERFLOW: Final = 0x4000
"""Set in `Event.mask` where the kernel dropped events; *watch* is -1 then."""
ISDIR: Final = 0x4000_0000
"""Set in `Event.mask` where *name* is a directory."""
IGNORED: Final = 0x8000
"""Set in `Event.mask` where the watch has ended: what was watched is gone."""

_HEAD: Final = struct.Struct("iIII")
_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a watched file, or to *name* in a watched directory."""

    watch: int
    mask: int
    name: str


class Inotify:
    """One inotify descriptor; it is readable when `read` has something to tell."""

    def __init__(self) -> None:
        self._descriptor = _checked(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return self._descriptor

    def add(self, path: str, mask: int) -> int:
        """Watch *path* and return the watch's number, the same one for the same inode; raise OSError."""
        return _checked(_libc.inotify_add_watch(self._descriptor, os.fsencode(path), ctypes.c_uint32(mask)))

    def remove(self, watch: int) -> None:
        """End a watch; one that has ended already is none of the caller's worries."""
        _libc.inotify_rm_watch(self._descriptor, watch)

    def read(self) -> list[Event]:
        """Return what has happened, an empty list where nothing has."""
        try:
            data = os.read(self._descriptor, 64 * 1024)
        except BlockingIOError:
            return []
        events, at = [], 0
        while at < len(data):
            watch, mask, _, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            events.append(Event(watch, mask, os.fsdecode(data[at : at + length].rstrip(b"\0"))))
            at += length
        return events

    def close(self) -> None:
        """End all watches."""
        os.close(self._descriptor)


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
