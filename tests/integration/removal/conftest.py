"""One daemon with an application for each way that visitors come, and an nginx before all of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from chaos.kinds import kind_of
from chaos.load import Crowd
from chaos.scene import Way, crowd_at
from harness.components import need
from harness.daemon import ControlConnection, Daemon
from harness.leftovers import descendants
from harness.ports import free_port
from harness.waiting import ended, until

WAYS: Final = ("unix-close", "unix-keep", "tcp-close", "tcp-keep")
"""By which socket nginx reaches the application, and whether it closes or keeps its connections."""


class Stage:
    """The applications are called as the ways; all are alike but for their sockets."""

    def __init__(
        self, start_daemon: Callable[..., Daemon], place: Path, ways: Sequence[str], work: int, keys: dict[str, Any]
    ) -> None:
        """Each request takes *work* microseconds; *keys* are those of all tables."""
        self.place, self.ways = place, tuple(ways)
        kind = kind_of("libfcgi", place)
        self._ports = {way: free_port() for way in ways if way.startswith("tcp")}
        ports = {way: {"port": port} for way, port in self._ports.items()}
        worked = {"WORK": str(work)}
        tables = [kind.table(way, **{**keys, **ports.get(way, {})}, environment=worked) for way in ways]
        self.daemon = start_daemon("".join(tables), wait="answering")
        self._sockets = {way: place / f"{way}.sock" for way in ways}

    @contextmanager
    def nginx(self) -> Iterator[None]:
        """Let an nginx be before them: with fastcgi_keep_conn where the way says so."""
        config = self.place / "nginx.conf"
        config.write_text(self._configuration())
        command = [need("nginx"), "-e", str(self.place / "error.log"), "-c", str(config)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: (self.place / "nginx.pid").exists() and all(one.exists() for one in self._sockets.values()))
            yield
        finally:
            family = [pid for pid, _ in descendants(process.pid)]
            process.terminate()
            process.wait(20)
            for pid in family:
                ended(pid)

    def _configuration(self) -> str:
        servers = []
        for way, where in self._sockets.items():
            upstream = f"127.0.0.1:{self._ports[way]}" if way in self._ports else f"unix:{self.daemon.socket(way)}"
            keep = "keepalive 8; keepalive_requests 20; keepalive_timeout 20ms;" if way.endswith("keep") else ""
            servers.append(
                f"""
upstream {way} {{ server {upstream} max_fails=0; {keep} }}
server {{
    listen unix:{where};
    location / {{
        fastcgi_pass {way};
        fastcgi_next_upstream off;
        fastcgi_keep_conn {"on" if keep else "off"};
        fastcgi_param QUERY_STRING $query_string;
        fastcgi_param REQUEST_METHOD $request_method;
        fastcgi_param SCRIPT_NAME /;
    }}
}}"""
            )
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f"{kind}_temp_path {self.place}/{kind};" for kind in kinds)
        user = "user www-data www-data;" if os.geteuid() == 0 else ""
        return (
            f"{user} daemon off; worker_processes 1; pid {self.place}/nginx.pid; events {{ worker_connections 512; }}\n"
            f"http {{ access_log off; {temporary} {''.join(servers)} }}\n"
        )

    @contextmanager
    def crowds(self, *, busy: bool) -> Iterator[list[Crowd]]:
        """Give visitors on each way, two at a time, as many as there are instances.

        *busy*: as much as can be where nothing may be lost.  On a listener of its own each generation has an end,
        however busy it is.  On a shared port who is to go must be idle for a moment, now and then, and between two uses
        of a connection that is kept he is not.
        """
        pauses = {"unix-close": 0.0, "unix-keep": 0.0, "tcp-close": 0.004} if busy else {}
        groups: dict[float, dict[str, Way]] = {}
        for way, where in self._sockets.items():
            groups.setdefault(pauses.get(way, 0.1), {})[way] = ("http", str(where))
        with ExitStack() as stack:
            yield [
                stack.enter_context(crowd_at(self.place, ways, clients=2, pause=pause))
                for pause, ways in groups.items()
            ]

    def crowd(self, clients: int, pause: float) -> Crowd:
        """Give so many visitors on each way."""
        return crowd_at(self.place, {way: self.way(way) for way in self.ways}, clients=clients, pause=pause)

    def way(self, name: str) -> Way:
        """Return where visitors ask."""
        return "http", str(self._sockets[name])

    @contextmanager
    def visitor(self, way: str) -> Iterator[ControlConnection]:
        """Give a visitor who has asked and waits for his answer."""
        visitor = ControlConnection(self._sockets[way], 30)
        visitor.request("GET", "/")
        try:
            yield visitor
        finally:
            visitor.close()

    def ctl(self, *words: str) -> str:
        """Run fcgipmctl, which must succeed; return what it says."""
        done = self.daemon.ctl(*words, timeout=90)
        assert done.returncode == 0, (words, done.stdout, done.stderr, self.daemon.log()[-4000:])
        return done.stdout + done.stderr

    def pids(self) -> dict[str, set[int]]:
        """Return the instances of each application, whatever their state."""
        return {app["name"]: {one["pid"] for one in app["instances"]} for app in self.daemon.status()["apps"]}

    def gone(self, before: dict[str, set[int]]) -> bool:
        """Return whether none of *before* is there any more."""
        now = self.pids()
        return all(not before[way] & now[way] for way in self.ways)

    def have(self, number: int) -> bool:
        """Return whether each application has so many instances."""
        return {len(pids) for pids in self.pids().values()} == {number}

    def taken(self, rule: str) -> set[str]:
        """Return the applications from which *rule* has taken an instance."""
        return {way for way in self.ways if f"{rule}: {way}/" in self.ctl("explain", way)}

    def see(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until *condition* holds."""
        try:
            until(condition, within=60, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.daemon.log()[-6000:]}") from None


@pytest.fixture
def stage(start_daemon: Callable[..., Daemon], place: Path) -> Iterator[Callable[..., Stage]]:
    """Give a function (ways, **keys of all tables) that starts everything."""
    with ExitStack() as stack:

        def start(ways: Sequence[str] = WAYS, *, work: int = 2000, program: Sequence[str] = (), **keys: Any) -> Stage:
            starting = partial(start_daemon, program=program) if program else start_daemon
            made = Stage(starting, place, ways, work, {"processes": 2, **keys})
            if keys.get("min-processes") != 0:
                made.see(made.daemon.running, "all are running")
            stack.enter_context(made.nginx())
            return made

        yield start
