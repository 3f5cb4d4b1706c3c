"""What nginx makes of every answer to its question, and that the second way is the first: with an answerer of ours."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.waiting import until
from integration.web.applications import DEMO
from integration.web.servers import WebServer

from fcgipm.config.schema import Application
from fcgipm.webserver import nginx
from fcgipm.webserver.target import Site

pytestmark = pytest.mark.needs("nginx")


class Answerer:
    """A connector socket in *directory* where everybody gets `answer`; `questions` are what was asked.

    With *starts*, the application's socket is there when the answer is given, and an instance with it.
    """

    def __init__(self, directory: Path, answer: bytes, *, starts: bool = False) -> None:
        self.directory, self.answer, self._starts = directory, answer, starts
        self.questions: list[bytes] = []
        self.app = directory / "app.sock"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(directory / "connector.sock"))
        (directory / "connector.sock").chmod(0o666)
        self._listener.listen()
        self._instance: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def ctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Print the snippet for an application that has a prefix and an extension."""
        app = Application(
            name="app", command=(DEMO[0],), uri=("/app/", ".demo"), socket=str(self.app), processes=None,
            min_processes=0, max_processes=2,
        )  # fmt: skip
        site = Site(applications=[app], runtime_dir=str(self.directory))
        return subprocess.CompletedProcess(arguments, 0, nginx.snippet(site, [nginx.Context(arguments[-1])]), "")

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.questions.append(connection.recv(1 << 16))
                if self._starts and self._instance is None:
                    self.start()
                connection.sendall(self.answer)

    def start(self) -> None:
        """Let an instance serve at the application's socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(self.app))
            self.app.chmod(0o666)
            listener.listen()
            self._instance = subprocess.Popen(DEMO, stdin=listener.fileno(), stderr=subprocess.DEVNULL)

    def again(self) -> None:
        """Let nobody be there once more."""
        if self._instance is not None:
            self._instance.kill()
            self._instance.wait()
            self._instance = None
            self.app.unlink()

    def close(self) -> None:
        """End everything."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self.again()


Asked = Callable[..., tuple[Answerer, WebServer]]


@pytest.fixture
def asked(place: Path, server: Callable[..., WebServer]) -> Iterator[Asked]:
    """Give a function (answer, starts=False) that starts an nginx and whom it asks."""
    started: list[Answerer] = []

    def start(answer: bytes, **more: bool) -> tuple[Answerer, WebServer]:
        started.append(Answerer(place, answer, **more))
        return started[-1], server("nginx", started[-1])

    yield start
    for answerer in started:
        answerer.close()


READY = b"HTTP/1.1 200 OK\r\nX-Fcgipm-Address: unix:/x\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "status", "retry_after"),
    [
        (READY, 503, "1"),
        (b"HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno", 503, "7"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", 503, "1"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", 403, None),
        (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", 404, None),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", 502, None),
        (b"HTTP/1.1 302 No\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", 502, None),
        (b"what?\r\n\r\n", 503, "1"),  # for nginx this is an answer without a status, and so 200
        (b"", 502, None),
    ],
)
def test_every_answer_becomes_what_the_visitor_should_know(
    asked: Asked, answer: bytes, status: int, retry_after: str | None
) -> None:
    answerer, site = asked(answer)

    got = site.post("/app/x", "x" * 100_000)
    assert (got.status, got.headers.get("Retry-After")) == (status, retry_after)
    assert len(answerer.questions) == (2 if answer == b"" else 1)


def test_a_question_says_who_is_wanted_and_nothing_of_the_visitor(asked: Asked) -> None:
    answerer, site = asked(READY)

    site.get("/app/x%0d%0aX-Fcgipm-App:%20other?a=b", headers={"Cookie": "secret", "X-Fcgipm-App": "other"})
    (question,) = answerer.questions
    assert question.splitlines() == [
        b"GET /v1/ensure HTTP/1.0", b"Host: fcgipm", b"X-Fcgipm-App: app", b"Connection: close", b"",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "script", "rest"),
    [("/app/a%20b%3fc%26d/e", "/app", "/a b?c&d/e"), ("/x.demo/more%3f%23", "/x.demo", "/more?#")],
)
def test_the_second_way_is_the_first(asked: Asked, www: Path, path: str, script: str, rest: str) -> None:
    (www / "x.demo").touch()
    answerer, site = asked(READY, starts=True)

    assert site.get(f"{path}?q=%3f").text == f"no such page: {rest}\n"
    assert len(answerer.questions) == 1
    answerer.again()
    seen = site.page(f"{script}/env?q=%3f").json()["request"]
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"], seen["QUERY_STRING"]) == (script, "/env", "q=%3f")
    assert len(answerer.questions) == 2


def test_a_large_body_is_there_for_the_second_way(asked: Asked) -> None:
    _, site = asked(READY, starts=True)
    body = os.urandom(5_000_000)

    assert site.page("/app/echo", method="POST", body=body).body == body


def test_a_file_that_is_missing_is_not_asked_for(asked: Asked) -> None:
    answerer, site = asked(READY)

    assert site.get("/none.demo").status == 404
    assert answerer.questions == []


def test_an_instance_that_was_there_is_not_asked_for(asked: Asked) -> None:
    answerer, site = asked(b"")
    answerer.start()

    until(lambda: site.get("/app/ping").status == 200, what="it answers")
    answerer.questions.clear()
    assert [site.page("/app/ping").text for _ in range(5)] == ["pong\n"] * 5
    assert site.get("/app/crash").status == 502
    assert answerer.questions == []
