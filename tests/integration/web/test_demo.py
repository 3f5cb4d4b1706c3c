"""The demonstration application alone, spoken to in FastCGI."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.visitors import answer
from integration.web.applications import DEMO

from fcgipm.fastcgi import Kind, RecordReader, Response, Role, encode_request


@pytest.fixture
def dial(place: Path) -> Iterator[Callable[[], socket.socket]]:
    """Give a function that connects to an instance of the demonstration application."""
    path = str(place / "demo.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        process = subprocess.Popen(DEMO, stdin=listener.fileno(), stderr=subprocess.PIPE)
    made: list[socket.socket] = []

    def connect() -> socket.socket:
        made.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        made[-1].settimeout(20)
        made[-1].connect(path)
        return made[-1]

    yield connect
    for connection in made:
        connection.close()
    process.terminate()
    assert process.wait(10) == -15  # by the signal's default action
    assert process.stderr is not None
    process.stderr.close()


def ask(connection: socket.socket, path: str, *, keep_conn: bool = False, role: Role = Role.RESPONDER) -> Response:
    """Send one request and return the answer."""
    name, _, query = path.partition("?")
    connection.sendall(encode_request({"PATH_INFO": name, "QUERY_STRING": query}, keep_conn=keep_conn, role=role))
    return answer(connection)


def test_a_connection_is_kept_if_the_web_server_wants_that(dial: Callable[[], socket.socket]) -> None:
    connection = dial()

    assert [ask(connection, "/ping", keep_conn=True).body for _ in range(3)] == [b"pong\n"] * 3
    assert ask(connection, "/ping").body == b"pong\n"
    assert connection.recv(1) == b""


def test_noise_costs_its_own_connection_only(dial: Callable[[], socket.socket]) -> None:
    noisy = dial()
    noisy.sendall(b"GET / HTTP/1.0\r\n\r\n")

    assert noisy.recv(1) == b""
    assert ask(dial(), "/ping").body == b"pong\n"


def test_it_counts_its_requests(dial: Callable[[], socket.socket]) -> None:
    ask(dial(), "/ping")

    assert b"<b>2</b> requests" in ask(dial(), "/").body


def test_errors_are_written_where_the_web_server_reads_them_too(dial: Callable[[], socket.socket]) -> None:
    assert ask(dial(), "/stderr?text=oh+dear").stderr == b"oh dear\n"


def test_it_answers_with_the_status_one_wants(dial: Callable[[], socket.socket]) -> None:
    assert ask(dial(), "/status?code=418").status == 418
    assert ask(dial(), "/nowhere").status == 404


def test_as_an_authorizer_it_judges(dial: Callable[[], socket.socket]) -> None:
    allowed = ask(dial(), "/x?allow=yes", role=Role.AUTHORIZER)

    assert (allowed.status, allowed.header("Variable-DEMO_USER")) == (200, "demo")
    assert ask(dial(), "/x", role=Role.AUTHORIZER).status == 403


def test_a_crash_leaves_the_request_without_an_end(place: Path) -> None:
    path = str(place / "demo.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        process = subprocess.Popen(DEMO, stdin=listener.fileno())
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        connection.sendall(encode_request({"PATH_INFO": "/crash", "QUERY_STRING": "status=3"}))
        received = b"".join(iter(lambda: connection.recv(1 << 16), b""))

    assert process.wait(10) == 3
    assert [record for record in RecordReader().feed(received) if record.kind == Kind.END_REQUEST] == []


def test_without_a_socket_it_says_what_it_wants() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fcgipm.demo"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "start it by fcgipm or spawn-fcgi" in done.stderr
