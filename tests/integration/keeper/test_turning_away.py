"""What answers 503 in an application's place: read first, answer, close, and be gone without anybody's loss."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.keeper import SERVE, Puppet, Rig, listens_blocking, python
from harness.waiting import ended, until

from fcgipm import wire
from fcgipm.fastcgi import (
    Kind,
    Record,
    RecordReader,
    Response,
    ResponseParser,
    Role,
    encode_record,
    encode_request,
)

Start = Callable[..., Rig]


ONE = f"[app.one]\n{python(SERVE)}\noverload-response = '503'\n"
NONBLOCKING = "import socket, select\ns = socket.socket(fileno=0)\ns.setblocking(False)\nselect.select([s], [], [])\n"


@pytest.fixture
def keeper(rig: Start) -> Rig:
    return rig(ONE)


@pytest.fixture
def puppet(keeper: Rig) -> Puppet:
    return keeper.puppet()


def refuse(puppet: Puppet, number: int, *, seconds: int = 30) -> int:
    """Have visitors turned away; return the pid."""
    puppet.order(wire.Spawn(instance=number, app="one", generation=1, turns_away=seconds))
    pid = puppet.expect(wire.Spawned, instance=number).pid
    assert puppet.expect(wire.BecameReady, instance=number).how in {"accepting", "serving"}
    return pid


@contextlib.contextmanager
def visitor(keeper: Rig) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(keeper.socket("one")))
        yield sock


def answer(sock: socket.socket, number: int = 1) -> Response:
    """Return the whole answer; the connection must be closed after it."""
    parser, response = ResponseParser(number), None
    while data := sock.recv(65536):
        response = parser.feed(data)
    assert response is not None
    return response


def is_refusal(response: Response, seconds: int = 30) -> bool:
    return (response.status, response.header("Retry-After")) == (503, str(seconds))


def test_a_visitor_is_told_when_to_come_again(keeper: Rig, puppet: Puppet) -> None:
    with visitor(keeper) as sock:  # he was there before
        sock.sendall(encode_request({"REQUEST_METHOD": "GET"}))
        refuse(puppet, 1, seconds=17)
        response = answer(sock)

    assert (response.status, response.reason, response.app_status) == (503, "Service Unavailable", 0)
    assert response.header("Retry-After") == "17"
    assert response.header("Content-Type") == "text/html; charset=utf-8"
    assert "again in 17 s" in response.body.decode()
    assert response.header("Content-Length") == str(len(response.body))


def test_a_body_is_read_whatever_its_length_before_the_connection_is_closed(keeper: Rig, puppet: Puppet) -> None:
    refuse(puppet, 1)
    for size in (1, 65_536, 5_000_000):
        with visitor(keeper) as sock:
            sock.sendall(encode_request({"REQUEST_METHOD": "POST"}, b"x" * size))
            assert is_refusal(answer(sock))


def test_an_authorizer_is_answered_without_the_end_of_a_body(keeper: Rig, puppet: Puppet) -> None:
    refuse(puppet, 1)
    with visitor(keeper) as sock:
        whole = encode_request({}, role=Role.AUTHORIZER)
        sock.sendall(whole.removesuffix(encode_record(Record(Kind.STDIN, 1, b""))))
        assert is_refusal(answer(sock))


@pytest.mark.parametrize("keep", [False, True])
def test_requests_may_share_a_connection_which_is_closed_all_the_same(keeper: Rig, puppet: Puppet, keep: bool) -> None:
    refuse(puppet, 1)
    with visitor(keeper) as sock:
        first, second = (encode_request({"N": "1"}, keep_conn=keep, request_id=number) for number in (1, 7))
        sock.sendall(first[:16] + second[:16] + second[16:] + first[16:])  # the second one is complete first
        data = b"".join(iter(lambda: sock.recv(65536), b""))

    ends = [record.request_id for record in RecordReader().feed(data) if record.kind == Kind.END_REQUEST]
    assert ends == [7, 1]
    assert data.count(b"503 Service Unavailable") == 2


def test_what_is_asked_about_the_connection_and_what_is_given_up_is_answered(keeper: Rig, puppet: Puppet) -> None:
    refuse(puppet, 1)
    with visitor(keeper) as sock:
        sock.sendall(encode_record(Record(Kind.GET_VALUES, 0, b"")))
        assert sock.recv(8)[1] == Kind.GET_VALUES_RESULT
        sock.sendall(encode_request({}, b"half")[:24] + encode_record(Record(Kind.ABORT_REQUEST, 1, b"")))
        data = b"".join(iter(lambda: sock.recv(65536), b""))

    assert data[-16:-8] == encode_record(Record(Kind.END_REQUEST, 1, bytes(8)))[:8]


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.0\r\n\r\n", b"\1\1\0\1\0\4\0\0abcd", b"\1\5\0\1\0\0\0\0" * 5_000, b"\0" * 100_000],
    ids=["http", "a begin that is short", "records of no request", "zeros"],
)
def test_garbage_closes_its_connection_and_nothing_else(keeper: Rig, puppet: Puppet, garbage: bytes) -> None:
    pid = refuse(puppet, 1)
    with visitor(keeper) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(garbage)
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(65536) == b""
    with visitor(keeper) as sock:
        sock.sendall(encode_request({}))
        assert is_refusal(answer(sock))
    assert Path(f"/proc/{pid}").exists()


def test_who_says_nothing_holds_nobody_else_and_who_stops_halfway_is_answered(keeper: Rig, puppet: Puppet) -> None:
    refuse(puppet, 1)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(visitor(keeper)) for _ in range(10)]
        silent[0].sendall(encode_request({}, b"half")[:40])
        with visitor(keeper) as sock:
            sock.settimeout(4)  # the silent ones are waited for for 5 s
            sock.sendall(encode_request({}))
            assert is_refusal(answer(sock))

        assert is_refusal(answer(silent[0]))
        assert silent[1].recv(1) == b""


def test_the_listener_blocks_as_ever(keeper: Rig, puppet: Puppet) -> None:
    refuse(puppet, 1)
    with visitor(keeper) as sock:
        sock.sendall(encode_request({}))
        answer(sock)
        # Its flags belong to all who hold it; the keeper has no connection of the same name.
        assert listens_blocking(keeper.pid, str(keeper.runtime / "private" / "one.1")) == [True]


def test_a_listener_that_an_application_has_set_non_blocking_is_served_too(rig: Start) -> None:
    keeper = rig(f"[app.one]\n{python(NONBLOCKING)}\noverload-response = '503'\nready-timeout = '200ms'\n")
    puppet = keeper.puppet()
    puppet.spawn("one", 1)
    puppet.order(wire.Spawn(instance=2, app="one", generation=1, turns_away=30))
    puppet.expect(wire.BecameReady, instance=2)

    for _ in range(3):
        with visitor(keeper) as sock:
            sock.sendall(encode_request({}))
            assert is_refusal(answer(sock))
    assert listens_blocking(keeper.pid, str(keeper.runtime / "private" / "one.1")) == [False]


def test_it_is_removed_and_started_again_and_no_visitor_is_lost(keeper: Rig, puppet: Puppet) -> None:
    finished = threading.Event()
    answers: list[bool] = []

    def come() -> None:
        while not finished.is_set():
            with visitor(keeper) as sock:
                sock.sendall(encode_request({}, b"x" * 1000))
                answers.append(is_refusal(answer(sock)))

    threads = [threading.Thread(target=come) for _ in range(4)]
    refuse(puppet, 1)
    for thread in threads:
        thread.start()
    try:
        for number in range(2, 12):
            refuse(puppet, number)
            assert puppet.retire(number - 1).how == "killed"
            seen = len(answers)
            until(lambda seen=seen: len(answers) > seen + 20)  # type: ignore[misc]
    finally:
        finished.set()
        for thread in threads:
            thread.join(20)
    assert len(answers) > 200
    assert all(answers)


def test_it_is_told_apart_from_instances_to_a_new_manager(keeper: Rig, puppet: Puppet) -> None:
    puppet.spawn("one", 1)
    refuse(puppet, 2)
    puppet.end(0)

    facts = keeper.puppet().snapshot.instances

    assert [(fact.instance, fact.turns_away, fact.outdated) for fact in facts] == [(1, False, False), (2, True, False)]


def test_nobody_is_turned_away_where_the_configuration_does_not_say_so(rig: Start) -> None:
    puppet = rig(f"[app.one]\n{python(SERVE)}\n[app.two]\n{python(SERVE)}\noverload-response = '503'\n").puppet()
    puppet.order(
        wire.Spawn(instance=1, app="one", generation=1, turns_away=1),
        wire.Spawn(instance=1, app="two", generation=1, turns_away=-1),
        wire.Spawn(instance=1, app="two", generation=1, turns_away=1, above=-1),
    )

    assert "overload-response is none" in puppet.expect(wire.SpawnFailed).error
    assert "no Retry-After" in puppet.expect(wire.SpawnFailed).error
    assert "no length of a queue" in puppet.expect(wire.SpawnFailed).error


def test_it_ends_with_a_keeper_that_was_killed(keeper: Rig, puppet: Puppet) -> None:
    pid = refuse(puppet, 1)
    keeper.process.kill()
    keeper.process.wait()
    puppet.close()

    ended(pid)


@pytest.mark.root
def test_it_has_no_rights(rig: Start) -> None:
    keeper = rig(ONE, daemon="user = '#4711'")
    pid = refuse(keeper.puppet(), 1)

    lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    assert set(lines["Uid"].split()) == {"4711"}
    assert lines["Groups"].strip() == ""
    assert lines["NoNewPrivs"] == "1"
    assert int(lines["CapEff"], 16) == 0
    assert Path(f"/proc/{pid}/environ").read_bytes() == b"LANG=C.UTF-8\0"


def test_a_visitor_in_his_answer_spares_it(keeper: Rig, puppet: Puppet) -> None:
    refuse(puppet, 1)
    with visitor(keeper) as sock:
        sock.sendall(encode_request({}, b"half")[:40])
        until(lambda: _refusal(puppet) == "busy")
        sock.sendall(encode_request({}, b"half")[40:])
        assert is_refusal(answer(sock))
    puppet.retire(1)


def _refusal(puppet: Puppet) -> str:
    puppet.order(wire.Retire(instance=1, cut=False))
    return puppet.expect(wire.RemovalRefused).why


def test_a_signal_ends_it(keeper: Rig, puppet: Puppet) -> None:
    pid = refuse(puppet, 1)
    os.kill(pid, signal.SIGTERM)

    assert puppet.expect(wire.Exited, instance=1).signal == signal.SIGTERM
