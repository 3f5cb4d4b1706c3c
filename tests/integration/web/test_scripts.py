"""Scripts that nobody declared, below the roots of [dynamic], behind real web servers."""

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
from integration.web.applications import CGI, DEMO_SCRIPT, RECORDER, Records, demo, script
from integration.web.servers import WebServer

Starter = Callable[..., Daemon]
Web = Callable[..., WebServer]
Server = Callable[..., WebServer]


@pytest.fixture
def scripts(place: Path) -> Path:
    """Give a directory of scripts: two that run, in different depths, and what is none."""
    directory = place / "scripts"
    (directory / "deep" / "er").mkdir(parents=True, mode=0o755)
    script(directory / "a.fcgi", DEMO_SCRIPT)
    script(directory / "deep" / "er" / "b.fcgi", DEMO_SCRIPT)
    script(directory / "a.fcgix", CGI)
    (directory / "plain.txt").write_text("nobody's business")
    return directory


def dynamic(scripts: Path, *lines: str, root: str = "", records: Records | None = None) -> str:
    """Return the table [dynamic] with one root, called ``scripts``; *root* is more of it, *lines* more of the table."""
    table = f'[dynamic]\nroots = [{{ path = "{scripts}", match = "*.fcgi"{root} }}]\n'
    environment = "" if records is None else f'\n[dynamic.initial-env]\nRECORDS = "{records.directory}"\n'
    return table + "\n".join(lines) + environment


def listening(daemon: Daemon) -> set[str]:
    """Return the names of the scripts that have a socket."""
    found = daemon.runtime / "dynamic"
    return {str(path.relative_to(found)) for path in found.rglob("*") if path.is_socket()}


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


BEHIND = (
    (b"//", b"//x", "/x"), (b"/./", b"/x", "/x"), (b"/deep/../", b"/x", "/x"),
    (b"/", b"/a%20b%26c%3fd", "/a b&c?d"), (b"/", b"/%C3%A4", "/\u00e4"),
    (b"/", b"/b.fcgi/%7Cfcgi:x", "/b.fcgi/|fcgi:x"),
)  # fmt: skip
"""What comes before and after a script's name in a request, and what the script sees of it."""


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


# ── nginx, which asks ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def nginx(server: Server) -> Web:
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
