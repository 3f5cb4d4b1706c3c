"""Real web servers before a daemon, each with its own generated configuration, listening on a Unix socket."""

from __future__ import annotations

import contextlib
import grp
import http.client
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.components import need
from harness.daemon import Daemon
from harness.leftovers import descendants, end_all
from harness.waiting import ended, until

SERVERS = ("nginx", "lighttpd")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a visitor got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _web_account() -> tuple[str, str] | None:
    """Return user and group of the web server; None when it runs as the one who started it."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        grp.getgrnam("www-data")
        return "www-data", "www-data"
    return "root", "root"


class WebServer:
    """One nginx or lighttpd; *directory* must be empty; *root* is its own document root."""

    def __init__(self, kind: str, directory: Path, root: Path) -> None:
        self.kind = kind
        self.directory = directory
        self.root = root
        self.socket = directory / "web.sock"
        self.errors = directory / "error.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, daemon: Daemon, *apps: str, include: str = "") -> WebServer:
        """Write the configuration with what `fcgipmctl snippet` says of *apps* (all), start, wait until it listens."""
        program = need(self.kind)
        if self.kind == "nginx":
            command = self._nginx(program, daemon, apps)
        else:
            include = include or f'include "{self._snippet(daemon, "fcgipm.conf", "lighttpd", *apps)}"'
            command = self._lighttpd(program, include)
        with (self.directory / "output").open("ab") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        until(self._listens, what=f"{self.kind} listens")
        return self

    def _listens(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"{self.kind} ended with status {self._process.returncode}:\n{self.log()}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def log(self) -> str:
        """Return all it has written so far."""
        files = (self.directory / "output", self.errors)
        return "".join(file.read_text(errors="replace") for file in files if file.exists())

    def stop(self) -> None:
        """End it and all that came from it."""
        if self._process is None:
            return
        family = dict(descendants(self._process.pid))
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            end_all(dict.fromkeys(family, self.kind))
            self._process.wait()
            raise
        for pid in family:
            ended(pid)

    # ── visiting ─────────────────────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def open(self, path: str, *, timeout: float = 20) -> Iterator[http.client.HTTPResponse]:
        """Send a GET and give the answer as soon as its headers are there, to be read piece by piece."""
        with contextlib.closing(Connection(self.socket, timeout)) as connection:
            connection.request("GET", path)
            with connection.getresponse() as response:
                yield response

    def get(
        self,
        path: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 20,
    ) -> Answer:
        """Send one request and return the whole answer."""
        connection = Connection(self.socket, timeout)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def page(self, path: str, **more: Any) -> Answer:
        """Send one request whose answer must be 200."""
        answer = self.get(path, **more)
        assert answer.status == 200, (answer, self.log())
        return answer

    # ── configurations ───────────────────────────────────────────────────────────────────────────────────────────

    def _snippet(self, daemon: Daemon, file: str, *arguments: str) -> Path:
        printed = daemon.ctl("snippet", *arguments)
        assert printed.returncode == 0, printed
        path = self.directory / file
        path.write_text(printed.stdout)
        return path

    def _nginx(self, program: str, daemon: Daemon, apps: tuple[str, ...]) -> list[str]:
        http_part = self._snippet(daemon, "http.conf", "nginx", *apps, "--context", "http")
        server_part = self._snippet(daemon, "server.conf", "nginx", *apps, "--context", "server")
        account = _web_account()
        places = "".join(
            f"  {kind}_temp_path {self.directory}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        file = self.directory / "nginx.conf"
        file.write_text(
            (f"user {account[0]} {account[1]};\n" if account else "")
            + f"daemon off;\nworker_processes 1;\npid {self.directory}/nginx.pid;\nerror_log {self.errors} info;\n"
            + "events { worker_connections 64; }\n"
            + f"http {{\n  access_log off;\n  default_type text/plain;\n{places}  include {http_part};\n"
            + f"  server {{\n    listen unix:{self.socket};\n    root {self.root};\n"
            + f"    include {server_part};\n  }}\n}}\n"
        )
        return [program, "-e", str(self.errors), "-c", str(file)]

    def _lighttpd(self, program: str, include: str) -> list[str]:
        account = _web_account()
        file = self.directory / "lighttpd.conf"
        uploads = self.directory / "uploads"
        uploads.mkdir()
        uploads.chmod(0o777)  # the server's own user writes there
        names = f'server.username = "{account[0]}"\nserver.groupname = "{account[1]}"\n' if account else ""
        file.write_text(
            (names if account and account[0] != "root" else "")
            + f'server.bind = "{self.socket}"\nserver.document-root = "{self.root}"\n'
            + f'server.upload-dirs = ( "{uploads}" )\n'
            + f'mimetype.assign = ( "" => "text/plain" )\n{include}\n'
        )
        return [program, "-D", "-f", str(file)]
