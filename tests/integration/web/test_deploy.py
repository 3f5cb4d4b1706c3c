"""Deploys behind nginx: visitors meet the old code until they meet the new, and never a bad version."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
from harness.components import need
from harness.daemon import Daemon
from harness.ports import free_port
from harness.waiting import until
from integration.web.applications import script
from integration.web.servers import WebServer

Starter = Callable[..., Daemon]
Server = Callable[..., WebServer]
Begin = Callable[..., tuple[Daemon, WebServer]]

PROGRAM = f"""#!{sys.executable}
# Answers with its version; STATUS is what it answers with, and how it takes signals stands between.
import os, signal, socket
from fcgipm.fastcgi import RequestParser, encode_response

CODE = "@CODE@"
VERSION = os.environ.get("VERSION", CODE)
@SIGNALS@
listener = socket.socket(fileno=0)
while True:
    connection, _ = listener.accept()
    parser, requests = RequestParser(), []
    while not requests and (data := connection.recv(1 << 16)):
        requests = parser.feed(data)
    for request in requests:
        head = f"Status: {{os.environ.get('STATUS', '200')}}\\r\\nContent-Type: text/plain\\r\\n\\r\\n"
        connection.sendall(encode_response(request.request_id, (head + VERSION).encode()))
    connection.close()
