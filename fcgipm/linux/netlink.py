"""Questions to the kernel over netlink, and its whole answers."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Final, Self, TypeVar

_REQUEST: Final = 1
DUMP: Final = 0x300
"""The flags of a question that has many answers."""
_INTERRUPTED: Final = 0x10
"""NLM_F_DUMP_INTR: the tables changed during the dump."""
_ERROR: Final = 2
_DONE: Final = 3

_HEADER: Final = struct.Struct("=IHHII")
_BUFFER: Final = 256 * 1024
"""The kernel makes the pieces of a dump as large as the reader's buffer, up to 32 KiB; 8 KiB pieces lose entries."""
_ATTEMPTS: Final = 10
_TIMEOUT: Final = 5
"""Seconds; the kernel answers at once or something is badly wrong."""

_Row = TypeVar("_Row")


class DiagError(OSError):
    """The kernel gave no complete answer."""


class Netlink:
    """One netlink socket.  Every method raises OSError where the kernel does not answer completely."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, protocol)
        self._socket.settimeout(_TIMEOUT)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def ask(self, kind: int, request: bytes, flags: int, parse: Callable[[bytes], _Row]) -> list[_Row]:
        """Send a message of *kind* and return what *parse* makes of each answer of the same kind.

        With *flags* `DUMP` there may be any number of answers, without there is one.
        """
        for _ in range(_ATTEMPTS):
            answer = self._ask_once(kind, request, flags, parse)
            if answer is not None:
                return answer
        raise DiagError(errno.EAGAIN, "the kernel's tables changed during every dump")

    def _ask_once(self, kind: int, request: bytes, flags: int, parse: Callable[[bytes], _Row]) -> list[_Row] | None:
        """Return the rows of one answer; None where the kernel says that it is not consistent."""
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(request), kind, _REQUEST | flags, self._sequence, 0)
        self._socket.send(header + request)
        rows: list[_Row] = []
        complete = True
        while True:
            piece, _, message_flags, _ = self._socket.recvmsg(_BUFFER)
            if message_flags & socket.MSG_TRUNC:
                raise DiagError(errno.EMSGSIZE, "a piece of the kernel's answer does not fit")
            for answered, flag_bits, body in self._messages(piece):
                complete = complete and not flag_bits & _INTERRUPTED
                if answered == kind:
                    rows.append(parse(body))
                    if not flags:
                        return rows
                elif answered == _DONE:
                    return rows if complete else None
                elif answered == _ERROR:
                    code = struct.unpack_from("=i", body)[0]
                    raise OSError(-code, os.strerror(-code))

    def _messages(self, piece: bytes) -> Iterator[tuple[int, int, bytes]]:
        offset = 0
        while offset + _HEADER.size <= len(piece):
            length, kind, flags, sequence, _ = _HEADER.unpack_from(piece, offset)
            if length < _HEADER.size:
                raise DiagError(errno.EBADMSG, "the kernel's answer is malformed")
            if sequence == self._sequence:  # else a late answer to a question that was given up
                yield kind, flags, piece[offset + _HEADER.size : offset + length]
            offset += (length + 3) & ~3
