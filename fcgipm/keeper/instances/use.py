"""See whether frozen processes serve a visitor: hold a connection that was accepted from a listener."""

from __future__ import annotations

import enum
import os
import socket
from collections.abc import Iterable
from typing import Final

from fcgipm.keeper.instances.borrowed import as_owner
from fcgipm.linux import pidfd as pidfds
from fcgipm.linux import procfs
from fcgipm.linux.sock_diag import Diag, Endpoint, is_from

_TOLD: Final = 300
"""As many numbers as fit into the answer of a child."""


class Use(enum.Enum):
    """Whether an instance serves anybody."""

    IDLE = "idle"
    BUSY = "busy"
    HIDDEN = "hidden"
    """Some of its descriptors cannot be looked at."""


def serves_already(pids: Iterable[int], endpoint: Endpoint, diag: Diag) -> bool:
    """Return whether one of the processes *pids*, which run, is seen to hold an accepted connection just now.

    False says nothing: what runs may accept one at any time, and not everything can be seen.
    """
    accepted = diag.accepted(endpoint)
    return bool(accepted) and not accepted.isdisjoint(sockets_of(pids)[0])


def use_of(leader: int, pids: Iterable[int], endpoint: Endpoint, diag: Diag) -> Use:
    """Judge the processes *pids* of the instance *leader*, which stand still.

    Raises OSError where /proc or the kernel's socket tables cannot be read.
    """
    pids = tuple(pids)
    use = _judge(pids, endpoint, diag)
    if use is Use.HIDDEN:
        told = as_owner(leader, lambda: str(_judge_alone(pids, endpoint).value))
        return use if told is None else Use(told)
    return use


def connections_of(leader: int, pids: Iterable[int], endpoint: Endpoint) -> int:
    """Return how many accepted connections of *endpoint* the processes *pids* hold, as far as can be seen."""
    pids = tuple(pids)
    count, hidden = _count(pids, endpoint)
    if hidden:
        told = as_owner(leader, lambda: str(_count(pids, endpoint)[0]))
        return count if told is None else max(count, int(told))
    return count


def unseen(leader: int, pids: Iterable[int], endpoint: Endpoint, diag: Diag) -> list[int]:
    """Return the accepted connections of *endpoint* that the processes *pids*, which run, hold and no table shows.

    Those that cannot be looked at are missing, and those that come and go meanwhile.
    """
    pids = tuple(pids)
    found, hidden = unseen_among(pids, endpoint, diag)
    if hidden:
        told = as_owner(leader, lambda: _unseen_alone(pids, endpoint))
        return found if told is None else [int(inode) for inode in told.split()]
    return found


def unseen_among(pids: Iterable[int], endpoint: Endpoint, diag: Diag) -> tuple[list[int], bool]:
    """Return such connections among what may be looked at of the processes *pids*, and whether that is not all."""
    held, hidden = sockets_of(pids)
    held.pop(endpoint.inode, None)
    found = []
    for inode, holder in held.items() if endpoint.name is not None else ():
        if diag.unix_socket(inode) is None:
            try:
                with _copy(*holder) as sock:
                    if _is_accepted(sock, endpoint) and os.fstat(sock.fileno()).st_ino == inode:
                        found.append(inode)
            except OSError:
                continue  # it was closed meanwhile, or may not be taken
    return found, hidden


def _unseen_alone(pids: Iterable[int], endpoint: Endpoint) -> str:
    with Diag() as diag:  # the keeper's own is shared with it, and so would be the answers
        return " ".join(map(str, unseen_among(pids, endpoint, diag)[0][:_TOLD]))


def _count(pids: Iterable[int], endpoint: Endpoint) -> tuple[int, bool]:
    held, hidden = sockets_of(pids)
    with Diag() as diag:
        return len(diag.accepted(endpoint).intersection(held)), hidden


def _judge_alone(pids: Iterable[int], endpoint: Endpoint) -> Use:
    with Diag() as diag:  # the keeper's own is shared with it, and so would be the answers
        return _judge(pids, endpoint, diag)


def _judge(pids: Iterable[int], endpoint: Endpoint, diag: Diag) -> Use:
    # In this order: the processes stand still, the kernel is asked, the descriptors are read.
    accepted = diag.accepted(endpoint)
    held, hidden = sockets_of(pids)
    if not accepted.isdisjoint(held):
        return Use.BUSY
    if hidden:
        return Use.HIDDEN
    # A dump can miss what moves in the kernel's tables, and never has clients of another network namespace.
    held.pop(endpoint.inode, None)
    uses = {_use_of_socket(inode, holder, endpoint, diag) for inode, holder in held.items()}
    for use in (Use.BUSY, Use.HIDDEN):
        if use in uses:
            return use
    return Use.IDLE


def sockets_of(pids: Iterable[int]) -> tuple[dict[int, tuple[int, int]], bool]:
    """Return the sockets that *pids* hold, each with one (pid, descriptor), and whether some could not be looked at."""
    found = {}
    hidden = False
    for pid in pids:
        try:
            descriptors = procfs.descriptors(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        except PermissionError:
            hidden = True
            continue
        for number, link in descriptors.items():
            inode = procfs.socket_inode(link)
            if inode is not None:
                found[inode] = (pid, number)
    return found, hidden


def _use_of_socket(inode: int, holder: tuple[int, int], endpoint: Endpoint, diag: Diag) -> Use:
    """Judge one socket that is not among the accepted connections that the kernel has told."""
    row = diag.unix_socket(inode)
    if row is not None:
        accepted = endpoint.name is not None and row.name == endpoint.name and not row.listening
        return Use.BUSY if accepted else Use.IDLE
    try:
        with _copy(*holder) as sock:
            return Use.BUSY if _is_accepted(sock, endpoint) else Use.IDLE
    except OSError:
        connection = diag.tcp_held().get(inode)
        if connection is None:
            return Use.HIDDEN
        return Use.BUSY if is_from(connection, endpoint) else Use.IDLE


def _copy(pid: int, number: int) -> socket.socket:
    pidfd = pidfds.open_process(pid)
    try:
        copy = pidfds.take_descriptor(pidfd, number)
    finally:
        os.close(pidfd)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def _is_accepted(sock: socket.socket, endpoint: Endpoint) -> bool:
    if sock.family != endpoint.family or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    bound = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return (bound if isinstance(bound, str) else os.fsdecode(bound)) == endpoint.name
    return bool(sock.type == socket.SOCK_STREAM and bound[1] == endpoint.port)
