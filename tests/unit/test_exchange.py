"""One request over one connection: sent and answered at the same time, whatever the other end does first."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fcgipm.exchange import exchange, reach
from fcgipm.fastcgi import FastCGIError, Response, encode_request, encode_response

PAGE = b"Content-Type: text/plain\r\n\r\n"


@contextmanager
def serving(place: Path, serve: Callable[[socket.socket], None], *, backlog: int = 5) -> Iterator[str]:
    """Give the address where *serve* gets one connection."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "s"))
        listener.listen(backlog)

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        yield f"unix:{place}/s"
        thread.join(20)
        assert not thread.is_alive()


def ask(address: str, body: bytes = b"", *, limit: int = 16 << 20, patience: float = 15) -> Response:
    """Send a request and return the answer."""

    async def main() -> Response:
        async with asyncio.timeout(patience):
            reader, writer = await reach(address)
            try:
                return await exchange(reader, writer, encode_request({"REQUEST_METHOD": "POST"}, body), limit=limit)
            finally:
                writer.close()

    return asyncio.run(main())


def read(connection: socket.socket, size: int) -> None:
    """Read *size* bytes, or what comes until the other end goes."""
    while size > 0 and (piece := connection.recv(65536)):
        size -= len(piece)


def test_an_application_that_answers_before_it_reads_is_no_deadlock(place: Path) -> None:
    body = bytes(4_000_000)

    def serve(connection: socket.socket) -> None:
        connection.sendall(encode_response(1, PAGE + body))
        read(connection, len(body))

    with serving(place, serve) as address:
        assert ask(address, body).body == body


def test_one_that_closes_without_an_answer_is_told(place: Path) -> None:
    with serving(place, lambda connection: read(connection, 1)) as address, pytest.raises((FastCGIError, OSError)):
        ask(address)


def test_an_answer_that_is_too_long_is_refused(place: Path) -> None:
    def serve(connection: socket.socket) -> None:
        read(connection, 1)
        connection.sendall(encode_response(1, PAGE + bytes(5000)))

    with serving(place, serve) as address, pytest.raises(FastCGIError, match="longer than 4000 bytes"):
        ask(address, limit=4000)


def test_a_full_queue_is_waited_for(place: Path) -> None:
    def serve(connection: socket.socket) -> None:
        read(connection, 1)
        connection.sendall(encode_response(1, PAGE))

    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(place / "s"))
        listener.listen(0)
        first.connect(str(place / "s"))  # which fills it
        threading.Timer(0.2, lambda: _accept_two(listener, serve)).start()
        assert ask(f"unix:{place}/s").status == 200


def _accept_two(listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    listener.accept()[0].close()
    connection, _ = listener.accept()
    with connection:
        serve(connection)


@pytest.mark.parametrize("address", ["unix:/nowhere/s", "tcp:127.0.0.1:1"])
def test_nobody_there_is_an_os_error(address: str) -> None:
    with pytest.raises(OSError, match=r"No such file|refused|Connect call failed"):
        ask(address)
