"""A FastCGI request as fcgipmctl sends it: what it says, and what comes of applications that do not answer."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.components import absent

from fcgipm.config.schema import Application, External
from fcgipm.fastcgi import Response
from fcgipm.manager.serving.request import RequestError, params, request

Demo = Callable[[socket.socket], None]


def app(**more: Any) -> Application:
    return Application(name="demo", command=("/usr/bin/demo", "-x"), **{"uri": ("/demo/",), **more})


def ask(application: Application | External, address: str, uri: str, patience: float = 10) -> Response:
    return asyncio.run(request(application, address, uri, patience))


@pytest.fixture
def serve() -> Iterator[Demo]:
    """Give a function that starts the demonstration application on a listening socket."""
    started: list[subprocess.Popen[bytes]] = []

    def start(listener: socket.socket) -> None:
        listener.listen(5)
        started.append(subprocess.Popen([sys.executable, "-m", "fcgipm.demo"], stdin=listener.fileno()))

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_an_answer_over_a_unix_socket(serve: Demo, place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "s"))
        serve(listener)
        answer = ask(app(), f"unix:{place}/s", "/demo/status?code=404")
        assert (answer.status, answer.header("content-type")) == (404, "text/plain; charset=utf-8")


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_an_answer_over_tcp(serve: Demo, family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as listener:
        try:
            listener.bind((host, 0))
        except OSError as error:
            absent(f"{host} cannot be bound: {error}")
        serve(listener)
        shown = f"[{host}]" if ":" in host else host
        answer = ask(app(), f"tcp:{shown}:{listener.getsockname()[1]}", "/demo/env?a=1&b=%20")
        sent = json.loads(answer.body)
        assert '"QUERY_STRING": "a=1&b=%20"' in json.dumps(sent)


def test_what_it_wrote_to_stderr_comes_with_the_answer(serve: Demo, place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "s"))
        serve(listener)
        assert b"oh dear" in ask(app(), f"unix:{place}/s", "/demo/stderr?text=oh%20dear").stderr


def test_a_crash_is_no_answer(serve: Demo, place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "s"))
        serve(listener)
        with pytest.raises(RequestError, match=r"cannot request /demo/crash from demo at unix:.*: ") as failed:
            ask(app(), f"unix:{place}/s", "/demo/crash")
        assert not failed.value.timed_out


def test_nobody_answers_in_time(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "s"))
        listener.listen(5)
        with pytest.raises(RequestError, match=r"within 2 s \(waiting for the answer at unix:") as failed:
            ask(app(), f"unix:{place}/s", "/demo/", 2)  # enough for connecting, on a busy machine too
        assert failed.value.timed_out


def test_a_full_queue_is_waited_for(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(place / "s"))
        listener.listen(0)
        first.connect(str(place / "s"))
        with pytest.raises(RequestError, match=r"within 0.1 s \(connecting at unix:") as failed:
            ask(app(), f"unix:{place}/s", "/demo/", 0.1)
        assert failed.value.timed_out


def test_a_socket_that_is_not_there(place: Path) -> None:
    with pytest.raises(
        RequestError, match=rf"^cannot request /x from demo at unix:{place}/no: connecting: no such file"
    ):
        ask(app(), f"unix:{place}/no", "/x")


def test_garbage_is_no_answer(place: Path) -> None:
    async def talk() -> None:
        async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_unix_server(answer, place / "s"):
            await request(app(), f"unix:{place}/s", "/x", 5)

    with pytest.raises(RequestError, match="cannot request /x from demo at unix:"):
        asyncio.run(talk())


def test_a_uri_begins_with_a_slash() -> None:
    with pytest.raises(RequestError, match="cannot request 'ping' from demo: it does not begin with /"):
        ask(app(), "unix:/no", "ping")


@pytest.mark.parametrize(
    ("uri", "root", "path", "parts"),
    [
        (("/demo/",), None, "/demo/a/b", ("/demo", "/a/b", "/usr/bin/demo")),
        (("/demo/",), None, "/other", ("", "/other", "/usr/bin/demo")),
        (("/",), None, "/a", ("", "/a", "/usr/bin/demo")),
        (("/a/", "/a/b/"), None, "/a/b/c", ("/a/b", "/c", "/usr/bin/demo")),
        ((".php",), "/srv/www", "/x/index.php", ("/x/index.php", "", "/srv/www/x/index.php")),
        ((".php",), "/srv/www", "/x.php/more", ("/x.php", "/more", "/srv/www/x.php")),
        ((".php",), "/srv/www", "/x.phpinfo", ("", "/x.phpinfo", "/usr/bin/demo")),
    ],
)  # fmt: skip
def test_a_path_is_taken_apart_as_cgi_wants_it(
    uri: tuple[str, ...], root: str | None, path: str, parts: tuple[str, str, str]
) -> None:
    found = params(app(uri=uri, document_root=root), f"{path}?q=1")
    assert (found["SCRIPT_NAME"], found["PATH_INFO"], found["SCRIPT_FILENAME"]) == parts
    assert (found["QUERY_STRING"], found["REQUEST_URI"]) == ("q=1", f"{path}?q=1")


def test_bytes_of_a_uri_stay_what_they_are() -> None:
    assert params(app(), "/demo/é")["PATH_INFO"].encode("latin-1") == "/é".encode()