"""
SIGNALS = {
    "deaf": "for number in {*signal.Signals} - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(number, signal.SIG_IGN)",
    "mortal": "signal.signal(signal.SIGTERM, signal.SIG_DFL)",
}


def program(path: Path, kind: str = "mortal", code: str = "1") -> Path:
    """Write a program of this version, as editors do: another file, renamed over it."""
    text = PROGRAM.replace("@SIGNALS@", SIGNALS[kind]).replace("@CODE@", code)
    return script(path.with_name(f".{path.name}.new"), text).replace(path)


def table(name: str, command: list[str], **more: Any) -> str:
    """Return the table of an application; *more* are keys, ``environment`` is its initial-env."""
    environment = more.pop("environment", {})
    settings = {"processes": 2, "restart-delay": 0, "min-server-life": 0, "stop-timeout": 5, **more}
    lines = [f"[app.{name}]", f"command = {json.dumps(command)}"]
    lines += [f"{key.replace('_', '-')} = {_toml(value)}" for key, value in settings.items()]
    return "\n".join([*lines, f"initial-env = {_toml(environment)}", ""])


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


class Visitors:
    """Some who ask the web server for a page again and again, as a context."""

    def __init__(self, site: WebServer, page: str, count: int = 3) -> None:
        self._site, self._page = site, page
        self._over = threading.Event()
        self.answers: list[list[tuple[int, str]]] = [[] for _ in range(count)]
        self._threads = [threading.Thread(target=self._ask, args=(mine,)) for mine in self.answers]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.more()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, mine: list[tuple[int, str]]) -> None:
        while not self._over.is_set():
            answer = self._site.page(self._page)
            mine.append((answer.status, answer.text))

    def more(self, count: int = 3) -> list[int]:
        """Wait until each has been answered *count* times more; return where each was before."""
        before = [len(mine) for mine in self.answers]
        until(lambda: all(len(mine) >= at + count for mine, at in zip(self.answers, before, strict=True)))
        return before

    def met(self) -> list[list[str]]:
        """Return what each has met, one after the other; all must have been answered with 200."""
        assert {status for mine in self.answers for status, _ in mine} == {200}
        return [list(dict.fromkeys(text for _, text in mine)) for mine in self.answers]


@pytest.fixture
def begin(start_daemon: Starter, server: Server) -> Begin:
    """Give a function that starts a daemon with these tables, and nginx before it."""

    def start(*tables: str) -> tuple[Daemon, WebServer]:
        daemon = start_daemon("\n".join(tables))
        return daemon, server("nginx", daemon)

    return start


# ── good versions ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["deaf", "mortal", "php", "tcp"])
def test_visitors_meet_the_old_code_until_they_meet_the_new(begin: Begin, place: Path, www: Path, kind: str) -> None:
    (www / "v.php").write_text("<?php echo getenv('VERSION');")  # once: who comes while it is written meets nothing

    def tables(version: str) -> str:
        environment = {"VERSION": version}
        if kind == "php":
            more: dict[str, Any] = {"uri": [".php"], "document_root": str(www), "probe": {"uri": "/v.php"}}
            return table("web", [need("php-cgi")], environment=environment | {"PHP_FCGI_CHILDREN": "2"}, **more)
        command = [str(program(place / "program", "mortal" if kind == "tcp" else kind))]
        more = {"probe": {"uri": "/web/"}, **({"port": port} if kind == "tcp" else {})}
        return table("web", command, environment=environment, **more)

    port = free_port()
    daemon, site = begin(tables("1"))
    before = daemon.instances("web")
    with Visitors(site, "/v.php" if kind == "php" else "/web/") as visitors:
        daemon.configure(tables("2"))
        done = daemon.ctl("reload")
        assert (done.returncode, done.stdout[:14]) == (0, "web: reloaded,"), done.stderr
        at = visitors.more(5)

    for mine, start in zip(visitors.answers, at, strict=True):
        assert {text for _, text in mine[start + 1 :]} == {"2"}, "who has come after the reload meets the new code"
    if kind != "tcp":  # where both serve for a while
        assert all(met in (["1", "2"], ["2"]) for met in visitors.met())
    assert {"1", "2"} == {text for met in visitors.met() for text in met}
    until(lambda: not set(before) & set(daemon.instances("web")), what="the old ones have gone")
    assert daemon.app("web")["generation"] == 2


def test_only_what_is_named_changes(begin: Begin, place: Path) -> None:
    command = [str(program(place / "program"))]
    daemon, site = begin(*(table(name, command, environment={"VERSION": "1"}) for name in ("one", "two")))
    two = daemon.instances("two")
    daemon.configure("".join(table(name, command, environment={"VERSION": "2"}) for name in ("one", "two")))

    planned = daemon.ctl("reload", "--dry-run", "one")
    assert "one.initial-env: new generation" in planned.stdout or "one.pass-env: new generation" in planned.stdout
    assert site.page("/one/").text == "1"
    done = daemon.ctl("reload", "one")

    assert done.returncode == 0
    assert "pending, not named: two." in done.stderr
    assert (site.page("/one/").text, site.page("/two/").text) == ("2", "1")
    assert daemon.instances("two") == two
    assert daemon.ctl("apply").returncode == 0
    assert site.page("/two/").text == "2"


def test_a_stopped_application_is_started_and_who_waits_there_meets_it(begin: Begin, place: Path) -> None:
    daemon, site = begin(table("web", [str(program(place / "program"))]))
    assert daemon.ctl("stop", "web").returncode == 0
    answers: list[str] = []
    visitor = threading.Thread(target=lambda: answers.append(site.page("/web/").text))
    visitor.start()
    until(lambda: daemon.app("web")["queue"] == 1, what="somebody waits")
    program(place / "program", code="2")

    assert daemon.ctl("reload").returncode == 0
    assert daemon.app("web")["state"] == "stopped"
    assert daemon.ctl("reload", "web").returncode == 0

    visitor.join(20)
    assert answers == ["2"]


# ── bad versions ─────────────────────────────────────────────────────────────────────────────────────────────────────

NEVER = ["/bin/sh", "-c", "while :; do :; done"]
"""Neither asleep nor at its socket."""
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "cannot be executed": ({}, "exec"),  # nor is it by its file, which is found out when it is tried
    "dies at its start": ({"command": ["/bin/false"]}, "exit status 1"),
    "is never ready": ({"command": NEVER, "ready_timeout": 0.5, "start_timeout": 0.5}, "not ready"),
    "answers its probe with 500": ({"environment": {"STATUS": "500"}}, "GET /web/: 500 instead of 200"),
}


@pytest.mark.parametrize("how", BAD)
@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_a_bad_version_never_gets_a_visitor(begin: Begin, place: Path, how: str, transport: str) -> None:
    good: dict[str, Any] = {"command": [str(program(place / "program"))], "probe": {"uri": "/web/"}}
    if transport == "tcp":
        good["port"] = free_port()
    daemon, site = begin(table("web", **good))
    before = daemon.instances("web")
    changes, why = BAD[how]
    if not changes:
        script(place / ".bad", "#!/nowhere/at/all\n").replace(place / "program")
    with Visitors(site, "/web/") as visitors:
        daemon.configure(table("web", **(good | changes)))
        done = daemon.ctl("reload", "web")
        visitors.more()

    assert done.returncode == 1
    assert done.stdout == ""
    assert "web: generation 2 was given up: " in done.stderr, done.stderr
    assert "; generation 1 serves on" in done.stderr
    assert visitors.met() == [["1"]] * 3
    assert daemon.instances("web") == before
    told = daemon.app("web")["given_up"]
    assert (told["generation"], why in told["why"]) == (2, True), told
    until(lambda: len(daemon.app("web")["instances"]) == 2, what="nothing of it is left")


# ── auto-update ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_changed_file_is_a_deploy_and_a_bad_one_is_none(begin: Begin, place: Path) -> None:
    command = [str(program(place / "program"))]
    daemon, site = begin(table("web", command, auto_update=True, probe={"uri": "/web/"}))
    with Visitors(site, "/web/") as visitors:
        program(place / "program", code="2")
        until(lambda: site.page("/web/").text == "2", what="the new code")
        two = daemon.instances("web")

        script(place / ".bad", "#!/bin/sh\nexit 1\n").replace(place / "program")
        until(lambda: daemon.app("web")["given_up"], what="the bad one is given up")
        visitors.more()
        assert daemon.instances("web") == two

        program(place / "program", code="3")
        until(lambda: site.page("/web/").text == "3", what="the mended code")
        visitors.more()

    assert all(met == ["1", "2", "3"] for met in visitors.met())
    until(lambda: daemon.app("web")["given_up"] is None)
    assert "its files have changed" in daemon.log()


def test_a_changed_script_is_a_deploy_of_its_own(begin: Begin, place: Path) -> None:
    (place / "scripts").mkdir()
    program(place / "scripts" / "a.fcgi")
    program(place / "scripts" / "b.fcgi")
    roots = f"roots = [{{ path = '{place}/scripts', match = '*.fcgi', uri = '/s/' }}]"
    daemon, site = begin(f"[dynamic]\n{roots}\nauto-update = true\nmin-processes = 0\n")
    assert [site.page(f"/s/{name}.fcgi").text for name in "ab"] == ["1", "1"]
    b = daemon.instances("scripts/b.fcgi")

    with Visitors(site, "/s/a.fcgi") as visitors:
        program(place / "scripts" / "a.fcgi", code="2")
        until(lambda: site.page("/s/a.fcgi").text == "2", what="the new code")
        visitors.more()

    assert all(met == ["1", "2"] for met in visitors.met())
    assert daemon.instances("scripts/b.fcgi") == b
