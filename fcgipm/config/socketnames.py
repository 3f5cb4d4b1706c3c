"""Say where the sockets of applications are: the public path, and the private names that are bound."""

from __future__ import annotations

import posixpath
import zlib

LONGEST_PATH = 107
"""Bytes of sun_path, without the terminating NUL."""

LARGEST_GENERATION = 999_999


def private_directory(runtime_dir: str, socket: str) -> str:
    """Return the directory of the bound names of the public path *socket*: on the same file system, for hard links."""
    directory = posixpath.dirname(socket)
    if directory == runtime_dir:
        return posixpath.join(runtime_dir, "private")
    return posixpath.join(directory, f".fcgipm-{zlib.crc32(runtime_dir.encode()) & 0xFFFFFF:06x}")


def private_path(runtime_dir: str, socket: str, name: str, generation: int) -> str:
    """Return the name under which the listener of *generation* of application *name* is bound."""
    return posixpath.join(private_directory(runtime_dir, socket), f"{name}.{generation}")
