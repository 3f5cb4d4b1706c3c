"""Why a program that is there cannot be found all the same: what it names as its interpreter, or its loader, is not."""

from __future__ import annotations

import os
import stat
import struct
from typing import Final

_READ: Final = 4096
"""Bytes at the beginning of a program in which its interpreter, or its loader, is named."""
_LAYOUT: Final = {1: ("I", 0x1C, 0x2A, 4, 16), 2: ("Q", 0x20, 0x36, 8, 32)}
"""Of ELF with 32 and 64 bits: how an offset is written; where in the header that of the segments is, and their size and
number; where in a segment its offset in the file and its size in it are."""
_ORDER: Final = {1: "<", 2: ">"}
_SHORTEST: Final = 0x34
_PT_INTERP: Final = 3
_SEGMENTS: Final = 64
"""So many are looked at: the file may say anything."""


def what_is_missing(program: str, root: str = "") -> str:
    """Return what *program*, a file inside the directory *root*, needs and has not; empty where that is not seen.

    The kernel says of both what it says of a program that is not there.
    """
    try:
        head = _head(root + program)
    except OSError:
        return ""
    what, name = ("interpreter", _interpreter(head)) if head.startswith(b"#!") else ("loader", _loader(head))
    if not name.startswith("/") or (os.path.lexists(root + name) and (root or os.path.exists(name))):
        return ""
    return f"its {what} {name if name.isprintable() else repr(name)} is missing"


def _head(path: str) -> bytes:
    """Return the beginning of the file *path*; what it is is seen before it is opened: it may be anything by now."""
    held = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(held).st_mode):
            return b""
        opened = os.open(f"/proc/self/fd/{held}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(opened, _READ)
        finally:
            os.close(opened)
    finally:
        os.close(held)


def _interpreter(head: bytes) -> str:
    """Return the interpreter that the first line of a script names, as the kernel reads it: a CR belongs to it."""
    line = head[2:].partition(b"\n")[0].lstrip(b" \t")
    return os.fsdecode(line.replace(b"\t", b" ").partition(b" ")[0])


def _loader(head: bytes) -> str:
    """Return the loader that an ELF program names; empty for one without, and for anything else."""
    if len(head) < _SHORTEST or head[:4] != b"\x7fELF" or head[4] not in _LAYOUT or head[5] not in _ORDER:
        return ""
    offset, at_segments, at_sizes, at_offset, at_length = _LAYOUT[head[4]]
    order = _ORDER[head[5]]
    try:
        (first,) = struct.unpack_from(order + offset, head, at_segments)
        size, count = struct.unpack_from(order + "HH", head, at_sizes)
        for number in range(min(count, _SEGMENTS)):
            segment = first + number * size
            if struct.unpack_from(order + "I", head, segment) == (_PT_INTERP,):
                (begin,) = struct.unpack_from(order + offset, head, segment + at_offset)
                (length,) = struct.unpack_from(order + offset, head, segment + at_length)
                return os.fsdecode(head[begin : begin + length].rstrip(b"\0"))
    except (struct.error, OverflowError):  # it is further back than we look, or nowhere
        return ""
    return ""
