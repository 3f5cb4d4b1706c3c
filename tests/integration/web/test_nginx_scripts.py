"""How nginx asks for scripts that nobody declared, and what it does with the answer."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness.daemon import Daemon
from harness.waiting import until
from integration.web.applications import DEMO_SCRIPT, RECORDER, Records, script
from integration.web.dynamic import BEHIND, dynamic, listening
from integration.web.servers import WebServer

Starter = Callable[..., Daemon]
Web = Callable[..., WebServer]


@pytest.fixture
def nginx(server: Web) -> Web:
    """Give a function (daemon, more="") that starts an nginx."""
    return lambda daemon, more="": server("nginx", daemon, more=more)


def test_nobody_listens_until_a_script_is_asked_for(start_daemon: Starter, nginx: Web, scripts: Path) -> None:
    daemon = start_daemon(dynamic(scripts), wait="answering")
    site = nginx(daemon)
    assert listening(daemon) == set()

    seen = site.page("/scripts/deep/er/b.fcgi/env?x=%3f").json()["request"]
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/scripts/deep/er/b.fcgi", "/env")
    assert (seen["QUERY_STRING"], seen["DOCUMENT_URI"]) == ("x=%3f", "/scripts/deep/er/b.fcgi/env")
    assert (seen["DOCUMENT_ROOT"], seen["SCRIPT_FILENAME"]) == (str(site.root), str(scripts / "deep/er/b.fcgi"))
    assert listening(daemon) == {"scripts/deep/er/b.fcgi.sock"}


def test_what_follows_a_script_arrives_as_it_is_when_it_was_asked_for_too(
    start_daemon: Starter, nginx: Web, scripts: Path
) -> None:
    for number in range(len(BEHIND)):
        script(scripts / f"s{number}.fcgi", DEMO_SCRIPT)
    site = nginx(start_daemon(dynamic(scripts), wait="answering"))

    for number, (before, after, path) in enumerate(BEHIND):
        answer = site.raw(b"/scripts" + before + b"s%d.fcgi" % number + after)
        assert (answer.status, answer.text) == (404, f"no such page: {path}\n")


def test_a_warm_script_is_not_asked_for(start_daemon: Starter, nginx: Web, scripts: Path) -> None:
    daemon = start_daemon(dynamic(scripts), wait="answering")
    site = nginx(daemon)
    first = site.page("/scripts/a.fcgi/pid").text
    manager = daemon.manager

    os.kill(manager, signal.SIGSTOP)
    try:
        assert [site.page("/scripts/a.fcgi/pid", timeout=5).text for _ in range(5)] == [first] * 5
    finally:
        os.kill(manager, signal.SIGCONT)


def test_a_flat_root_needs_no_look_at_the_files(start_daemon: Starter, nginx: Web, scripts: Path) -> None:
    daemon = start_daemon(dynamic(scripts, root=", recursive = false"), wait="answering")
    site = nginx(daemon)

    seen = site.page("/scripts/a.fcgi/env").json()["request"]
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/scripts/a.fcgi", "/env")
    assert seen["SCRIPT_FILENAME"] == str(scripts / "a.fcgi")
    assert site.get("/scripts/none.fcgi").status == 404
    assert site.get("/scripts/deep/er/b.fcgi").status == 404
    assert "unexpected status: 404" in site.log()


def test_a_script_that_may_not_run_is_forbidden(start_daemon: Starter, nginx: Web, scripts: Path) -> None:
    (scripts / "a.fcgi").chmod(0o777)
    daemon = start_daemon(dynamic(scripts), wait="answering")
    site = nginx(daemon)

    assert site.get("/scripts/a.fcgi").status == 403
    assert listening(daemon) == set()
    assert site.page("/scripts/deep/er/b.fcgi/ping").text == "pong\n"


def test_hostile_paths_make_no_sockets(start_daemon: Starter, nginx: Web, scripts: Path) -> None:
    daemon = start_daemon(dynamic(scripts), wait="answering")
    site = nginx(daemon)

    for target in (
        b"/scripts/a.fcgi/../../../x",
        b"/scripts/deep%2fer/b.fcgi%0a",
        b"/scripts/..%2fapps.toml",
        b"//scripts",
    ):
        assert site.raw(target).status in (400, 403, 404)
    assert site.raw(b"/scripts/deep%2Fer%2Fb.fcgi/ping").text == "pong\n"
    assert listening(daemon) == {"scripts/deep/er/b.fcgi.sock"}


def test_a_crowd_at_cold_scripts_is_served_each_once(
    start_daemon: Starter, nginx: Web, scripts: Path, records: Records
) -> None:
    for number in range(4):
        script(scripts / f"r{number}.fcgi", RECORDER)
    daemon = start_daemon(dynamic(scripts, records=records), wait="answering")
    site = nginx(daemon)
    wanted = [f"visitor {number}" for number in range(80)]

    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda text: site.post(f"/scripts/r{int(text[8:]) % 4}.fcgi/x", text), wanted)
        assert {answer.status for answer in answers} == {200}
    assert sorted(records.lines()) == sorted(wanted)


def test_a_post_to_a_script_that_dies_after_reading_is_delivered_once(
    start_daemon: Starter, nginx: Web, scripts: Path, records: Records
) -> None:
    script(scripts / "r.fcgi", RECORDER)
    daemon = start_daemon(dynamic(scripts, "restart-delay = 0", records=records), wait="answering")
    site = nginx(daemon)

    assert site.post("/scripts/r.fcgi/die", "cold").status == 502
    until(lambda: site.get("/scripts/r.fcgi/x").status == 200, what="another instance answers")
    assert site.post("/scripts/r.fcgi/die", "warm").status == 502
    assert [line for line in records.lines() if line] == ["cold", "warm"]


def test_a_script_that_fails_is_refused_with_a_time(start_daemon: Starter, nginx: Web, scripts: Path) -> None:
    script(scripts / "a.fcgi", "#!/bin/sh\nexit 3\n")
    daemon = start_daemon(dynamic(scripts, "restart-delay = 0", 'overload-response = "503"'), wait="answering")
    site = nginx(daemon)

    for _ in range(5):
        answer = site.post("/scripts/a.fcgi", "x" * 50_000)
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1
    assert daemon.app("scripts/a.fcgi")["state"] == "backoff"


def test_a_manager_that_dies_while_it_is_asked_costs_nothing(
    start_daemon: Starter, nginx: Web, scripts: Path, place: Path
) -> None:
    os.mkfifo(place / "gate")
    (place / "gate").chmod(0o644)
    script(scripts / "a.fcgi", DEMO_SCRIPT.replace("raise", f"open({str(place / 'gate')!r}).read()\nraise"))
    daemon = start_daemon(dynamic(scripts, "ready-timeout = 20"), wait="answering")
    site = nginx(daemon)
    manager = daemon.manager

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(site.get, "/scripts/a.fcgi/ping")
        until(lambda: [app["state"] for app in daemon.status()["apps"]] == ["starting"], what="it is being started")
        os.kill(manager, signal.SIGKILL)
        until(lambda: daemon.answering() and daemon.manager != manager, what="another manager is there")
        with (place / "gate").open("wb"):
            pass
        assert answer.result().text == "pong\n"


def test_without_the_daemon_the_visitor_is_told_at_once(start_daemon: Starter, nginx: Web, scripts: Path) -> None:
    daemon = start_daemon(dynamic(scripts), wait="answering")
    site = nginx(daemon)
    daemon.stop()

    assert site.get("/scripts/a.fcgi", timeout=5).status == 502


PAGES = """
    error_page 403 /403.html;
    error_page 404 /404.html;
    error_page 502 504 /broken.html;
    error_page 503 /busy.html;
