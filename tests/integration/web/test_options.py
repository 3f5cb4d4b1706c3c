"""What a configuration says to the web server is what the web server does."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.components import need
from harness.daemon import FCGIPMCTL, Daemon
from harness.ports import free_port
from harness.waiting import until
from integration.web.applications import CGI, app, demo, script
from integration.web.foreign import foreign
from integration.web.servers import WebServer

Starter = Callable[..., Daemon]
Web = Callable[..., WebServer]


def wrapper(place: Path, text: str) -> str:
    """Return fcgiwrap's configuration lines for one CGI script in *place*."""
    script(place / "x.cgi", text)
    return app("cgi", [need("fcgiwrap")], 'uri = [".cgi"]', f'document-root = "{place}"')


END_OF_BODY = b"\x01\x05\x00\x01\x00\x00"
"""How the record that ends the standard input of request 1 begins."""


@contextlib.contextmanager
def deaf() -> Iterator[tuple[int, list[bytes]]]:
    """Give the port of a server that reads a request and hangs up, and the list of what it read."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        text = b""
                        while END_OF_BODY not in text and (piece := connection.recv(1 << 16)):
                            text += piece
                        heard.append(text)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], heard
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0"])
def test_an_application_over_tcp(start_daemon: Starter, web: Web, address: str) -> None:
    site = web(start_daemon(demo("demo", f'address = "{address}"', f"port = {free_port(address)}")))

    assert site.page("/demo/ping").text == "pong\n"


def test_an_answer_is_passed_on_piece_by_piece(start_daemon: Starter, web: Web) -> None:
    site = web(start_daemon(demo("demo", "flush = true")))

    with site.open("/demo/drip?pieces=2&seconds=2") as answer:
        assert answer.readline() == b"piece 1\n"
        got_first = time.monotonic()
        assert answer.readline() == b"piece 2\n"
        assert time.monotonic() - got_first > 1


def test_a_silent_application_is_given_up_after_the_idle_timeout(start_daemon: Starter, web: Web) -> None:
    site = web(start_daemon(demo("demo", "idle-timeout = 1", "app-conn-timeout = 1", "stop-timeout = 0")))

    began = time.monotonic()
    assert site.get("/demo/slow?seconds=15").status == 504
    assert time.monotonic() - began < 10


def test_the_authorization_is_passed_on_and_the_proxy_is_not(start_daemon: Starter, web: Web) -> None:
    site = web(start_daemon(demo("demo", 'pass-header = ["Authorization"]')))

    seen = site.page("/demo/env", headers={"Authorization": "Basic YTpi", "Proxy": "evil"}).json()["request"]
    assert seen["HTTP_AUTHORIZATION"] == "Basic YTpi"
    assert seen.get("HTTP_PROXY", "") == ""


@pytest.mark.needs("lighttpd", "fcgiwrap")
def test_lighttpd_takes_the_status_of_a_program_that_writes_its_own(
    start_daemon: Starter, server: Callable[..., WebServer], www: Path
) -> None:
    site = server("lighttpd", start_daemon(wrapper(www, CGI) + "nph = true\n"))

    assert site.get("/x.cgi?nph").status == 418


@pytest.mark.needs("lighttpd", "fcgiwrap")
@pytest.mark.parametrize("allowed", ["true", "false"])
def test_lighttpd_sends_a_named_file_where_that_is_allowed(
    start_daemon: Starter, server: Callable[..., WebServer], www: Path, allowed: str
) -> None:
    (www / "sent.txt").write_text("sent by the server")
    site = server("lighttpd", start_daemon(wrapper(www, CGI) + f"allow-x-send-file = {allowed}\n"))

    assert ("sent by the server" in site.page("/x.cgi?send").text) is (allowed == "true")


def test_other_extensions_may_belong_to_the_same_application(start_daemon: Starter, web: Web, www: Path) -> None:
    (www / "old.demo3").write_text("")
    lines = ('uri = [".demo"]', f'document-root = "{www}"', 'fastcgi.map-extensions = { ".demo3" = ".demo" }')
    site = web(start_daemon(demo("demo", *lines)))

    seen = site.page("/old.demo3/env").json()["request"]
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/old.demo3", "/env")
    assert seen["SCRIPT_FILENAME"] == f"{www}/old.demo3"


def test_the_application_sees_its_own_root(start_daemon: Starter, web: Web, www: Path) -> None:
    (www / "a.demo").write_text("")
    site = web(start_daemon(demo("demo", 'uri = [".demo"]', f'document-root = "{www}"', 'docroot = "/jail"')))

    seen = site.page("/a.demo/env").json()["request"]
    assert seen["DOCUMENT_ROOT"].rstrip("/") == "/jail"
    assert seen["SCRIPT_FILENAME"] == "/jail/a.demo"


def test_the_name_of_the_script_is_mangled_where_that_is_asked(start_daemon: Starter, web: Web, www: Path) -> None:
    (www / "a.demo").write_text("")
    lines = ('uri = [".demo"]', f'document-root = "{www}"', "broken-scriptfilename = true")
    site = web(start_daemon(demo("demo", *lines)))

    assert site.page("/a.demo/env").json()["request"]["SCRIPT_FILENAME"] == f"{www}/a.demo/env"


def test_files_are_looked_for_where_that_is_asked(start_daemon: Starter, web: Web, www: Path) -> None:
    lines = ('uri = [".demo"]', f'document-root = "{www}"')
    site = web(start_daemon(demo("demo", *lines, "check-local = true")))

    assert site.get("/nobody.demo").status == 404


def test_what_is_lighttpds_alone_is_understood_by_it(start_daemon: Starter, web: Web) -> None:
    site = web(start_daemon(demo("demo", "fastcgi.debug = 1", "disable-time = 3", "nph = true")))

    assert site.page("/demo/ping").text == "pong\n"


def test_an_application_that_is_managed_elsewhere(start_daemon: Starter, web: Web, place: Path) -> None:
    path = place / "foreign.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        with foreign(listener):
            site = web(start_daemon(f'[external.far]\nsocket = "{path}"\n', wait="answering"))
            assert site.page("/far/ping").text == "pong\n"


def test_of_several_hosts_the_one_that_is_there_answers_even_a_post(start_daemon: Starter, web: Web, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, foreign(listener):
        nobody, somebody = free_port("127.0.0.1"), listener.getsockname()[1]
        hosts = f'[external.far]\nhost = ["127.0.0.1:{nobody}", "127.0.0.1:{somebody}"]\n'
        site = web(start_daemon(hosts, wait="answering"))

        if kind == "apache":  # it never asks a second one, so it has to know
            until(lambda: "Health check DISABLING" in site.log(), what="Apache has found one not to be there")
        for _ in range(4):
            assert site.page("/far/echo", method="POST", body=b"hello").body == b"hello"


def test_a_post_that_was_sent_is_never_sent_again(start_daemon: Starter, web: Web) -> None:
    with deaf() as (first, heard_first), deaf() as (second, heard_second):
        hosts = f'[external.far]\nhost = ["127.0.0.1:{first}", "127.0.0.1:{second}"]\n'
        site = web(start_daemon(hosts, wait="answering"))

        assert site.get("/far/echo", method="POST", body=b"hello").status in (500, 502, 503)
        assert [b"hello" in text for text in heard_first + heard_second if text] == [True]


def test_only_the_applications_that_are_named_are_printed(start_daemon: Starter, web: Web) -> None:
    site = web(start_daemon(demo("one") + demo("two")), "two")

    assert site.get("/one/ping").status == 404
    assert site.page("/two/ping").text == "pong\n"


@pytest.mark.needs("lighttpd")
def test_lighttpd_may_ask_for_the_snippet_itself(
    start_daemon: Starter, server: Callable[..., WebServer], place: Path
) -> None:
    daemon = start_daemon(demo())
    site = server("lighttpd", daemon, include=f'include_shell "{FCGIPMCTL} -s {daemon.control} snippet lighttpd"')

    assert site.page("/demo/ping").text == "pong\n"


@pytest.mark.needs("cgi-fcgi")
def test_an_independent_client_is_served(start_daemon: Starter) -> None:
    daemon = start_daemon(demo())
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/echo", "CONTENT_LENGTH": "5", "CONTENT_TYPE": "text/plain"}

    done = subprocess.run(
        [need("cgi-fcgi"), "-bind", "-connect", str(daemon.socket("demo"))],
        input=b"hello",
        capture_output=True,
        env={**os.environ, **environ},
        timeout=20,
        check=True,
    )

    assert done.stdout.endswith(b"\r\n\r\nhello")
