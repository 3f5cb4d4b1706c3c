"""Read files as root without being led to what somebody else may not read, or reading what others have written."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import time
from typing import TYPE_CHECKING, Final, NoReturn

from fcgipm.linux.paths import may_others_write, open_path

if TYPE_CHECKING:
    from fcgipm.config.identity import Identity

_PATIENCE: Final = 5.0
"""Seconds for a reading with another's rights: his file may lie on a file system that never answers."""


def demand_regular(status: os.stat_result) -> None:
    """Raise `OSError` if *status* is not that of a regular file."""
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "not a regular file")


def demand_trusted(status: os.stat_result) -> None:
    """Raise `OSError` if somebody but root could have written what root is about to do."""
    if status.st_uid != 0:
        raise OSError(0, f"it belongs to uid {status.st_uid}; started by root, it must be root's")
    if may_others_write(status):
        raise OSError(0, _writable(status))


def _writable(status: os.stat_result) -> str:
    return f"its mode {stat.S_IMODE(status.st_mode):04o} lets others write; chmod go-w it"


def read_for(identity: Identity, path: str, most: int) -> bytes:
    """Return the content of the regular file *path*, up to *most* bytes and one more; raise OSError.

    Root reads with root's rights only what is root's, in directories that are: whoever could choose the file would
    choose one that he may not read.  Everything else is read with the rights of *identity*.
    """
    if os.geteuid() != 0:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not block
        return _content(descriptor, most)
    try:
        return _read_trusted(path, most)
    except OSError as error:
        if not os.path.lexists(path):
            raise
        why = error.strerror
    if identity.uid == 0:
        raise OSError(0, f"{why}; what a process of root's is given must be root's")
    try:
        return _read_as(identity, path, most)
    except OSError as error:
        if error.strerror == why:
            raise
        raise OSError(0, f"{error.strerror}; it is read as {identity.user}, because {why}") from error


def _read_trusted(path: str, most: int) -> bytes:
    found = open_path(path, {0})
    try:
        status = os.fstat(found)
        demand_regular(status)
        demand_trusted(status)
        descriptor = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(found)
    return _content(descriptor, most)


def _content(descriptor: int, most: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        demand_regular(os.fstat(descriptor))
        return file.read(most + 1)


def _read_as(identity: Identity, path: str, most: int) -> bytes:
    """Read in a child that has become *identity*."""
    readable, writable = os.pipe2(os.O_CLOEXEC)
    # No handler of ours may run in the child.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        child = os.fork()
        if child == 0:
            _be_reader(identity, path, most, writable)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(writable)
    with os.fdopen(readable, "rb", buffering=0) as told:
        try:
            answer = _all_of(told.fileno())
        finally:
            os.kill(child, signal.SIGKILL)  # it is ours, and not reaped yet
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)
    if answer[:1] != b"=":
        raise OSError(0, answer[1:].decode(errors="replace") or "its reader has ended")
    return answer[1:]


def _all_of(descriptor: int) -> bytes:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    until = time.monotonic() + _PATIENCE
    pieces: list[bytes] = []
    while poller.poll(max(0, until - time.monotonic()) * 1000):
        piece = os.read(descriptor, 65536)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
    raise OSError(0, f"not read within {_PATIENCE:g} s")


def _be_reader(identity: Identity, path: str, most: int, writable: int) -> NoReturn:
    try:
        try:
            os.setgroups(identity.groups)
            os.setresgid(identity.gid, identity.gid, identity.gid)
            os.setresuid(identity.uid, identity.uid, identity.uid)
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            status = os.fstat(descriptor)
            if status.st_uid not in {0, identity.uid}:
                raise OSError(0, f"it belongs to uid {status.st_uid}")
            if status.st_mode & stat.S_IWOTH:
                raise OSError(0, _writable(status))
            answer = b"=" + _content(descriptor, most)
        except OSError as error:
            answer = b"!" + (error.strerror or repr(error)).encode()
        with os.fdopen(writable, "wb") as told:
            told.write(answer)
    finally:
        os._exit(0)
