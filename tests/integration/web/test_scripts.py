"""Scripts that nobody declared, below the roots of [dynamic], behind real web servers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.daemon import Daemon
from harness.waiting import until
from integration.web.applications import demo
from integration.web.dynamic import BEHIND, dynamic, listening
from integration.web.servers import WebServer

Starter = Callable[..., Daemon]
Web = Callable[..., WebServer]
Server = Callable[..., WebServer]


@pytest.fixture
def everywhere(start_daemon: Starter, web: Web, scripts: Path) -> WebServer:
    """Give each web server before scripts that have their sockets from the start on."""
    daemon = start_daemon(dynamic(scripts, root=", listen = true"), wait="answering")
    until(lambda: listening(daemon) == {"scripts/a.fcgi.sock", "scripts/deep/er/b.fcgi.sock"}, what="they listen")
    return web(daemon)


# ── every web server ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_script_is_found_by_its_path_and_told_the_rest(everywhere: WebServer, scripts: Path) -> None:
    for path, name in (("/scripts/a.fcgi", "a.fcgi"), ("/scripts/deep/er/b.fcgi", "deep/er/b.fcgi")):
        seen = everywhere.page(f"{path}/env?a=%26b").json()["request"]
        assert (seen["SCRIPT_NAME"], seen["PATH_INFO"], seen["QUERY_STRING"]) == (path, "/env", "a=%26b")
        assert seen["SCRIPT_FILENAME"] == str(scripts / name)
        assert seen["REQUEST_URI"] == f"{path}/env?a=%26b"


def test_each_script_has_its_own_instances(everywhere: WebServer) -> None:
    first, second = (everywhere.page(f"/scripts/{name}/pid").text for name in ("a.fcgi", "deep/er/b.fcgi"))

    assert first != second
    assert everywhere.page("/scripts/a.fcgi/pid").text == first


def test_what_is_no_script_is_neither_run_nor_shown(everywhere: WebServer) -> None:
    for target in (
        b"/scripts/none.fcgi", b"/scripts/plain.txt", b"/scripts/a.fcgix", b"/scripts/a.fcgix/ping", b"/scripts/deep",
        b"/scripts/deep/er/", b"/scripts/", b"/scripts/a.fcgi%00", b"/scripts/a%2ffcgi", b"/scripts/a.fcgi%0a",
        b"/scripts/%2e%2e/scripts.fcgi", b"/scripts/..%2f..%2fetc%2fpasswd", b"/scripts/a.fcgi%0d%0aX-Evil:%20yes",
        b"/scripts/a%26b.fcgi", b"/scripts/a%20b.fcgi", b"/scripts/%C3%A4.fcgi", b"/scripts/a.fcgi;b", b"/scripts/%7c",
        b"/scripts/" + b"a" * 300 + b".fcgi", b"/scripts" + b"/a" * 40 + b"/a.fcgi",
    ):  # fmt: skip
        answer = everywhere.raw(target)
        assert answer.status in (301, 400, 403, 404), target
        assert not any(text in answer.body for text in (b"nobody's business", b"#!", b"pong")), target
        assert "x-evil" not in {name.lower() for name in answer.headers}, target


def test_what_follows_a_script_arrives_as_it_is(everywhere: WebServer) -> None:
    for before, after, path in BEHIND:
        answer = everywhere.raw(b"/scripts" + before + b"a.fcgi" + after)
        assert (answer.status, answer.text.replace("//", "/")) == (404, f"no such page: {path}\n")


def test_a_body_waits_for_the_scripts_first_instance(everywhere: WebServer) -> None:
    body = os.urandom(3_000_000)

    assert everywhere.page("/scripts/a.fcgi/echo", method="POST", body=body).body == body


def test_an_application_around_the_root_leaves_it_alone(start_daemon: Starter, web: Web, scripts: Path) -> None:
    apps = demo("all", 'uri = ["/"]') + dynamic(scripts, root=", listen = true")
    daemon = start_daemon(apps)
    until(lambda: len(listening(daemon)) == 2, what="the scripts listen")
    site = web(daemon)

    assert site.page("/env").json()["request"]["SCRIPT_NAME"] == ""
    assert site.page("/scripts/a.fcgi/env").json()["request"]["SCRIPT_NAME"] == "/scripts/a.fcgi"
    assert site.raw(b"/scripts/plain.txt").status in (403, 404)


def test_without_a_socket_it_is_said_that_there_is_none(
    start_daemon: Starter, web: Web, kind: str, scripts: Path
) -> None:
    (scripts / "deep" / "er" / "b.fcgi").chmod(0o777)
    site = web(start_daemon(dynamic(scripts), wait="answering"))

    statuses = {path: site.get(f"/scripts/{path}").status for path in ("a.fcgi", "deep/er/b.fcgi", "none.fcgi")}
    assert statuses == {
        "a.fcgi": {"nginx": 200, "lighttpd": 403, "apache": 503}[kind],
        "deep/er/b.fcgi": {"nginx": 403, "lighttpd": 403, "apache": 503}[kind],
        "none.fcgi": 404,
    }
