"""Listening sockets and their connections as the kernel sees them: NETLINK_SOCK_DIAG, no rights needed.

A Unix socket keeps the name that it was bound to, also after a rename, and the sockets that are accepted from it
carry that name too.  A connection that nobody has accepted yet is not among them: it is in the listener's queue.
Sockets of clients in another network namespace are not seen.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from fcgipm.linux.netlink import DUMP, DiagError, Netlink, Pieces

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20

_SHOW_NAME: Final = 1
_SHOW_FILE: Final = 2
_SHOW_QUEUE: Final = 0x10
_ATTRIBUTE_NAME: Final = 0
_ATTRIBUTE_FILE: Final = 1
_ATTRIBUTE_QUEUE: Final = 4

ESTABLISHED: Final = 1
CLOSE_WAIT: Final = 8
LISTEN: Final = 10
HELD: Final = sum(1 << state for state in (ESTABLISHED, 4, 5, CLOSE_WAIT, 9, 11))
"""Besides ESTABLISHED: FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING, as bits.

As long as such a socket has an inode, a process holds it: the client may be gone, the instance is still at work.
"""

_UNIX_REQUEST: Final = struct.Struct("=BBHIIIII")
_UNIX_MESSAGE: Final = struct.Struct("=BBBBIII")
_INET_REQUEST: Final = struct.Struct("=BBBBI48x")
_INET_MESSAGE: Final = struct.Struct("=BBBB HH16s16s12x IIIII".replace(" ", ""))
_ATTRIBUTE: Final = struct.Struct("=HH")
_PAIR: Final = struct.Struct("=II")
_ANY_COOKIE: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A listening socket, by what the kernel knows it by."""

    inode: int
    """Of the socket itself; 0 where only the name or the address is known."""
    name: str | None
    """The name that a Unix socket was bound to (an abstract one begins with NUL)."""
    port: int | None
    family: int
    address: str | None = None
    """Of a TCP socket, as getsockname gives it."""


class Queue(NamedTuple):
    """How many connections wait to be accepted, and how many may; more *waiting* than *limit*: some are refused."""

    waiting: int
    limit: int


@dataclass(frozen=True, slots=True)
class UnixRow:
    """A Unix socket; *file* is (device, inode) of its name in the file system."""

    inode: int
    state: int
    name: str | None
    file: tuple[int, int] | None
    queue: Queue | None

    @property
    def listening(self) -> bool:
        """Whether it is a listener rather than a connection."""
        return self.state == LISTEN


@dataclass(frozen=True, slots=True)
class TcpRow:
    """A TCP socket; its *inode* is 0 while, or after, no process holds it."""

    family: int
    inode: int
    state: int
    address: str
    port: int
    queue: Queue


def endpoint_of(sock: socket.socket) -> Endpoint:
    """Return how the kernel knows the bound socket *sock*."""
    inode = os.fstat(sock.fileno()).st_ino
    bound = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return Endpoint(inode, bound if isinstance(bound, str) else os.fsdecode(bound), None, sock.family)
    return Endpoint(inode, None, bound[1], sock.family, bound[0])


def endpoint_named(text: str) -> Endpoint:
    """Return the endpoint written ``tcp:HOST:PORT`` (a numeric address) or ``unix:/path`` or ``/path``."""
    if text.startswith("tcp:"):
        host, _, port = text[4:].rpartition(":")
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return Endpoint(0, None, int(port), family, socket.inet_ntop(family, socket.inet_pton(family, host)))
    return Endpoint(0, text.removeprefix("unix:"), None, socket.AF_UNIX)


