"""Applications whose number of instances follows demand, behind real web servers: cold, warm, busy, in back-off."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from harness.daemon import Daemon
from harness.waiting import until
from integration.web.applications import RECORDER, Records, app, demo, script
from integration.web.servers import Answer, Connection, WebServer

Starter = Callable[..., Daemon]
Web = Callable[..., WebServer]

REFUSALS = {"nginx": {200, 503}, "lighttpd": {200, 500}, "apache": {200}}
"""What each answers where the queue is full; lighttpd 1.4.69 says 500, Apache waits until there is room."""
FLEXIBLE = ("min-processes = 0", "max-processes = 2", "start-delay = 0.2", "restart-delay = 0")


@pytest.fixture
def recorder(place: Path, records: Records) -> Callable[..., str]:
    """Give a function (*lines) that returns the table of a recorder called rec."""
    program = script(place / "recorder", RECORDER)
    return lambda *lines: app("rec", [str(program), str(records.directory)], *lines)


@contextlib.contextmanager
def visitors(number: int) -> Iterator[Callable[..., Future[Answer]]]:
    """Give a function that lets one of *number* visitors call something meanwhile."""
    with ThreadPoolExecutor(number) as pool:
        yield pool.submit


# ── nobody is there ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_visitor_starts_an_instance_and_the_second_meets_it(start_daemon: Starter, web: Web) -> None:
    daemon = start_daemon(demo("demo", *FLEXIBLE), wait="answering")
    site = web(daemon)
    assert daemon.app("demo")["ready"] == 0

    first = site.page("/demo/pid").text
    assert site.page("/demo/pid").text == first
    until(lambda: daemon.app("demo")["ready"] == 1, what="one instance is there")


def test_a_cold_application_gets_path_query_and_body(start_daemon: Starter, web: Web) -> None:
    site = web(start_daemon(demo("demo", *FLEXIBLE), wait="answering"))

    seen = site.page("/demo/env?a=%26b").json()["request"]
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"], seen["QUERY_STRING"]) == ("/demo", "/env", "a=%26b")


def test_a_large_body_waits_for_the_first_instance(start_daemon: Starter, web: Web) -> None:
    body = os.urandom(5_000_000)
    site = web(start_daemon(demo("demo", *FLEXIBLE), wait="answering"))

    assert site.page("/demo/echo", method="POST", body=body).body == body


def test_a_crowd_at_a_cold_application_is_served_each_once(
    start_daemon: Starter, web: Web, recorder: Callable[..., str], records: Records
) -> None:
    site = web(start_daemon(recorder(*FLEXIBLE), wait="answering"))

    with visitors(12) as visitor:
        answers = [visitor(site.post, "/rec/x", f"visitor {number}") for number in range(120)]
        assert {answer.result().status for answer in answers} == {200}
    assert sorted(records.lines()) == sorted(f"visitor {number}" for number in range(120))


def test_one_connection_asks_again_and_again(start_daemon: Starter, web: Web) -> None:
    daemon = start_daemon(demo("demo", *FLEXIBLE, "idle-stop = 1"), wait="answering")
    site = web(daemon)

    with contextlib.closing(Connection(site.address, 20)) as connection:
        for _ in range(3):
            connection.request("GET", "/demo/ping")
            assert connection.getresponse().read() == b"pong\n"
        until(lambda: daemon.app("demo")["ready"] == 0, what="the last instance has gone")
        connection.request("POST", "/demo/echo", b"hello")
        assert connection.getresponse().read() == b"hello"


def test_hostile_paths_arrive_as_what_they_are_or_not_at_all(start_daemon: Starter, web: Web) -> None:
    daemon = start_daemon(demo("demo", *FLEXIBLE), wait="answering")
    site = web(daemon)

    for target in (b"/demo/%00", b"/demo/../../etc/passwd", b"/demo%2f..%2f..%2fetc/passwd"):
        assert site.raw(target).status in (400, 403, 404)
    assert daemon.app("demo")["ready"] == 0
    for target, path in (
        (b"/demo/a%20b", "/a b"), (b"/demo/x%26y%3fz", "/x&y?z"), (b"/demo/%C3%A4\xc3\xb6", "/\u00e4\u00f6"),
        (b"/demo/%25%7B%24HOME%7D$1", "/%{$HOME}$1"),
    ):  # fmt: skip
        answer = site.raw(target)
        assert (answer.status, answer.text) == (404, f"no such page: {path}\n")
    answer = site.raw(b"/demo/a%0d%0aX-Evil:%20yes")
    assert "x-evil" not in {name.lower() for name in answer.headers}
    assert answer.status == 400 or answer.body == b"no such page: /a\r\nX-Evil: yes\n"


# ── all are busy ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_finds_no_room_in_the_queue_is_told_so_or_waits_and_nobody_else_is_lost(
    start_daemon: Starter, web: Web, kind: str, recorder: Callable[..., str], records: Records
) -> None:
    one = ("min-processes = 0", "max-processes = 1", "listen-queue-depth = 2")
    daemon = start_daemon(recorder(*one), wait="answering")
    site = web(daemon)

    with visitors(11) as visitor:
        held = visitor(site.get, "/rec/hold")
        until(lambda: len(records.lines()) == 1, what="an instance is busy")
        answers = [visitor(site.post, "/rec/x", f"visitor {number}") for number in range(10)]
        until(lambda: daemon.app("rec")["queue"] >= 3, what="the queue is full")
        if kind != "apache":
            until(lambda: len([answer for answer in answers if answer.done()]) == 7, what="the others are refused")
        records.release()
        got = [answer.result() for answer in answers]
    assert held.result().status == 200
    assert {answer.status for answer in got} == REFUSALS[kind]
    assert len(records.lines()) == 1 + len([answer for answer in got if answer.status == 200])
    if kind == "nginx":
        assert {answer.headers["Retry-After"] for answer in got if answer.status == 503} == {"1"}


def test_a_second_instance_comes_when_visitors_wait(
    start_daemon: Starter, web: Web, recorder: Callable[..., str], records: Records
) -> None:
    site = web(start_daemon(recorder(*FLEXIBLE), wait="answering"))

    with visitors(2) as visitor:
        held = visitor(site.get, "/rec/hold")
        until(lambda: len(records.lines()) == 1, what="an instance is busy")
        other = site.page("/rec/x").text.split()[2]
        records.release()
        assert held.result().text.split()[2] != other


# ── it cannot be started ─────────────────────────────────────────────────────────────────────────────────────────────


def test_in_back_off_visitors_are_told_when_to_come_again(start_daemon: Starter, web: Web) -> None:
    broken = app("broken", [sys.executable, "-c", "raise SystemExit(3)"], *FLEXIBLE, 'overload-response = "503"')
    daemon = start_daemon(broken, wait="answering")
    site = web(daemon)

    answer = site.get("/broken/x")
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert site.post("/broken/x", "y" * 50_000).status == 503


# ── a request is never sent twice ────────────────────────────────────────────────────────────────────────────────────


def test_a_post_whose_instance_dies_after_reading_is_delivered_once(
    start_daemon: Starter, web: Web, recorder: Callable[..., str], records: Records
) -> None:
    daemon = start_daemon(recorder(*FLEXIBLE, "min-server-life = 0"), wait="answering")
    site = web(daemon)

    assert site.post("/rec/die", "cold").status in (500, 502, 503)
    until(lambda: site.get("/rec/x").status == 200, what="another instance answers")
    assert site.post("/rec/die", "warm").status in (500, 502, 503)
    assert records.lines().count("cold") == 1
    assert records.lines().count("warm") == 1


def test_an_answer_that_does_not_come_is_not_asked_for_twice(
    start_daemon: Starter, web: Web, recorder: Callable[..., str], records: Records
) -> None:
    daemon = start_daemon(recorder(*FLEXIBLE, "idle-timeout = 1"), wait="answering")
    site = web(daemon)

    assert site.post("/rec/hold", "waited for").status == 504
    records.release()
    assert records.lines() == ["waited for"]
