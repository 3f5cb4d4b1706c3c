"""An application with the role authorizer decides who may see what others answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from harness.components import need
from harness.daemon import Daemon
from harness.ports import free_port
from harness.waiting import until
from integration.web.applications import DEMO_SCRIPT, app, demo, script
from integration.web.servers import WebServer

Starter = Callable[..., Daemon]
Web = Callable[..., WebServer]

ALLOW = {"X-Allow": "yes"}


Guard = Callable[..., str]


@pytest.fixture
def guard(kind: str, www: Path) -> Guard:
    """Give a function (uri) that returns the table of an authorizer; Apache reaches them over TCP only."""
    port = (f"port = {free_port('127.0.0.1')}",) if kind == "apache" else ()
    return lambda uri: demo("guard", f'uri = ["{uri}"]', 'role = "authorizer"', f'docroot = "{www}"', *port)


def test_files_are_shown_to_whom_the_authorizer_lets_pass(
    start_daemon: Starter, web: Web, guard: Guard, www: Path
) -> None:
    (www / "in").mkdir()
    (www / "in" / "secret.txt").write_text("secret")
    (www / "open.txt").write_text("open")
    site = web(start_daemon(guard("/in/")))

    assert site.get("/in/secret.txt").status == 403
    assert site.page("/in/secret.txt?allow=yes").text == "secret"
    assert site.page("/in/secret.txt", headers=ALLOW).text == "secret"
    assert site.page("/open.txt").text == "open"


@pytest.mark.parametrize("uri", ["/demo/env", "/demo/"])
def test_an_application_below_it_is_guarded(start_daemon: Starter, web: Web, guard: Guard, www: Path, uri: str) -> None:
    site = web(start_daemon(guard(uri) + demo()))

    assert site.get("/demo/env").status == 403
    assert site.get("/demo/env/more").status == 403
    seen = site.page("/demo/env?a=1", headers=ALLOW).json()["request"]
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"], seen["QUERY_STRING"]) == ("/demo", "/env", "a=1")
    if uri != "/demo/":
        assert site.page("/demo/ping").text == "pong\n"


def test_a_body_reaches_the_application_behind_the_authorizer(
    start_daemon: Starter, web: Web, guard: Guard, www: Path
) -> None:
    site = web(start_daemon(guard("/demo/") + demo()))

    assert site.get("/demo/echo", method="POST", body=b"hello").status == 403
    assert site.page("/demo/echo", method="POST", body=b"hello", headers=ALLOW).body == b"hello"


@pytest.mark.parametrize("uri", ["/scripts/", "/scripts/a.fcgi", ".fcgi"])
def test_scripts_below_a_root_are_guarded(start_daemon: Starter, web: Web, guard: Guard, place: Path, uri: str) -> None:
    (place / "scripts").mkdir()
    for name in ("a.fcgi", "b"):
        script(place / "scripts" / name, DEMO_SCRIPT)
    daemon = start_daemon(guard(uri) + f'[dynamic]\nroots = [{{ path = "{place}/scripts", listen = true }}]\n')
    until(lambda: len(daemon.status()["apps"]) == 3, what="the scripts listen")
    site = web(daemon)

    for _ in ("cold", "warm"):
        for path in ("/scripts/a.fcgi", "/scripts/a.fcgi/env", "/scripts//a.fcgi/env"):
            assert site.get(path).status == 403
        seen = site.page("/scripts/a.fcgi/env?a=1", headers=ALLOW).json()["request"]
        assert (seen["SCRIPT_NAME"], seen["PATH_INFO"], seen["QUERY_STRING"]) == ("/scripts/a.fcgi", "/env", "a=1")
    assert "It works" in site.page("/scripts/a.fcgi", headers=ALLOW).text
    assert site.page("/scripts/a.fcgi/echo", method="POST", body=b"hello", headers=ALLOW).body == b"hello"
    assert site.get("/scripts/b/ping").status == (403 if uri == "/scripts/" else 200)


@pytest.mark.needs("php-cgi")
def test_scripts_in_a_guarded_place_are_guarded(start_daemon: Starter, web: Web, guard: Guard, www: Path) -> None:
    (www / "in").mkdir()
    for name in ("in/a.php", "b.php"):
        (www / name).write_text("<?php echo 'ran';")
    php = app("php", [need("php-cgi")], 'uri = [".php"]', f'document-root = "{www}"')
    site = web(start_daemon(guard("/in/") + php))

    assert site.get("/in/a.php").status == 403
    assert site.page("/in/a.php", headers=ALLOW).text == "ran"
    assert site.page("/b.php").text == "ran"


@pytest.mark.parametrize("path", ["/a.pdf", "/a.pdf/more", "/demo/a.pdf", "/demo/a.pdf/x"])
def test_an_extension_may_be_guarded_wherever_it_is(
    start_daemon: Starter, web: Web, guard: Guard, www: Path, path: str
) -> None:
    (www / "a.pdf").write_text("pages")
    site = web(start_daemon(guard(".pdf") + demo("demo", 'uri = ["/demo/"]')))

    assert site.get(path).status in (403, 404)
    assert "pages" not in site.get(path).text
    assert "no such page" not in site.get(path).text
    assert site.page("/a.pdf", headers=ALLOW).text == "pages"
    assert "no such page" in site.get("/demo/a.pdf", headers=ALLOW).text


def test_the_place_where_nginx_asks_is_not_open_to_visitors(
    start_daemon: Starter, server: Callable[..., WebServer]
) -> None:
    site = server("nginx", start_daemon(demo("guard", 'uri = ["/in/"]', 'role = "authorizer"')))

    assert site.get("/.fcgipm-authorizer/guard?allow=yes").status == 404
