"""Who may not, and what is wrong: a clear answer, and nothing else suffers."""

from __future__ import annotations

import contextlib
import random
import resource
import select
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from harness.stage import Stage, app, encode, receive, staged
from harness.waiting import until

from fcgipm.config.schema import External
from fcgipm.manager.serving.guard import PER_USER, SLOWEST

STRANGER, FRIEND, READER, MANAGER, GROUP = 61_001, 61_002, 61_003, 61_004, 61_005
UNREADABLE = b'{"apps": ["blog"'


@pytest.fixture(scope="module")
def patient(territory: Path) -> Iterator[Stage]:
    """Give one manager that everything wrong is tried on: after each it must be as it was."""
    place = Path(tempfile.mkdtemp(prefix="", dir=territory))
    place.chmod(0o755)
    external = External(name="legacy", host=("127.0.0.1:1",))
    with staged(place, app(), app("shop"), externals=[external]) as stage:
        stage.wait_ready("blog", 1)
        stage.wait_ready("shop", 1)
        yield stage


def unharmed(stage: Stage) -> None:
    states = {each["name"]: each["state"] for each in stage.ask("GET", "/v1/status").document["apps"]}
    assert states == {"blog": "running", "shop": "running", "legacy": "unreachable"}
    assert "Traceback" not in stage.log.read_text()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("GET", "/", None, 404, "nothing is at '/'"),
        ("GET", "/v1/stauts", None, 404, "did you mean 'status'?"),
        ("GET", "/v2/status", None, 404, "nothing is at"),
        ("GET", "/v1/" + "x" * 5000, None, 404, "nothing is at"),
        ("POST", "/v1/status", {}, 405, "status takes GET, not POST"),
        ("GET", "/v1/stop", None, 405, "stop takes POST, not GET"),
        ("PATCH", "/v1/stop", None, 405, "stop takes POST, not PATCH"),
        ("GET", "/v1/status?app=blgo", None, 404, "unknown application 'blgo'; did you mean 'blog'?"),
        ("GET", "/v1/status?apps=blog", None, 400, "unknown field 'apps'; did you mean 'app'?"),
        ("GET", "/v1/status", {"apps": ["blog"]}, 400, "status takes no body"),
        ("GET", "/v1/logs?app=blog&app=shop", None, 400, "name one application only"),
        ("GET", "/v1/logs?follow=yes", None, 400, "follow: 0 or 1 expected"),
        ("GET", "/v1/logs?follow=1&follow=0", None, 400, "follow: given twice"),
        ("GET", "/v1/logs?app=legacy", None, 400, "cannot show logs of legacy: it is external"),
        ("POST", "/v1/stop", {}, 400, "name an application"),
        ("POST", "/v1/stop?apps=blog", {"apps": ["blog"]}, 400, "not as a query"),
        ("POST", "/v1/stop", {"apps": ["blog"], "force": True}, 400, "unknown field 'force'"),
        ("POST", "/v1/stop", {"apps": "blog"}, 400, "a list of names expected"),
        ("POST", "/v1/stop", {"apps": [["blog"]]}, 400, "a list of names expected"),
        ("POST", "/v1/stop", {"apps": ["nope"]}, 404, "unknown application 'nope'"),
        ("POST", "/v1/stop", {"apps": ["blog", "nope"]}, 404, "unknown application 'nope'"),
        ("POST", "/v1/stop", {"apps": ["x" * 60_000]}, 404, "unknown application"),
        ("POST", "/v1/stop", {"apps": ["legacy"]}, 400, "cannot stop legacy: it is external"),
        ("POST", "/v1/stop", {"apps": ["blog"], "wait": 1}, 400, "wait: true or false expected"),
        ("POST", "/v1/stop", {"apps": ["blog"], "timeout": 0}, 400, "timeout: seconds above 0"),
        ("POST", "/v1/stop", {"apps": ["blog"], "timeout": True}, 400, "timeout: seconds above 0"),
        ("POST", "/v1/stop", b'{"apps": ["blog"], "timeout": NaN}', 400, "timeout: seconds above 0"),
        ("POST", "/v1/stop", b'{"apps": ["blog"], "timeout": 1e999}', 400, "timeout: seconds above 0"),
        ("POST", "/v1/stop", UNREADABLE, 400, "the body is not JSON"),
        ("POST", "/v1/stop", b"\xff\xfe\x00", 400, "the body is not JSON"),
        ("POST", "/v1/stop", b"[" * 60_000, 400, "the body is not JSON"),
        ("POST", "/v1/stop", b"[]", 400, "not a JSON object"),
        ("POST", "/v1/stop", b"9" * 60_000, 400, "the body is not JSON"),
        ("POST", "/v1/stop", b"x" * 70_000, 413, "the arguments, the body of this request, are larger than 64 KiB"),
        ("POST", "/v1/scale", {"apps": ["blog"]}, 400, "processes is missing"),
        ("POST", "/v1/scale", {"apps": ["blog", "shop"], "processes": 2}, 400, "name one application only"),
        ("POST", "/v1/scale", {"apps": ["blog"], "processes": 0}, 400, "from 1 to 10000"),
        ("POST", "/v1/scale", {"apps": ["blog"], "processes": -3}, 400, "from 1 to 10000"),
        ("POST", "/v1/scale", {"apps": ["blog"], "processes": "many"}, 400, "from 1 to 10000"),
        ("POST", "/v1/scale", {"apps": ["blog"], "processes": 2.5}, 400, "processes: "),
        ("POST", "/v1/scale", {"apps": ["blog"], "processes": "9" * 5000}, 400, "from 1 to 10000"),
        ("POST", "/v1/request", {"apps": ["blog"], "uri": "ping"}, 400, "does not begin with /"),
    ],
)
def test_what_is_wrong_is_said(  # noqa: PLR0917  # the columns of the table
    patient: Stage, method: str, path: str, body: Any, status: int, says: str
) -> None:
    answer = patient.ask(method, path, body)

    assert (answer.status, answer.headers["content-type"]) == (status, "application/json; charset=utf-8")
    assert says in answer.document["error"]
    assert len(answer.document["error"]) < 1000
    assert answer.document["exit"] == (1 if status == 502 else 2)
    unharmed(patient)


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 100 + b"\r\n\r\n",
        random.Random(1).randbytes(4096) + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"BREW /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /v1/stop HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /v1/status HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"y" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        b"GET //[ HTTP/1.1\r\nHost: [\r\n\r\n",
    ],
)
def test_garbage_gets_a_4xx_and_nothing_in_the_log(patient: Stage, data: bytes) -> None:
    answer = patient.say(data)

    assert 400 <= answer.status < 500
    assert answer.document["error"]
    unharmed(patient)


