"""See who else is at an address of ours, and whether we may take its place."""

from __future__ import annotations

import os
import stat
from collections.abc import Container

from fcgipm.keeper.sockets import FileId, SocketError
from fcgipm.linux import procfs
from fcgipm.linux.sock_diag import Diag


def refuse(path: str, own: Container[FileId], diag: Diag) -> None:
    """Raise `SocketError` if *path* is not free for a socket of ours.

    Free means: nothing is there, or a socket that is ours (*own*), or one at which nobody listens any more.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SocketError(f"{path}: {error.strerror}") from error
    if FileId(found.st_dev, found.st_ino) in own:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketError(f"{path}: there is something that is not a socket; it is left alone")
    try:
        inode = diag.unix_listener_by_file(found.st_dev, found.st_ino, path)
    except OSError as error:
        raise SocketError(f"{path}: cannot see whether anybody listens there: {error.strerror}") from error
    if inode is not None:
        raise SocketError(f"{path}: in use, {_holders(inode)} listens there")


def who_listens(address: str, port: int, diag: Diag) -> str:
    """Return who keeps a TCP address from being bound: ``in use by pid 4711 (nginx)``; empty if that is not seen."""
    try:
        inode = diag.tcp_listener(address, port)
    except OSError:
        return ""
    return "" if inode is None else f"in use, {_holders(inode)} listens there"


def _holders(inode: int) -> str:
    """Return the processes that have the socket *inode* open, as far as we may look."""
    link = f"socket:[{inode}]"
    names = []
    for pid in procfs.pids():
        try:
            if link in procfs.descriptors(pid).values():
                names.append(f"pid {pid} ({procfs.read(f'/proc/{pid}/comm').decode(errors='replace').strip()})")
        except OSError:
            continue
    if not names:
        return "a process that cannot be seen"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