class Diag(Netlink):
    """One netlink socket.  Every method raises OSError where the kernel does not answer completely."""

    def __init__(self) -> None:
        super().__init__(_NETLINK_SOCK_DIAG)

    def queues(self, endpoints: Iterable[Endpoint]) -> dict[Endpoint, Queue]:
        """Return the queue of each listener that exists; one dump for each address family among *endpoints*."""
        wanted = list(endpoints)
        found: dict[Endpoint, Queue] = {}
        for endpoint, row in _matched(wanted, self._listeners({endpoint.family for endpoint in wanted})):
            if row.queue is not None:
                found[endpoint] = row.queue
        return found

    def queue(self, endpoint: Endpoint) -> Queue | None:
        """Return the queue of one listener; None where there is none."""
        return self.queues([endpoint]).get(endpoint)

    def busy(self, endpoints: Iterable[Endpoint]) -> dict[Endpoint, int]:
        """Return how many accepted connections each endpoint has."""
        return {endpoint: len(inodes) for endpoint, inodes in self._accepted(list(endpoints)).items()}

    def accepted(self, endpoint: Endpoint) -> frozenset[int]:
        """Return the inodes of the sockets that were accepted from *endpoint* and are still held by a process."""
        return frozenset(self._accepted([endpoint])[endpoint])

    def unix_listener_by_file(self, device: int, inode: int, path: str | None = None) -> int | None:
        """Return the socket inode of the Unix listener behind a file, given as os.stat has it; None: nobody listens.

        Some file systems (btrfs, overlayfs) show stat another device than the kernel uses: there the listener is
        found if it was bound to *path* itself.
        """
        kernel_device = os.major(device) << 20 | os.minor(device)
        for row in self.unix(1 << LISTEN, _SHOW_NAME | _SHOW_FILE):
            if row.file is None or row.file[1] != inode & 0xFFFFFFFF:
                continue
            if row.file[0] == kernel_device or (path is not None and row.name == path):
                return row.inode
        return None

    def tcp_listener(self, address: str, port: int) -> int | None:
        """Return the inode of the listener that keeps *address* (numeric) and *port* from being bound; None: free."""
        for family in (socket.AF_INET, socket.AF_INET6):
            for row in self.tcp(family, 1 << LISTEN):
                if row.port == port and (row.address == address or {row.address, address} & {"0.0.0.0", "::"}):
                    return row.inode
        return None

    def unix_socket(self, inode: int) -> UnixRow | None:
        """Return the one Unix socket with *inode*, listening or connected; None where this name space has none."""
        try:
            for row in self.ask(_SOCK_DIAG_BY_FAMILY, _one_unix(inode, _SHOW_NAME | _SHOW_QUEUE), 0, _unix_row):
                return row
        except FileNotFoundError:
            pass
        return None

    def unix_piece(self, inode: int, show: int) -> Pieces:
        """Return what the kernel has of the one Unix socket with *inode*, as `Netlink.pieces`."""
        return self.pieces(_SOCK_DIAG_BY_FAMILY, _one_unix(inode, show), 0)

    def unix(self, states: int, show: int = _SHOW_NAME | _SHOW_QUEUE) -> list[UnixRow]:
        """Return the Unix sockets in *states* (bits)."""
        return self.ask(_SOCK_DIAG_BY_FAMILY, _unix_request(states, show), DUMP, _unix_row)

    def unix_pieces(self, states: int, show: int, *, least: int) -> Pieces:
        """Return what the kernel has of the Unix sockets in *states* (bits), as `Netlink.pieces`."""
        return self.pieces(_SOCK_DIAG_BY_FAMILY, _unix_request(states, show), DUMP, least=least)

    def tcp(self, family: int, states: int) -> list[TcpRow]:
        """Return the TCP sockets of *family* in *states* (bits)."""
        return self.ask(_SOCK_DIAG_BY_FAMILY, _inet_request(family, states), DUMP, _tcp_row)

    def tcp_pieces(self, family: int, states: int) -> Pieces:
        """Return what the kernel has of the TCP sockets of *family* in *states* (bits), as `Netlink.pieces`."""
        return self.pieces(_SOCK_DIAG_BY_FAMILY, _inet_request(family, states), DUMP, least=_INET_MESSAGE.size)

    def tcp_held(self) -> dict[int, TcpRow]:
        """Return all TCP connections that a process holds, by inode."""
        rows = [row for family in (socket.AF_INET, socket.AF_INET6) for row in self.tcp(family, HELD)]
        return {row.inode: row for row in rows if row.inode}

    def _listeners(self, families: Iterable[int]) -> Iterator[UnixRow | TcpRow]:
        for family in families:
            if family == socket.AF_UNIX:
                yield from self.unix(1 << LISTEN)
            else:
                yield from self.tcp(family, 1 << LISTEN)

    def _accepted(self, endpoints: list[Endpoint]) -> dict[Endpoint, list[int]]:
        found: dict[Endpoint, list[int]] = {endpoint: [] for endpoint in endpoints}
        names = {endpoint.name: endpoint for endpoint in endpoints if endpoint.name is not None}
        if names:
            for row in self.unix(1 << ESTABLISHED, _SHOW_NAME):
                if row.name in names:
                    found[names[row.name]].append(row.inode)
        listening = [endpoint for endpoint in endpoints if endpoint.port is not None]
        for family in {endpoint.family for endpoint in listening}:
            for connection in self.tcp(family, HELD):
                owners = [endpoint for endpoint in listening if is_from(connection, endpoint)]
                if connection.inode and owners:
                    # A listener of this very address goes before one of every address.
                    found[min(owners, key=lambda owner: owner.address != connection.address)].append(connection.inode)
        return found


