"""Say where the sockets of applications are: the public path, and the private names that are bound."""

from __future__ import annotations

import os
import posixpath
import zlib

LONGEST_PATH = 107
"""Bytes of sun_path, without the terminating NUL."""

LARGEST_GENERATION = 999_999

LARGEST_NUMBER = 999_999
"""Of a dynamic application: its number is a part of its private names."""


def private_directory(runtime_dir: str, socket: str) -> str:
    """Return the directory of the bound names of the public path *socket*: on the same file system, for hard links."""
    directory = posixpath.dirname(socket)
    if directory == runtime_dir:
        return posixpath.join(runtime_dir, "private")
    if directory.startswith(dynamic_directory(runtime_dir) + "/"):
        return posixpath.join(runtime_dir, "private", ".d")
    return posixpath.join(directory, f".fcgipm-{zlib.crc32(runtime_dir.encode()) & 0xFFFFFF:06x}")


def private_path(runtime_dir: str, socket: str, name: str, generation: int) -> str:
    """Return the name under which the listener of *generation* of application *name* is bound.

    For a dynamic application *name* is its number, because its own name would be too long.
    """
    return posixpath.join(private_directory(runtime_dir, socket), f"{name}.{generation}")


def dynamic_directory(runtime_dir: str) -> str:
    """Return the directory of the dynamic applications' sockets."""
    return posixpath.join(runtime_dir, "dynamic")


def dynamic_socket(runtime_dir: str, root: str, path: str) -> str:
    """Return the public path of the socket of the script *path* below the root that is called *root*."""
    return posixpath.join(dynamic_directory(runtime_dir), root, f"{path}.sock")


def excess(path: str) -> int:
    """Return by how many bytes *path* is too long for a socket; 0 or less if it is not."""
    return len(os.fsencode(path)) - LONGEST_PATH