def test_a_huge_body_is_refused_before_it_is_read(place: Path) -> None:
    with staged(place, app()) as stage:
        head = b"POST /v1/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n"
        stage.wait_ready("blog", 1)
        begun = time.monotonic()
        answer = stage.say(head + b"x" * 1000)

        assert answer.status == 413
        assert time.monotonic() - begun < SLOWEST  # for so long it would have waited for the rest


def test_a_chunked_body_is_bounded_too(place: Path) -> None:
    with staged(place, app()) as stage:
        head = b"POST /v1/stop HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = stage.say(head + b"10000\r\n" + b"x" * 0x10000 + b"\r\n10000\r\n" + b"x" * 0x10000 + b"\r\n0\r\n\r\n")

        assert answer.status == 413


def test_slow_clients_are_closed_and_keep_nobody_waiting(place: Path) -> None:
    with staged(place, app()) as stage:
        beginnings = (b"", b"GET /v1/sta", b"POST /v1/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
        begun = time.monotonic()
        clients = [stage.connect() for _ in beginnings]
        for client, data in zip(clients, beginnings, strict=True):
            client.sendall(data)
        stage.wait_ready("blog", 1)
        for client in clients:
            with client, contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""

        assert time.monotonic() - begun > SLOWEST


def test_an_answer_that_nobody_takes_is_dropped(place: Path) -> None:
    applications = [app(f"application-with-a-long-name-{number}", autostart=False) for number in range(1500)]
    with staged(place, *applications) as stage, stage.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stage.wait_ready(applications[0].name, 0)
        client.sendall(encode("GET", "/v1/status"))
        gone = select.poll()
        gone.register(client, 0)  # a closed connection is told although nothing is read

        assert gone.poll(20_000)


def test_three_hundred_connections_at_once(place: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(1024, hard)), hard))
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        clients = [stage.connect() for _ in range(300)]
        try:
            until(lambda: len(readable(clients)) >= 300 - PER_USER, what="all but so many are refused")
            refused = [receive(client) for client in readable(clients)]
        finally:
            for client in clients:
                client.close()

        assert len(refused) < 300
        assert {answer.status for answer in refused} == {503}
        assert "64 connections of the same user" in refused[0].document["error"]
        until(lambda: stage.ask("GET", "/v1/status").status == 200)


