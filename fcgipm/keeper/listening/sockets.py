"""Listening sockets, and what they are told apart by.

A Unix socket is bound in a directory that only the daemon may enter; owner, group and mode are set there, and it
listens there (`fcgipm.keeper.listening.place`).  Only then a hard link of it is renamed over the public path, so
visitors never meet a socket that is not ready, and an old one is replaced at once and whole
(`fcgipm.keeper.listening.socketfile`).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass


class SocketError(Exception):
    """A socket could not be made or published; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a Unix socket's file has: *owner* and *group* as ids, *mode* as permission bits."""

    owner: int
    group: int
    mode: int


@dataclass(frozen=True, slots=True)
class FileId:
    """Which file it is, whatever its names."""

    device: int
    inode: int


def id_of(name: str, directory: int) -> FileId | None:
    """Return which file *name* in *directory* is (a symbolic link itself), None where there is none."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return FileId(found.st_dev, found.st_ino)


def bind_tcp(address: str, port: int, depth: int) -> socket.socket:
    """Return a socket that listens on *address* (IPv4 or IPv6) and *port*; raise OSError."""
    sock = socket.socket(family_of(address), socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(depth)
    except OSError:
        sock.close()
        raise
    return sock


def family_of(address: str) -> socket.AddressFamily:
    """Return whether *address* is one of IPv6, or of IPv4."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def host_and_port(address: str, port: int) -> str:
    """Return ``ADDRESS:PORT``, one of IPv6 in brackets."""
    return f"[{address}]:{port}" if family_of(address) == socket.AF_INET6 else f"{address}:{port}"


def copy_of(sock: socket.socket) -> socket.socket:
    """Return another descriptor of the same socket; its own `dup` sets a flag, which is everybody's."""
    return socket.socket(fileno=os.dup(sock.fileno()))


def is_internet(sock: socket.socket) -> bool:
    """Return whether *sock* has an address and a port, no path."""
    return sock.family in (socket.AF_INET, socket.AF_INET6)


def is_taken(error: OSError) -> bool:
    """Return whether *error* of `bind_tcp` means that somebody else listens there."""
    return error.errno == errno.EADDRINUSE


def make_blocking(sock: socket.socket) -> None:
    """Undo what applications may have set on a listener that all share; only while no instance holds it."""
    descriptor = sock.fileno()
    if not os.get_blocking(descriptor):
        os.set_blocking(descriptor, True)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))
