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
    raise SocketError(f"{path}: {_in_use(listener)}")


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
    found = _processes(inode)
    todo = f"end them when they are done: {_kill(found)}" if found else "end them when they are done"
    return (
        f"{path}: instances of an fcgipm that was killed still serve there, and cannot be adopted: {_named(found)}; "
        f"they are not touched, and visitors come to another socket as soon as that is public; {todo}"
    )


def who_listens(address: str, port: int, diag: Diag) -> str:
    """Return who keeps a TCP address from being bound: ``in use, pid 4711 (nginx) listens there``.

    Of what looks like instances that an fcgipm has left, how they are ended is said, too.  Empty if nobody is seen.
    """
    try:
        inode = diag.tcp_listener(address, port)
    except OSError:
        return ""
    return "" if inode is None else _in_use(inode)


def _in_use(inode: int) -> str:
    found = _processes(inode)
    text = f"in use, {_named(found)} {'listen' if len(found) > 1 else 'listens'} there"
    if not found or not all(procfs.socket_at_input(pid) == inode for pid, _ in found):
        return text
    what = (
        "these are instances that an fcgipm has left, end them"
        if len(found) > 1
        else ("this is an instance that an fcgipm has left, end it")
    )
    return f"{text}; if {what}: {_kill(found)}"


def _kill(found: list[tuple[int, str]]) -> str:
    return f"kill {' '.join(str(pid) for pid, _ in found)}"


def _named(found: list[tuple[int, str]]) -> str:
    """Return the processes *found* for people."""
    names = [f"pid {pid} ({name})" for pid, name in found]
    if not names:
        return "a process that cannot be seen"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _processes(inode: int) -> list[tuple[int, str]]:
    """Return number and name of the processes that have the socket *inode* open, as far as we may look."""
    link = f"socket:[{inode}]"
    found = []
    for pid in procfs.pids():
        try:
            if link in procfs.descriptors(pid).values():
                found.append((pid, procfs.read(f"/proc/{pid}/comm").decode(errors="replace").strip()))
        except OSError:
            continue
    return found
