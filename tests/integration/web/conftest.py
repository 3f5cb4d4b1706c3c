"""Fixtures of the tests with real web servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.daemon import Daemon
from integration.web.applications import CGI, DEMO_SCRIPT, Records, script
from integration.web.servers import SERVERS, WebServer


@pytest.fixture
def www(place: Path) -> Path:
    """Give the web server's document root, which everybody may read."""
    path = place / "www"
    path.mkdir(mode=0o755)
    return path


@pytest.fixture
def server(place: Path, www: Path) -> Iterator[Callable[..., WebServer]]:
    """Give a function (kind, daemon, *apps, include="", more="") that starts a web server; it is ended afterwards.

    *include* is the line that includes the snippet, if it is not to be the usual one (not for nginx); *more* are lines
    of the user's own within nginx's server { }.
    """
    started: list[WebServer] = []

    def start(kind: str, daemon: Daemon, *apps: str, include: str = "", more: str = "") -> WebServer:
        directory = place / f"{kind}{len(started)}"
        directory.mkdir(mode=0o755)
        web = WebServer(kind, directory, www)
        started.append(web)
        return web.start(daemon, *apps, include=include, more=more)

    yield start
    for web in started:
        web.stop()


@pytest.fixture(params=SERVERS)
def kind(request: pytest.FixtureRequest) -> str:
    """Give the kind of web server; each test that asks for it runs with each kind."""
    return str(request.param)


@pytest.fixture
def web(kind: str, server: Callable[..., WebServer]) -> Callable[..., WebServer]:
    """Give a function (daemon, *apps) that starts a web server; each test runs with each kind."""
    return lambda daemon, *apps: server(kind, daemon, *apps)


@pytest.fixture
def records(place: Path) -> Records:
    """Give what the instances of a recorder write down."""
    return Records(place / "records")


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