def readable(clients: Sequence[socket.socket]) -> list[socket.socket]:
    """Return those who have been told something; the others may stay."""
    poller = select.poll()
    for client in clients:
        poller.register(client, select.POLLIN)
    found = {descriptor for descriptor, _ in poller.poll(0)}
    return [client for client in clients if client.fileno() in found]


def test_a_connection_gets_one_answer_and_no_more(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        answer = stage.say(encode("GET", "/v1/status") * 50)

        assert answer.body.count(b'"version"') == 1


def ask(stage: Stage, method: str, path: str, body: Any = None, **who: Any) -> Any:
    with stage.connect(**who) as client:
        client.sendall(encode(method, path, body))
        return receive(client)


RULES = {str(FRIEND): "admin", str(READER): "read", f"%{GROUP}": "read"}


@pytest.mark.root
@pytest.mark.parametrize(
    ("who", "look", "touch"),
    [
        ({"uid": 0}, 200, 200),
        ({"uid": FRIEND}, 200, 200),
        ({"uid": READER}, 200, 403),
        ({"uid": STRANGER}, 403, 403),
        ({"uid": STRANGER, "gid": GROUP}, 200, 403),
        ({"uid": STRANGER, "groups": [1, GROUP]}, 200, 403),
        ({"uid": STRANGER, "gid": 0, "groups": [0]}, 403, 403),
        ({"uid": MANAGER}, 403, 403),
    ],
)
def test_everybody_may_do_what_the_configuration_says(place: Path, who: Any, look: int, touch: int) -> None:
    rules = {**RULES, str(MANAGER): "admin"}  # even so: what has the manager's user has no more than that
    with staged(place, app(), access=rules, uid=MANAGER) as stage:
        stage.wait_ready("blog", 1)

        assert ask(stage, "GET", "/v1/status", **who).status == look
        assert ask(stage, "POST", "/v1/stop", {"apps": ["blog"]}, **who).status == touch


@pytest.mark.root
def test_who_may_not_is_told_who_he_is_and_what_it_takes(place: Path) -> None:
    with staged(place, app(), access=RULES, uid=MANAGER) as stage:
        answer = ask(stage, "POST", "/v1/stop", {"apps": ["blog"]}, uid=STRANGER)

    assert answer.document["error"] == f"user #{STRANGER} may not use stop: it is for root and admins"
    assert answer.document["exit"] == 4


@pytest.mark.root
def test_strangers_cannot_lock_the_others_out(place: Path) -> None:
    with staged(place, app(), access=RULES, uid=MANAGER) as stage:
        clients = [stage.connect(uid=STRANGER + number // 60 * 10) for number in range(300)]
        try:
            assert stage.ask("GET", "/v1/status").status == 200
        finally:
            for client in clients:
                client.close()
