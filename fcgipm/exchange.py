"""One FastCGI request over a connection of its own: reach the application, send, and read the answer meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final

from fcgipm.fastcgi import Response, ResponseParser

LIMIT: Final = 16 * 1024 * 1024
"""Bytes of an answer, its standard error included."""
_PIECE: Final = 64 * 1024
_FULL_QUEUE_PAUSE: Final = 0.05
"""Seconds between two tries to enter a full queue: the kernel tells nobody when there is room in it again."""


async def reach(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to *address* (``unix:/path`` or ``tcp:HOST:PORT``), waiting while its queue is full; raise OSError."""
    kind, _, rest = address.partition(":")
    if kind == "unix":
        return await asyncio.open_connection(sock=await _reach_unix(rest))
    host, _, port = rest.rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))


async def _reach_unix(path: str) -> socket.socket:
    """Connect, trying again while the queue is full.

    asyncio takes the EAGAIN of a full queue for a connection under way, and then for one that stands.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        while True:
            try:
                sock.connect(path)
            except BlockingIOError:
                await asyncio.sleep(_FULL_QUEUE_PAUSE)
            else:
                return sock
    except BaseException:
        sock.close()
        raise


async def exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    message: bytes,
    *,
    limit: int = LIMIT,
    began: Callable[[], None] = lambda: None,
) -> Response:
    """Send *message*, a whole request, and return the answer, of at most *limit* bytes; raise OSError, `FastCGIError`.

    *began* is called when the first byte of it comes, which may be before all was sent.
    """
    parser = ResponseParser(limit=limit)
    writer.write(message)
    sending = asyncio.ensure_future(writer.drain())
    try:
        data = await reader.read(_PIECE)
        began()
        while data:
            answer = parser.feed(data)
            if answer is not None:
                return answer
            data = await reader.read(_PIECE)
        return parser.close()
    finally:
        if not sending.done():
            writer.transport.abort()  # nobody wants the rest, and a close would wait for it to be taken
        sending.cancel()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await sending
