"""The client's HTTP, against servers that misbehave in ways in which the manager does not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fcgipm.cli.client import Client, ClientError
from fcgipm.verbs import ExitCode

Serve = Callable[[bytes], Client]


@pytest.fixture
def serve(place: Path) -> Iterator[Serve]:
    """Give a function that starts a server which answers one request with some bytes and closes."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(place / "s"))
    listener.listen(1)
    threads: list[threading.Thread] = []
    client = Client(str(place / "s"), 5)

    def answer(data: bytes) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(data)

    def start(data: bytes) -> Client:
        threads.append(threading.Thread(target=answer, args=(data,)))
        threads[0].start()
        return client

    with client:
        yield start
    for thread in threads:
        thread.join()
    listener.close()


@pytest.mark.parametrize(
    "answer",
    [
        b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"version": 1}\n',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\n{"ve\r\nB\r\nrsion": 1}\n\r\n0\r\nT: 1\r\n\r\n',
        b'HTTP/1.0 200 OK\n\n{"version": 1}\n',
    ],
)  # fmt: skip
def test_a_body_is_read_by_length_by_chunks_or_to_the_end(serve: Serve, answer: bytes) -> None:
    client = serve(answer)
    assert client.document(client.get("status")) == {"version": 1}


def test_lines_are_put_together_from_chunks(serve: Serve) -> None:
    client = serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\n4\r\nc\n\nd\r\n0\r\n\r\n")
    assert list(client.lines(client.get("logs"))) == [b"a", b"bc", b"", b"d"]


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"HTTP/1.1 200 O", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    ],
)  # fmt: skip
def test_an_answer_that_is_cut_off_is_no_answer(serve: Serve, answer: bytes) -> None:
    client = serve(answer)
    with pytest.raises(ClientError, match="closed the connection before its answer was complete") as failed:
        client.document(client.get("status"))
    assert failed.value.code is ExitCode.FAILED


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"SSH", b"\x01\x03\0\x01\0\x08\0\0", b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 fine\r\n\r\n", b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 13\r\n\r\n<html></html>",
        b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}',
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n{}",
    ],
)  # fmt: skip
def test_what_is_not_of_the_protocol_is_said_to_be_so(serve: Serve, answer: bytes) -> None:
    client = serve(answer)
    whose = r"cannot understand the answer of .*; is it the control\.sock of fcgipm\?"
    with pytest.raises(ClientError, match=whose) as failed:
        client.document(client.get("status"))
    assert failed.value.code is ExitCode.NO_DAEMON


def test_a_socket_that_is_not_there_is_said_to_be_so() -> None:
    with pytest.raises(ClientError, match=r"cannot reach fcgipm at /no/such: no such file; is it running\?") as failed:
        Client("/no/such", 1).get("status")
    assert failed.value.code is ExitCode.NO_DAEMON


def test_a_socket_that_nobody_serves_is_said_to_be_so(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "s"))
    with pytest.raises(ClientError, match="nobody listens there any more; is it running") as failed:
        Client(str(place / "s"), 1).get("status")
    assert failed.value.code is ExitCode.NO_DAEMON
    assert not Client(str(place / "s"), 1).is_there()


@pytest.mark.parametrize("kind", [Path.touch, Path.mkdir])
def test_what_is_no_socket_is_said_to_be_none(place: Path, kind: Callable[[Path], None]) -> None:
    kind(place / "f")
    with pytest.raises(ClientError, match=r"cannot reach fcgipm at .*/f: it is no socket") as failed:
        Client(str(place / "f"), 1).get("status")
    assert failed.value.code is ExitCode.NO_DAEMON


def test_a_path_that_no_socket_can_have_is_refused() -> None:
    with pytest.raises(ClientError, match="cannot reach fcgipm at") as failed:
        Client("/" + "x" * 200, 1).get("status")
    assert failed.value.code is ExitCode.NO_DAEMON


@pytest.mark.parametrize("backlog", [0, 5])
def test_a_server_that_does_not_answer_costs_the_timeout(place: Path, backlog: int) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(place / "s"))
        listener.listen(backlog)
        first.connect(str(place / "s"))  # with a backlog of 0 the queue is full now
        answer = pytest.raises(ClientError, match=r"no answer from fcgipm at .* within 0.1 s")
        with answer as failed, Client(str(place / "s"), 0.1) as client:
            client.get("status")
        assert failed.value.code is ExitCode.TIMED_OUT


def test_names_are_quoted_in_the_query(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "s"))
        listener.listen(1)
        with pytest.raises(ClientError, match="no answer"), Client(str(place / "s"), 0.1) as client:
            client.get("status", [("app", "a&b=c d\r\né")])
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(4096).startswith(b"GET /v1/status?app=a%26b%3Dc%20d%0D%0A%C3%A9 HTTP/1.1\r\n")
