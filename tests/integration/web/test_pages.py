"""From a configuration file through the daemon and the printed snippet to pages in a visitor's hands."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.components import need
from harness.daemon import Daemon
from harness.waiting import until
from integration.web.applications import CGI, PERL, STDIO_C, THREADED_C, app, compiled, demo, script
from integration.web.servers import WebServer

Starter = Callable[..., Daemon]
Web = Callable[..., WebServer]


def test_a_prefix_leads_to_its_application(start_daemon: Starter, web: Web) -> None:
    site = web(start_daemon(demo()))

    assert "<h1>It works</h1>" in site.page("/demo/").text
    seen = site.page("/demo/env?a=1").json()["request"]
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"], seen["QUERY_STRING"]) == ("/demo", "/env", "a=1")
    assert site.get("/demolition").status == 404


def test_the_application_at_the_root_gets_everything(start_daemon: Starter, web: Web) -> None:
    site = web(start_daemon(demo("all", 'uri = ["/"]')))

    seen = site.page("/env").json()["request"]
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("", "/env")


def test_the_longest_prefix_wins_and_a_path_of_that_name_belongs_to_it(start_daemon: Starter, web: Web) -> None:
    apps = demo("all", 'uri = ["/"]') + demo("Inner.App_1", 'uri = ["/x/run"]')
    site = web(start_daemon(apps))

    assert site.page("/x/run/env").json()["request"]["SCRIPT_NAME"] == "/x/run"
    assert "/x/run/ping" in site.page("/x/run").text
    assert site.get("/x/runner").text == "no such page: /x/runner\n"


def test_a_body_comes_back(start_daemon: Starter, web: Web) -> None:
    body = os.urandom(300_000)
    site = web(start_daemon(demo()))

    assert site.page("/demo/echo", method="POST", body=body).body == body


def test_special_characters_reach_the_application(start_daemon: Starter, web: Web) -> None:
    site = web(start_daemon(demo("all", 'uri = ["/all/"]')))

    assert site.get("/all/a%20b;c%25d%C3%A4").text == "no such page: /a b;c%d\u00e4\n"


def test_a_crash_costs_its_own_request_and_the_others_go_on(start_daemon: Starter, web: Web) -> None:
    site = web(start_daemon(demo("demo", "processes = 2", "restart-delay = 0")))

    assert site.get("/demo/crash").status in (500, 502, 503)
    until(lambda: site.get("/demo/ping").status == 200, what="the application answers again")


@pytest.mark.needs("php-cgi")
def test_php_runs_its_scripts_and_nothing_else(start_daemon: Starter, web: Web, www: Path) -> None:
    (www / "index.php").write_text("<?php echo 'php ', $_SERVER['SCRIPT_NAME'], ' ', $_SERVER['PATH_INFO'] ?? '-';")
    (www / "picture.jpg").write_text("<?php echo 'the picture was run';")
    apps = app("php", [need("php-cgi")], 'uri = [".php"]', f'document-root = "{www}"', "processes = 2")
    site = web(start_daemon(apps))

    assert site.page("/index.php").text in ("php /index.php -", "php /index.php ")
    assert site.page("/index.php/a/b").text == "php /index.php /a/b"
    assert site.get("/missing.php").status == 404
    assert site.page("/picture.jpg").text.startswith("<?php")
    answer = site.get("/picture.jpg/x.php")  # nginx: 404; lighttpd: the picture
    assert answer.status == 404 or answer.text.startswith("<?php")


@pytest.mark.needs("php-cgi")
def test_php_gets_the_posted_form(start_daemon: Starter, web: Web, www: Path) -> None:
    (www / "form.php").write_text("<?php echo strrev($_POST['word']);")
    site = web(start_daemon(app("php", [need("php-cgi")], 'uri = [".php"]', f'document-root = "{www}"')))

    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert site.page("/form.php", method="POST", body=b"word=olleh", headers=form).text == "hello"


@pytest.mark.needs("libfcgi")
def test_a_c_program_with_stdio(start_daemon: Starter, web: Web, place: Path) -> None:
    program = compiled(place / "stdio", STDIO_C)
    site = web(start_daemon(app("stdio", [str(program)], "processes = 2")))

    kind, pid, count, path, body = site.page("/stdio/p", method="POST", body=b"sent").text.split(" ")
    assert (kind, count, path, body) == ("stdio", "1", "/p", "sent")
    assert int(pid) > 1


@pytest.mark.needs("libfcgi")
def test_a_c_program_with_threads(start_daemon: Starter, web: Web, place: Path) -> None:
    program = compiled(place / "threaded", THREADED_C)
    site = web(start_daemon(app("threaded", [str(program)])))

    answers = {site.page(f"/threaded/{number}").text for number in range(8)}
    assert len({text.split()[1] for text in answers}) == 1
    assert {text.split()[2] for text in answers} == {f"/{number}" for number in range(8)}


@pytest.mark.needs("libfcgi-perl")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_perl_program_finishes_its_request_before_it_follows_a_signal(
    start_daemon: Starter, web: Web, place: Path, number: signal.Signals
) -> None:
    program = script(place / "app.pl", PERL)
    site = web(start_daemon(app("perl", [str(program)], "processes = 1", "flush = true", "restart-delay = 0")))
    pid = site.page("/perl/").text.split()[1]

    with site.open("/perl/?pause=1") as answer:
        first = answer.readline()
        os.kill(int(pid), number)
        rest = answer.read()

    assert (first.split()[1], rest.split()[1:4:2]) == (pid.encode(), [pid.encode(), b"ends"])
    until(lambda: site.get("/perl/").status == 200, what="another instance answers")


@pytest.mark.needs("fcgiwrap")
def test_cgi_scripts_run_through_fcgiwrap(start_daemon: Starter, web: Web, www: Path) -> None:
    script(www / "hello.cgi", CGI)
    site = web(start_daemon(app("cgi", [need("fcgiwrap")], 'uri = [".cgi"]', f'document-root = "{www}"')))

    assert site.page("/hello.cgi/rest", method="POST", body=b"body").text == "cgi /hello.cgi /rest\nbody"
    assert site.get("/other.cgi").status == 404
