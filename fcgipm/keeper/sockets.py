"""Listening sockets in the file system and on TCP: made complete under a private name, then published.

A Unix socket is bound in a directory that only the daemon may enter; owner, group and mode are set there, and it
listens there.  Only then a hard link of it is renamed over the public path, so visitors never meet a socket that is
not ready, and an old one is replaced at once and whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_SUN_PATH: Final = 107
"""Bytes of a Unix socket's name."""


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


def file_id(path: str) -> FileId | None:
    """Return which file *path* is (a symbolic link itself), None where there is none."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return FileId(found.st_dev, found.st_ino)


def bind_unix(path: str, attributes: Attributes, depth: int) -> socket.socket:
    """Return a socket that listens at *path*, whose directory is made if missing; raise `SocketError`."""
    if len(os.fsencode(path)) > _SUN_PATH:
        raise SocketError(f"{path}: longer than the {_SUN_PATH} bytes that a socket's name may have")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _private_directory(os.path.dirname(path)) as directory:
            _bind_in(directory, path, sock, attributes)
            sock.listen(depth)
    except OSError as error:
        sock.close()
        raise SocketError(f"{path}: {error.strerror}") from error
    except SocketError:
        sock.close()
        raise
    return sock


def _bind_in(directory: int, path: str, sock: socket.socket, attributes: Attributes) -> None:
    name = os.path.basename(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)  # nobody else has access here, so it is a predecessor's
    mask = os.umask(0o177)
    try:
        sock.bind(path)
    finally:
        os.umask(mask)
    if not stat.S_ISSOCK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        raise SocketError(f"{path}: its directory was replaced meanwhile")
    change_attributes(path, attributes, directory=directory)


def change_attributes(path: str, attributes: Attributes, *, directory: int | None = None) -> None:
    """Set owner, group and mode of the socket at *path*, a private one; raise OSError."""
    if directory is None:
        with _private_directory(os.path.dirname(path)) as opened:
            change_attributes(path, attributes, directory=opened)
        return
    name = os.path.basename(path)
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if (found.st_uid, found.st_gid) != (attributes.owner, attributes.group):
        os.chown(name, attributes.owner, attributes.group, dir_fd=directory, follow_symlinks=False)
    os.chmod(name, attributes.mode, dir_fd=directory)


@contextlib.contextmanager
def _private_directory(path: str) -> Iterator[int]:
    """Give a descriptor of the directory *path*, made with mode 0700 if missing and refused if anybody else's."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(directory)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise SocketError(f"{path}: must be a directory of uid {os.geteuid()} with mode 0700")
        yield directory
    finally:
        os.close(directory)


def publish(private: str, public: str) -> None:
    """Make *public* a name of the socket *private*, whatever was there before; raise OSError."""
    source = os.open(os.path.dirname(private), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        target = os.open(os.path.dirname(public), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _link_over(source, os.path.basename(private), target, os.path.basename(public))
        finally:
            os.close(target)
    finally:
        os.close(source)


def _link_over(source: int, private: str, target: int, public: str) -> None:
    passing = f"{private}.link"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(passing, dir_fd=source)
    os.link(private, passing, src_dir_fd=source, dst_dir_fd=source, follow_symlinks=False)
    try:
        os.rename(passing, public, src_dir_fd=source, dst_dir_fd=target)
    finally:
        # rename does nothing where both are names of one inode already.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(passing, dir_fd=source)


def unpublish(public: str, ours: FileId) -> None:
    """Remove the name *public* if it still is the socket *ours*."""
    if file_id(public) == ours:
        with contextlib.suppress(OSError):
            os.unlink(public)


def remove_private(path: str) -> None:
    """Remove a private name, and its directory when it was the last one."""
    with contextlib.suppress(OSError):
        os.unlink(path)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(path))


def bind_tcp(address: str, port: int, depth: int) -> socket.socket:
    """Return a socket that listens on *address* (IPv4 or IPv6) and *port*; raise OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(depth)
    except OSError:
        sock.close()
        raise
    return sock


def is_taken(error: OSError) -> bool:
    """Return whether *error* of `bind_tcp` means that somebody else listens there."""
    return error.errno == errno.EADDRINUSE


def make_blocking(sock: socket.socket) -> None:
    """Undo what applications may have set on a listener that all share; only while no instance holds it."""
    descriptor = sock.fileno()
    if not os.get_blocking(descriptor):
        os.set_blocking(descriptor, True)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))