"""


def test_pages_of_ones_own_for_errors_stay_where_nothing_is_lost_by_them(
    start_daemon: Starter, nginx: Web, scripts: Path, www: Path
) -> None:
    for name in ("403", "404", "broken", "busy"):
        (www / f"{name}.html").write_text(name)
    script(scripts / "broken.fcgi", "#!/bin/sh\nexit 3\n")
    (scripts / "a.fcgi").chmod(0o777)
    daemon = start_daemon(dynamic(scripts, "restart-delay = 0"), wait="answering")
    site = nginx(daemon, PAGES)

    assert site.get("/scripts/a.fcgi").text == "403"
    assert site.get("/scripts/none.fcgi").text == "404"
    assert site.get("/scripts/deep/er/b.fcgi/crash").text == "broken"
    until(lambda: site.get("/scripts/broken.fcgi").headers.get("Retry-After"), within=30, what="back-off")


def test_who_was_let_in_once_is_let_in_again(start_daemon: Starter, nginx: Web, scripts: Path, place: Path) -> None:
    (place / "users").write_text("ann:{PLAIN}secret\n")
    (place / "users").chmod(0o644)
    either = f'satisfy any; deny all; auth_basic "x"; auth_basic_user_file {place / "users"};'
    site = nginx(start_daemon(dynamic(scripts), wait="answering"), either)

    assert site.get("/scripts/a.fcgi/ping").status == 401
    assert site.page("/scripts/a.fcgi/ping", headers={"Authorization": "Basic YW5uOnNlY3JldA=="}).text == "pong\n"


def test_refused_and_served_on_one_connection(start_daemon: Starter, nginx: Web, scripts: Path) -> None:
    (scripts / "a.fcgi").chmod(0o777)
    daemon = start_daemon(dynamic(scripts), wait="answering")
    site = nginx(daemon)

    paths = ("a.fcgi", "deep/er/b.fcgi/ping", "none.fcgi", "deep/er/b.fcgi/ping", "a.fcgi")
    assert [site.get(f"/scripts/{path}").status for path in paths] == [403, 200, 404, 200, 403]
    assert json.loads(site.page("/scripts/deep/er/b.fcgi/env").text)["request"]["REQUEST_METHOD"] == "GET"


def test_an_included_page_cannot_ask(start_daemon: Starter, nginx: Web, scripts: Path, www: Path) -> None:
    (www / "page.html").write_text('<!--# include virtual="/scripts/a.fcgi/ping" -->')
    daemon = start_daemon(dynamic(scripts), wait="answering")
    site = nginx(daemon, "location /page.html { ssi on; ssi_types *; }")

    assert "pong" not in site.page("/page.html").text
    assert listening(daemon) == set()
    assert site.page("/scripts/a.fcgi/ping").text == "pong\n"
    assert site.page("/page.html").text == "pong\n"


def test_pages_included_in_one_page_come_each_from_its_own_script(
    start_daemon: Starter, nginx: Web, scripts: Path, www: Path
) -> None:
    names = ("a.fcgi", "deep/er/b.fcgi")
    (www / "page.html").write_text("".join(f'<!--# include virtual="/scripts/{name}/pid" -->' for name in names))
    daemon = start_daemon(dynamic(scripts, root=", listen = true"), wait="answering")
    until(lambda: len(listening(daemon)) == 2, what="they listen")
    site = nginx(daemon, "location /page.html { ssi on; ssi_types *; }")

    assert site.page("/page.html").text == "".join(site.page(f"/scripts/{name}/pid").text for name in names)
