"""Who may use the control socket: the kernel says who connected, the configuration what that one may do."""

from __future__ import annotations

import array
import contextlib
import os
import pwd
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fcgipm.verbs import Access

_UCRED: Final = struct.Struct("3i")
_SO_PEERGROUPS: Final = 59
_MAX_GROUPS: Final = 256
"""As many as Python lets getsockopt return (1 KiB)."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end, as it was when it connected."""

    pid: int
    uid: int
    groups: frozenset[int]

    def __str__(self) -> str:
        try:
            return f"user {pwd.getpwuid(self.uid).pw_name}"
        except KeyError:
            return f"user #{self.uid}"


def peer_of(sock: socket.socket) -> Peer:
    """Return who is at the other end of the Unix socket *sock*; raise OSError where the kernel does not say."""
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    groups = {gid}
    with contextlib.suppress(OSError):  # a peer in more groups: its primary one alone counts
        found = array.array("I")
        found.frombytes(sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_GROUPS * found.itemsize))
        groups.update(found)
    return Peer(pid, uid, frozenset(groups))


def role_of(peer: Peer, rules: Mapping[str, str], keeper_uid: int) -> Access | None:
    """Return what *peer* may do under *rules* (`wire.Definitions.access`); None for nothing.

    Root may do everything, and so may *keeper_uid*, who started the daemon.  The manager's own user may do nothing:
    what got hold of another process of that user would have the whole daemon.
    """
    if peer.uid in (0, keeper_uid):
        return Access.ADMIN
    if peer.uid == os.geteuid():
        return None
    names = (str(peer.uid), *(f"%{group}" for group in peer.groups))
    given = {rules[name] for name in names if name in rules}
    for access in (Access.ADMIN, Access.READ):
        if access.value in given:
            return access
    return None
