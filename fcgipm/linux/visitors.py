"""Who is at listeners, many of them in one look: who waits, who has given up, which connections were accepted.

One dump of the kernel's tables for each question and address family, whatever the number of listeners; sockets that
are not theirs are passed over before anything is made of them.  A thousand listeners take some milliseconds.

Unix listeners are told apart by their file, not by its name: another network or mount name space may have a socket of
the same name.  Connections from another network name space wait visibly, but vanish from view once they are accepted.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from fcgipm.linux.sock_diag import CLOSE_WAIT, ESTABLISHED, HELD, LISTEN, Diag, Endpoint, Queue

Peer: TypeAlias = int | bytes
"""Who waits: the inode of a Unix client's socket, or the address and port of a TCP client, as the kernel has them."""

_SHOW_FILE: Final = 2
_SHOW_LINE: Final = 8
_SHOW_QUEUE: Final = 16
_FILE: Final = 1
_LINE: Final = 3
_QUEUE: Final = 4

# Offsets and layouts count from the beginning of a netlink message, whose header has 16 bytes.
_LENGTH: Final = struct.Struct("=I")
_UNIX_INODE: Final = struct.Struct("=20xI")
_UNIX_FIRST: Final = struct.Struct("=20xI10xH8s")
"""Inode, and the kind and value of the first attribute."""
_UNIX_ATTRIBUTES: Final = 32
_UNIX_WITH_FILE: Final = 16 + 4 + 8
"""Bytes of a socket that has a file, without the message's header."""
_ATTRIBUTE: Final = struct.Struct("=HH")
_PAIR: Final = struct.Struct("=II")
_TCP: Final = struct.Struct("=17xB2x2s2s16s16s16xII4xI")
"""State, port and that of the client, address and that of the client, queue, its limit, inode."""
_TCP_PORT: Final = 20

_ANY: Final = bytes(16)


class Waiting(NamedTuple):
    """The queue of one listener, and who is in it."""

    queue: Queue
    line: tuple[Peer, ...] | None
    """Those who wait: of a Unix listener in their order, with 0 for each who has given up.

    None: they are too many (about 8,000) for the kernel to name them.
    """
    abandoned: int = 0
    """How many connections of the queue nobody waits for any more."""
    gone: frozenset[bytes] = frozenset()
    """Of a TCP listener: those of them that are known by name."""


@dataclass(frozen=True, slots=True)
class Visitors:
    """What was seen, by the inodes of the listening sockets; those that could not be seen are missing."""

    waiting: dict[int, Waiting]
    accepted: dict[int, list[int]]
    """The inodes of the connections that were accepted and are still held by a process."""


def look(diag: Diag, endpoints: Iterable[Endpoint]) -> Visitors:
    """Return who is at *endpoints*, listening sockets whose inodes are known; raise OSError."""
    seen = Visitors({}, {})
    by_family: dict[int, set[int]] = {}
    for endpoint in endpoints:
        by_family.setdefault(endpoint.family, set()).add(endpoint.inode)
    for family, inodes in by_family.items():
        if family == socket.AF_UNIX:
            _look_unix(diag, inodes, seen)
        else:
            _look_tcp(diag, family, inodes, seen)
    return seen


# ── Unix ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _look_unix(diag: Diag, wanted: Collection[int], seen: Visitors) -> None:
    files: dict[bytes, int] = {}
    for inode, file, waiting in _unix_listeners(diag, wanted, _SHOW_FILE | _SHOW_LINE | _SHOW_QUEUE):
        seen.waiting[inode] = waiting
        files[file] = inode
    missing = {inode for inode in wanted if inode not in seen.waiting}
    if missing:  # closed meanwhile, or a queue did not fit into a piece of the dump, which ends it without a word
        for inode, file, waiting in _unix_listeners(diag, missing, _SHOW_FILE | _SHOW_QUEUE):
            seen.waiting[inode] = _ask_line(diag, inode) or waiting if waiting.queue.waiting else waiting
            files[file] = inode
    seen.accepted.update((inode, []) for inode in files.values())
    accepted = {file: seen.accepted[inode] for file, inode in files.items()}
    for piece, offsets in diag.unix_pieces(1 << ESTABLISHED, _SHOW_FILE, least=_UNIX_WITH_FILE):
        for offset in offsets:
            inode, kind, file = _UNIX_FIRST.unpack_from(piece, offset)
            if kind == _FILE and file in accepted:
                accepted[file].append(inode)


