"""What answers 503: whatever comes, it is answered or closed, and nothing else is raised."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcgipm import turnaway
from fcgipm.fastcgi import FastCGIError, Kind, Record, RecordReader, encode_record, encode_request, parse_cgi

RECORDS = st.builds(
    Record,
    kind=st.integers(0, 12),
    request_id=st.integers(0, 3),
    content=st.one_of(st.just(b""), st.just(b"\0\1\0\0\0\0\0\0"), st.binary(max_size=20)),
)


def answered(data: bytes) -> bytes:
    """Return what comes back for *data*, after which nothing more is sent."""
    visitor, ours = socket.socketpair()
    with visitor, ours:
        visitor.sendall(data)
        visitor.shutdown(socket.SHUT_WR)
        with suppress(FastCGIError):
            turnaway.serve(ours, turnaway.response(5))
        ours.close()
        visitor.settimeout(10)
        with suppress(ConnectionResetError):
            return b"".join(iter(lambda: visitor.recv(65536), b""))
        return b""


@given(st.binary(max_size=300))
def test_any_bytes_are_read_to_their_end(data: bytes) -> None:
    answered(data)


@given(st.lists(RECORDS, max_size=20))
def test_every_request_that_was_begun_is_ended_once(records: list[Record]) -> None:
    begun = {record.request_id for record in records if record.kind == Kind.BEGIN_REQUEST}
    is_request = all(len(record.content) == 8 for record in records if record.kind == Kind.BEGIN_REQUEST)

    answers = list(RecordReader().feed(answered(b"".join(encode_record(record) for record in records))))

    ended = [record.request_id for record in answers if record.kind == Kind.END_REQUEST]
    assert set(ended) <= begun
    if is_request and begun:
        assert ended


def test_the_page_is_a_cgi_answer() -> None:
    status, reason, headers, body = parse_cgi(turnaway.response(7))

    assert (status, reason) == (503, "Service Unavailable")
    assert ("Retry-After", "7") in headers
    assert body.decode().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("arguments", [[], ["1"], ["soon", "0"], ["1", "2", "3"], ["1", "0"]])
def test_what_is_not_started_by_fcgipm_says_so(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "fcgipm.turnaway", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=20, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert ("usage" in done.stderr) == (arguments != ["1", "0"])


def test_a_request_is_answered_over_any_number_of_pieces() -> None:
    data = encode_request({"REQUEST_METHOD": "GET"}, b"body")
    visitor, ours = socket.socketpair()
    with visitor, ours:
        pid = os.fork()
        if pid == 0:
            for byte in data:
                visitor.sendall(bytes((byte,)))
            visitor.shutdown(socket.SHUT_WR)
            os._exit(0)
        turnaway.serve(ours, turnaway.response(5))
        os.waitpid(pid, 0)
        assert b"503 Service Unavailable" in visitor.recv(65536)
