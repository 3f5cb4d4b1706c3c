"""See who else is at an address of ours, and whether we may take its place."""

from __future__ import annotations

import os
import stat
from collections.abc import Container

from fcgipm.keeper.listening.place import Place
from fcgipm.keeper.listening.sockets import FileId, SocketError
from fcgipm.linux import procfs
from fcgipm.linux.sock_diag import Diag


class LeftOver(SocketError):
    """Instances that another keeper has left, and that were not adopted, listen at a private name."""


def refuse(place: Place, path: str, own: Container[FileId | int], diag: Diag) -> str:
    """Raise `SocketError` if the public *path* in *place* is not free for a socket of ours.

    Free means: nothing is there, or a socket that is ours (*own*: by its file or its inode), or one at which nobody
    listens any more, or only instances that another keeper has left: they serve whom they have, and the next visitor
    comes to us.  What is to be said of those is returned, an empty text where there are none.
    """
    file, listener = _found(os.path.basename(path), place.public, path, own, diag)
    if listener is None or file is None:
        return ""
    if listener in own:
        return ""
    names = place.names_of(file)
    if names:
        return _left_over(os.path.join(place.private_path, names[0]), listener)
    raise SocketError(f"{path}: in use, {_holders(listener)} listens there")


def refuse_private(place: Place, path: str, own: Container[FileId | int], diag: Diag) -> None:
    """Raise `LeftOver` if somebody listens at the private *path* in *place*: only an fcgipm can have bound it."""
    _, listener = _found(os.path.basename(path), place.private, path, own, diag)
    if listener is not None:
        raise LeftOver(_left_over(path, listener))


def _found(
    name: str, directory: int, path: str, own: Container[FileId | int], diag: Diag
) -> tuple[FileId | None, int | None]:
    """Return which file *path* is and the socket that listens there; None for what is not there, or is ours."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None, None
    except OSError as error:
        raise SocketError(f"{path}: {error.strerror}") from error
    file = FileId(found.st_dev, found.st_ino)
    if file in own:
        return None, None
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketError(f"{path}: there is something that is not a socket; it is left alone")
    try:
        return file, diag.unix_listener_by_file(found.st_dev, found.st_ino, path)
    except OSError as error:
        raise SocketError(f"{path}: cannot see whether anybody listens there: {error.strerror}") from error


def _left_over(path: str, inode: int) -> str:
    pids = [pid for pid, _ in _processes(inode)]
    todo = f"end them when they are done: kill {' '.join(map(str, pids))}" if pids else "end them when they are done"
    return (
        f"{path}: instances of an fcgipm that was killed still serve there, and cannot be adopted: {_holders(inode)}; "
        f"another socket takes the place of theirs, they are not touched; {todo}"
    )


def who_listens(address: str, port: int, diag: Diag) -> str:
    """Return who keeps a TCP address from being bound: ``in use by pid 4711 (nginx)``; empty if that is not seen."""
    try:
        inode = diag.tcp_listener(address, port)
    except OSError:
        return ""
    return "" if inode is None else f"in use, {_holders(inode)} listens there"


def _holders(inode: int) -> str:
    """Return the processes that have the socket *inode* open, as far as we may look."""
    names = [f"pid {pid} ({name})" for pid, name in _processes(inode)]
    if not names:
        return "a process that cannot be seen"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _processes(inode: int) -> list[tuple[int, str]]:
    link = f"socket:[{inode}]"
    found = []
    for pid in procfs.pids():
        try:
            if link in procfs.descriptors(pid).values():
                found.append((pid, procfs.read(f"/proc/{pid}/comm").decode(errors="replace").strip()))
        except OSError:
            continue
    return found