def _unix_listeners(diag: Diag, wanted: Collection[int], show: int) -> Iterator[tuple[int, bytes, Waiting]]:
    """Yield the inode, the file and the queue of each of the Unix listeners *wanted*."""
    for piece, offsets in diag.unix_pieces(1 << LISTEN, show, least=_UNIX_WITH_FILE):
        for offset in offsets:
            (inode,) = _UNIX_INODE.unpack_from(piece, offset)
            if inode in wanted:
                file, waiting = _unix_waiting(piece, offset)
                yield inode, file, waiting


def _unix_waiting(piece: bytes, offset: int) -> tuple[bytes, Waiting]:
    """Return the file and the queue that the message at *offset* tells of; the queue is the last that matters in it."""
    file, line, queue = b"", None, Queue(0, 0)
    end = offset + _LENGTH.unpack_from(piece, offset)[0]
    offset += _UNIX_ATTRIBUTES
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(piece, offset)
        if kind == _FILE:
            file = piece[offset + 4 : offset + length]
        elif kind == _LINE:
            line = struct.unpack_from(f"={length // 4 - 1}I", piece, offset + 4) if length > _ATTRIBUTE.size else ()
        elif kind == _QUEUE:
            queue = Queue._make(_PAIR.unpack_from(piece, offset + 4))
            break
        offset += (length + 3) & ~3 or 4
    return file, Waiting(queue, line, line.count(0) if line else 0)


def _ask_line(diag: Diag, inode: int) -> Waiting | None:
    """Return who waits at one Unix listener; None where even that does not fit into an answer (a page)."""
    try:
        for piece, offsets in diag.unix_piece(inode, _SHOW_LINE | _SHOW_QUEUE):
            for offset in offsets:
                return _unix_waiting(piece, offset)[1]
    except OSError as error:
        if error.errno not in {errno.EMSGSIZE, errno.ENOENT}:
            raise
    return None


# ── TCP ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _look_tcp(diag: Diag, family: int, wanted: Collection[int], seen: Visitors) -> None:
    queues, at_port = _tcp_listeners(diag, family, wanted)
    lines: dict[int, list[bytes]] = {inode: [] for inode in queues}
    gone: dict[int, list[bytes]] = {inode: [] for inode in queues}
    seen.accepted.update((inode, []) for inode in queues)
    for state, listener, peer, inode in _tcp_connections(diag, family, at_port) if queues else ():
        if inode:
            seen.accepted[listener].append(inode)
        elif state == ESTABLISHED:
            lines[listener].append(peer)
        elif state == CLOSE_WAIT:
            gone[listener].append(peer)
    for inode, queue in queues.items():
        # Who has reset the connection is in the queue, and nowhere else.
        abandoned = max(len(gone[inode]), queue.waiting - len(lines[inode]))
        seen.waiting[inode] = Waiting(queue, tuple(lines[inode]), abandoned, frozenset(gone[inode]))


def _tcp_listeners(
    diag: Diag, family: int, wanted: Collection[int]
) -> tuple[dict[int, Queue], dict[bytes, dict[bytes, int]]]:
    """Return the queues of the listeners *wanted*, and their inodes by port and address."""
    queues: dict[int, Queue] = {}
    at_port: dict[bytes, dict[bytes, int]] = {}
    for piece, offsets in diag.tcp_pieces(family, 1 << LISTEN):
        for offset in offsets:
            _, port, _, address, _, waiting, limit, inode = _TCP.unpack_from(piece, offset)
            if inode in wanted:
                queues[inode] = Queue(waiting, limit)
                at_port.setdefault(port, {})[address] = inode
    return queues, at_port


def _tcp_connections(
    diag: Diag, family: int, at_port: Mapping[bytes, Mapping[bytes, int]]
) -> Iterator[tuple[int, int, bytes, int]]:
    """Yield the state, the listener, the client and the inode of each connection to the listeners *at_port*."""
    for piece, offsets in diag.tcp_pieces(family, HELD):
        for offset in offsets:
            if piece[offset + _TCP_PORT : offset + _TCP_PORT + 2] not in at_port:
                continue
            state, port, peer_port, address, peer, _, _, inode = _TCP.unpack_from(piece, offset)
            # A listener of this very address goes before one of every address.
            listener = at_port[port].get(address) or at_port[port].get(_ANY)
            if listener is not None:
                yield state, listener, peer + peer_port, inode
