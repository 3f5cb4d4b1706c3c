"""Questions to the kernel over netlink, and its whole answers."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Final, Self, TypeAlias, TypeVar

_REQUEST: Final = 1
_ACKNOWLEDGE: Final = 4
DUMP: Final = 0x300
"""The flags of a question that has many answers."""
_INTERRUPTED: Final = 0x10
"""NLM_F_DUMP_INTR: the tables changed during the dump."""
_NOTHING: Final = 1
_ERROR: Final = 2
_DONE: Final = 3

_HEADER: Final = struct.Struct("=IHHII")
HEADER_SIZE: Final = _HEADER.size
_LENGTH: Final = struct.Struct("=I")
_CODE: Final = struct.Struct("=i")
_BUFFER: Final = 64 * 1024
"""The kernel makes the pieces of a dump as large as the reader's buffer, up to 32 KiB; 8 KiB pieces lose entries."""
_ATTEMPTS: Final = 10
_TIMEOUT: Final = 5
"""Seconds; the kernel answers at once or something is badly wrong."""

_Row = TypeVar("_Row")

Pieces: TypeAlias = list[tuple[bytes, list[int]]]
"""Answers as they came: bytes, and where in them each answer begins, with its length in 32 bits."""


class DiagError(OSError):
    """The kernel gave no complete answer."""


class Netlink:
    """One netlink socket.  Every method raises OSError where the kernel does not answer completely."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, protocol)
        self._socket.settimeout(_TIMEOUT)
        self._sequence = 0
        self._has_shown_buffer = False

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
        return [
            parse(piece[offset + HEADER_SIZE : offset + _LENGTH.unpack_from(piece, offset)[0]])
            for piece, offsets in self.pieces(kind, request, flags)
            for offset in offsets
        ]

    def pieces(self, kind: int, request: bytes, flags: int, *, least: int = 0) -> Pieces:
        """Send a message of *kind* and return its answers of the same kind, not taken apart yet.

        Those with less than *least* bytes after their header are left out: of thousands of sockets, most say nothing
        that the caller wants.
        """
        if not self._has_shown_buffer:
            self._show_buffer()
        for _ in range(_ATTEMPTS):
            answer = self._ask_once(kind, request, flags, HEADER_SIZE + least)
            if answer is not None:
                return answer
        raise DiagError(errno.EAGAIN, "the kernel's tables changed during every dump")

    def _show_buffer(self) -> None:
        """Have a message read, any: from then on the kernel knows how large the reader's buffer is.

        Else the first piece of the first dump has less than 4 KiB, and what does not fit into that is not told.
        """
        self._ask_once(_NOTHING, b"", _ACKNOWLEDGE, 0)
        self._has_shown_buffer = True

    def _ask_once(self, kind: int, request: bytes, flags: int, least: int) -> Pieces | None:
        """Return the answers of at least *least* bytes; None where the kernel says that they do not fit together."""
        self._sequence += 1
        header = _HEADER.pack(HEADER_SIZE + len(request), kind, _REQUEST | flags, self._sequence, 0)
        self._socket.send(header + request)
        pieces: Pieces = []
        consistent = True
        while True:
            piece, _, message_flags, _ = self._socket.recvmsg(_BUFFER)
            if message_flags & socket.MSG_TRUNC:
                raise DiagError(errno.EMSGSIZE, "a piece of the kernel's answer does not fit")
            offsets, ended, interrupted = take_apart(piece, self._sequence, kind, least)
            pieces.append((piece, offsets))
            consistent = consistent and not interrupted
            if ended or (not flags and offsets):
                return pieces if consistent else None


def take_apart(piece: bytes, sequence: int, kind: int, least: int) -> tuple[list[int], bool, bool]:
    """Return where in *piece* there are answers, whether it has the end of them, and whether they are in doubt.

    Answers are messages of *kind* and of at least *least* bytes, to the question with the number *sequence*: others are
    late ones, to a question that was given up.  Raises OSError where the kernel says or tells what is wrong.
    """
    offsets: list[int] = []
    ended = interrupted = False
    offset, last = 0, len(piece) - HEADER_SIZE
    while offset <= last:
        length, answered, flag_bits, answers, _ = _HEADER.unpack_from(piece, offset)
        if length < HEADER_SIZE:
            raise DiagError(errno.EBADMSG, "the kernel's answer is malformed")
        if answers == sequence:
            interrupted = interrupted or bool(flag_bits & _INTERRUPTED)
            if answered == kind:
                if length >= least:
                    offsets.append(offset)
            elif answered in {_DONE, _ERROR}:
                _check(piece, offset)
                ended = True
        offset += (length + 3) & ~3
    return offsets, ended, interrupted


def _check(piece: bytes, offset: int) -> None:
    """Raise the error with which the message at *offset* ends the answer, if it does."""
    if len(piece) >= offset + HEADER_SIZE + _CODE.size:
        (code,) = _CODE.unpack_from(piece, offset + HEADER_SIZE)
        if code < 0:
            raise OSError(-code, os.strerror(-code))