def is_from(connection: TcpRow, endpoint: Endpoint) -> bool:
    """Return whether *connection* can have been accepted from the TCP listener *endpoint*."""
    if connection.port != endpoint.port or connection.family != endpoint.family:
        return False
    return endpoint.address in {connection.address, "0.0.0.0", "::", None}


def _matched(
    endpoints: list[Endpoint], rows: Iterable[UnixRow | TcpRow]
) -> Iterator[tuple[Endpoint, UnixRow | TcpRow]]:
    by_inode = {endpoint.inode: endpoint for endpoint in endpoints if endpoint.inode}
    by_name: Mapping[object, Endpoint] = {
        endpoint.name if endpoint.name is not None else (endpoint.address, endpoint.port): endpoint
        for endpoint in endpoints
        if not endpoint.inode
    }
    for row in rows:
        key = row.name if isinstance(row, UnixRow) else (row.address, row.port)
        endpoint = by_inode.get(row.inode) or by_name.get(key)
        if endpoint is not None:
            yield endpoint, row


def _unix_request(states: int, show: int) -> bytes:
    return _UNIX_REQUEST.pack(socket.AF_UNIX, 0, 0, states, 0, show, 0, 0)


def _one_unix(inode: int, show: int) -> bytes:
    return _UNIX_REQUEST.pack(socket.AF_UNIX, 0, 0, 0xFFFFFFFF, inode, show, _ANY_COOKIE, _ANY_COOKIE)


def _inet_request(family: int, states: int) -> bytes:
    return _INET_REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, states)


def _unix_row(body: bytes) -> UnixRow:
    _, _, state, _, inode, _, _ = _UNIX_MESSAGE.unpack_from(body)
    name: str | None = None
    file: tuple[int, int] | None = None
    queue: Queue | None = None
    offset = _UNIX_MESSAGE.size
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < _ATTRIBUTE.size:
            raise DiagError(errno.EBADMSG, "the kernel's answer is malformed")
        value = body[offset + _ATTRIBUTE.size : offset + length]
        if kind == _ATTRIBUTE_NAME:
            name = os.fsdecode(value if value[:1] == b"\0" else value.removesuffix(b"\0"))
        elif kind == _ATTRIBUTE_FILE:
            file_inode, device = _PAIR.unpack(value)
            file = (device, file_inode)
        elif kind == _ATTRIBUTE_QUEUE:
            queue = Queue(*_PAIR.unpack(value))
        offset += (length + 3) & ~3
    return UnixRow(inode, state, name, file, queue)


def _tcp_row(body: bytes) -> TcpRow:
    family, state, _, _, port, _, source, _, _, waiting, limit, _, inode = _INET_MESSAGE.unpack_from(body)
    raw = source if family == socket.AF_INET6 else source[:4]
    return TcpRow(family, inode, state, socket.inet_ntop(family, raw), socket.ntohs(port), Queue(waiting, limit))
