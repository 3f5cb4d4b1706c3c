"""The channel that carries messages: pieces, descriptors, and what may wait.

One end of a SOCK_SEQPACKET pair, non-blocking at both ends.  A message is JSON, at most `PIECE` bytes on the wire; a
larger one travels in numbered pieces.  Descriptors travel with a message, at most `MAX_DESCRIPTORS` of them.  What
arrives is typed and bounded, or ends the connection (`WireError`).
"""

from __future__ import annotations

import array
import json
import socket
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Generic, TypeVar

from fcgipm.codec import from_json, to_json
from fcgipm.linux.descriptors import close_all, copies
from fcgipm.wire.orders import ORDERS, Order
from fcgipm.wire.reports import REPORTS, Report

PIECE: Final = 32 * 1024
"""Bytes of one packet: far below the kernel's limit for a SEQPACKET message (208 KiB by default)."""
MAX_DESCRIPTORS: Final = 64
"""Descriptors sent with one packet; the kernel's limit is 253."""
MAX_BACKLOG: Final = 8 * 1024 * 1024
"""Bytes that may wait to be sent.  More: the reader is stale (`BacklogFull`)."""
MAX_MESSAGE: Final = 16 * 1024 * 1024
"""Bytes of a message put together from pieces."""


class WireError(Exception):
    """What arrived is not a message; the connection is of no use any more."""


class DescriptorsLost(WireError):
    """Descriptors that came with a message were lost, because there is no room for more."""


class WireClosed(WireError):
    """The other end is gone."""


class BacklogFull(WireError):
    """The other end has not read for too long."""


MessageT = TypeVar("MessageT")

_MORE: Final = b"+"
_LAST: Final = b"."
_ANCILLARY: Final = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)


class Channel(Generic[MessageT]):
    """One end of the wire: sends one family of messages and receives the other, never blocking.

    The owner registers `fileno()` with its loop: readable means call `receive`, writable (while `backlog` is not
    empty) means call `flush`.
    """

    def __init__(self, sock: socket.socket, expects: Mapping[str, type[MessageT]]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._expects = expects
        self._outgoing: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self.backlog = 0
        """Bytes that wait to be sent."""
        self._pieces: list[bytes] = []
        self._descriptors: list[int] = []

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the socket and every descriptor that waits to be sent or was received and not handed out."""
        for _, descriptors in self._outgoing:
            close_all(descriptors)
        close_all(self._descriptors)
        self._outgoing.clear()
        self._descriptors.clear()
        self._pieces.clear()
        self.backlog = 0
        self._sock.close()

    def send(self, message: object, descriptors: Sequence[int] = ()) -> None:
        """Queue *message* and send what can be sent now; *descriptors* are duplicated and stay the caller's.

        Raises `BacklogFull` where the other end has not read for too long, `WireClosed` where it is gone, OSError where
        there is no room for the copies; nothing of the message is left then.
        """
        if len(descriptors) > MAX_DESCRIPTORS:
            error = f"{len(descriptors)} descriptors do not fit into one message"
            raise ValueError(error)
        text = json.dumps([type(message).__name__, to_json(message)], separators=(",", ":")).encode()
        if self.backlog + len(text) > MAX_BACKLOG:
            error = f"{self.backlog} bytes wait to be read"
            raise BacklogFull(error)
        given = copies(descriptors)  # may fail, and then nothing is queued
        chunks = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
        for chunk in chunks[:-1]:
            self._outgoing.append((_MORE + chunk, ()))
        self._outgoing.append((_LAST + chunks[-1], given))
        self.backlog += len(text)
        self.flush()

    def flush(self) -> None:
        """Send what the other end takes now; raise `WireClosed` where it is gone."""
        while self._outgoing:
            packet, descriptors = self._outgoing[0]
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            try:
                self._sock.sendmsg([packet], ancillary, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError as error:
                raise WireClosed(str(error)) from error
            self._outgoing.popleft()
            self.backlog -= len(packet) - 1
            close_all(descriptors)

    def receive(self, limit: int = 64) -> Iterator[tuple[MessageT, list[int]]]:
        """Yield the messages that have come, with their descriptors (close-on-exec, the caller's to close).

        At most *limit* packets are read, so that one busy end does not starve its reader's other work.  Raises
        `WireClosed` at the end of the stream and `WireError` for what is not a message.
        """
        for _ in range(limit):
            try:
                packet, ancillary, flags, _ = self._sock.recvmsg(PIECE + 1, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError as error:
                raise WireClosed(str(error)) from error
            self._keep_descriptors(ancillary)
            if flags & socket.MSG_TRUNC:
                error_text = "a message was cut short"
                raise WireError(error_text)
            if flags & socket.MSG_CTRUNC:
                error_text = "a message's descriptors do not fit among those that this process has"
                raise DescriptorsLost(error_text)
            if not packet:
                error_text = "the other end has closed"
                raise WireClosed(error_text)
            if packet[:1] == _MORE:
                self._pieces.append(packet[1:])
                if len(self._pieces) * PIECE > MAX_MESSAGE:
                    error_text = f"a message is longer than {MAX_MESSAGE} bytes"
                    raise WireError(error_text)
                continue
            text = b"".join([*self._pieces, packet[1:]])
            self._pieces.clear()
            message = self._decode(text)
            descriptors, self._descriptors = self._descriptors, []
            yield message, descriptors

    def _keep_descriptors(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                self._descriptors.extend(numbers)

    def _decode(self, text: bytes) -> MessageT:
        try:
            name, body = json.loads(text)
            return from_json(self._expects[name], body)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise WireError(f"not a message: {error!r}") from error


def keeper_end(sock: socket.socket) -> Channel[Order]:
    """Return the keeper's end: it sends `Report` and receives `Order`."""
    return Channel(sock, ORDERS)


def manager_end(sock: socket.socket) -> Channel[Report]:
    """Return the manager's end: it sends `Order` and receives `Report`."""
    return Channel(sock, REPORTS)
