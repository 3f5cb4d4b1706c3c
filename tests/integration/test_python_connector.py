"""fcgipm.connector: a web server in Python asks, sends and reports."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from harness.daemon import Daemon
from harness.waiting import until

from fcgipm.connector import AsyncClient, Client, NotFound, Ready, Refused, Unavailable
from fcgipm.linux.sock_diag import Diag, endpoint_named
from fcgipm.reporting import Report

DEMO = f"command = {json.dumps([os.path.realpath(sys.executable), '-m', 'fcgipm.demo'])}"
APPS = f"""
[app.demo]
{DEMO}
min-processes = 0
max-processes = 1
directory = "{Path(__file__).parents[2]}"

[app.off]
{DEMO}
autostart = false
"""


@pytest.fixture
def daemon(start_daemon: Callable[..., Daemon]) -> Daemon:
    """Give a daemon with an application that is started when somebody asks, and one that is not."""
    return start_daemon(APPS, wait="answering", environ={**os.environ, "PYTHONPATH": ""})


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    """Give a client of it."""
    with Client(str(daemon.runtime), timeout=30) as client:
        yield client


def get(path: str, query: str = "") -> dict[str, str]:
    """Return the variables of a request for *path* of the demonstration."""
    return {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "/demo", "PATH_INFO": path, "QUERY_STRING": query}


def post(path: str, body: bytes) -> dict[str, str]:
    """Return the variables of a request that sends *body* to *path*."""
    return {**get(path), "REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": "text/plain"}


def metric(daemon: Daemon, name: str) -> float:
    """Return the value of a metric, 0 where it is not there."""
    text = daemon.http("GET", "/metrics")[1].decode()
    found = re.search(f"^{re.escape(f'fcgipm_{name}')} (.*)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_cold_application_is_started_and_a_warm_one_told_at_once(daemon: Daemon, client: Client) -> None:
    assert daemon.instances("demo", None) == []

    assert client.ensure(app="demo") == Ready("demo", f"unix:{daemon.socket('demo')}")
    first = daemon.instances("demo")
    assert client.ensure(app="demo") == Ready("demo", f"unix:{daemon.socket('demo')}")

    assert len(first) == 1
    assert daemon.instances("demo") == first


def test_a_request_is_answered_cold_and_warm_and_reported(daemon: Daemon, client: Client) -> None:
    statuses = [client.request(get("/ping"), app="demo").status for _ in range(3)]
    missing = client.request(get("/status", "code=404"), app="demo")

    assert statuses == [200, 200, 200]
    assert missing.status == 404
    until(lambda: metric(daemon, "reports_total") == 4)
    assert metric(daemon, 'requests_total{app="demo",class="2xx"}') == 3
    assert metric(daemon, 'requests_total{app="demo",class="4xx"}') == 1
    assert metric(daemon, 'request_seconds_count{app="demo"}') == 4
    assert 0 < metric(daemon, 'connection_seconds_total{app="demo"}') < 30


def test_a_large_body_goes_there_and_back(client: Client) -> None:
    body = os.urandom(3_000_000)

    assert client.request(post("/echo", body), body, app="demo").body == body


def test_an_instance_that_died_is_replaced_and_what_was_not_sent_is_tried_again(daemon: Daemon, client: Client) -> None:
    assert client.request(get("/ping"), app="demo").status == 200
    (pid,) = daemon.instances("demo")
    daemon.ctl("stop", "demo")

    with pytest.raises(Refused) as caught:
        client.ensure(app="demo")
    assert "stopped" in str(caught.value)
    daemon.ctl("start", "demo")

    assert client.request(get("/ping"), app="demo").status == 200
    assert daemon.instances("demo") != [pid]


def test_what_was_sent_is_never_sent_again(daemon: Daemon, client: Client) -> None:
    client.ensure(app="demo")

    with pytest.raises(Unavailable, match="demo"):
        client.request(post("/crash", b"once"), b"once", app="demo")

    until(lambda: metric(daemon, 'requests_total{app="demo",class="5xx"}') == 1)
    until(lambda: daemon.app("demo")["restarts"] == 1, what="its end is known, too")


def test_a_stopped_application_is_refused_with_the_reason(daemon: Daemon, client: Client) -> None:
    with pytest.raises(Refused, match="off is stopped by an operator") as caught:
        client.request(get("/ping"), app="off")

    assert caught.value.retry_after >= 1
    until(lambda: metric(daemon, 'requests_total{app="off",class="5xx"}') == 1)


def test_what_nobody_knows_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound, match="nobody is not known"):
        client.ensure(app="nobody")
    with pytest.raises(NotFound):
        client.ensure(path="/srv/nobody/\udcff.fcgi")


def test_many_tasks_share_one_client_and_one_start(daemon: Daemon) -> None:
    async def main() -> list[int]:
        client = AsyncClient(str(daemon.runtime))
        answers = await asyncio.gather(*(client.request(get("/ping"), app="demo") for _ in range(20)))
        client.close()
        return [answer.status for answer in answers]

    assert asyncio.run(main()) == [200] * 20
    assert len(daemon.instances("demo", None)) == 1


def test_a_crowd_may_ask_at_once(daemon: Daemon, client: Client) -> None:
    client.ensure(app="demo")
    most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    with Diag() as diag:
        queue = diag.queue(endpoint_named(f"{daemon.runtime}/private/connector.1"))

    assert queue is not None
    assert queue.limit == min(1024, most)  # asyncio has not made it smaller


def test_reports_may_be_sent_by_hand(daemon: Daemon, client: Client) -> None:
    assert client.report(Report(target="demo", status=201, response=2.5))

    until(lambda: metric(daemon, 'request_seconds_sum{app="demo"}') == 2.5)


# ── without fcgipm ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"app": "a", "path": "/b"},
        {"app": ""},
        {"app": "/a"},
        {"app": "a\r\nX-Fcgipm-Path: /b"},
        {"path": "a"},
        {"path": "/a\n"},
        {"path": "/a\0"},
    ],
)
def test_what_cannot_be_asked_is_said_before_anybody_is_asked(place: Path, wrong: dict[str, str]) -> None:
    with Client(str(place)) as client, pytest.raises(ValueError, match=r"name|no path"):
        client.ensure(**wrong)


def test_a_daemon_that_is_not_there_is_unavailable(place: Path) -> None:
    with Client(str(place)) as client:
        with pytest.raises(Unavailable, match="no such file or directory"):
            client.request(get("/"), app="demo")
        assert not client.report(Report(target="demo", status=200))
        assert client.report(Report(target="demo", status=200)) is False


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0" * 100,
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Fcgipm-Address: unix:/a\r\nContent-Length: 5\r\n\r\nabc",
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000,
    ],
)
def test_an_answer_that_is_none_is_no_crash(place: Path, answer: bytes) -> None:
    with stranger(place, answer), Client(str(place), timeout=5) as client, pytest.raises(Unavailable):
        client.ensure(app="demo")


def test_an_answer_that_does_not_come_is_not_waited_for_forever(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, Client(str(place), timeout=0.2) as client:
        listener.bind(str(place / "connector.sock"))
        listener.listen()
        with pytest.raises(Unavailable, match=r"within 0\.2 s"):
            client.ensure(app="demo")


def test_a_client_is_for_one_thread_and_each_may_have_its_own(daemon: Daemon) -> None:
    def ask(_number: int) -> int:
        with Client(str(daemon.runtime)) as client:
            return client.request(get("/ping"), app="demo").status

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(8))) == [200] * 8


@contextmanager
def stranger(place: Path, answer: bytes) -> Iterator[None]:
    """Listen where fcgipm should, and say *answer* to who comes."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "connector.sock"))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(10)
