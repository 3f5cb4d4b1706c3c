"""Real web servers before a daemon, each with its own generated configuration.

They listen on a Unix socket; Apache, which cannot, on a port of the loopback.
"""

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
from typing import Any, Protocol

from harness.components import need
from harness.leftovers import descendants, end_all
from harness.ports import free_port
from harness.waiting import ended, until

SERVERS = ("nginx", "lighttpd", "apache")
APACHE_MODULES = Path("/usr/lib/apache2/modules")


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


class Prints(Protocol):
    """What prints a snippet: a daemon."""

    def ctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Do what fcgipmctl does with *arguments*."""
        ...


class Connection(http.client.HTTPConnection):
    """HTTP to a Unix socket's path, or to a port of 127.0.0.1."""

    def __init__(self, address: Path | int, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._address = address

    def connect(self) -> None:
        """Connect to the server."""
        self.sock = connected(self._address, timeout=self.timeout or 0)


def connected(address: Path | int, *, timeout: float) -> socket.socket:
    """Return a connection to a Unix socket's path, or to a port of 127.0.0.1."""
    if isinstance(address, int):
        return socket.create_connection(("127.0.0.1", address), timeout=timeout)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found.settimeout(timeout)
        found.connect(str(address))
    except OSError:
        found.close()
        raise
    return found


def _web_account() -> tuple[str, str] | None:
    """Return user and group of the web server; None when it runs as the one who started it."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        grp.getgrnam("www-data")
        return "www-data", "www-data"
    return "root", "root"


class WebServer:
    """One nginx, lighttpd or Apache; *directory* must be empty; *root* is its own document root."""

    def __init__(self, kind: str, directory: Path, root: Path) -> None:
        self.kind = kind
        self.directory = directory
        self.root = root
        self.address: Path | int = free_port("127.0.0.1") if kind == "apache" else directory / "web.sock"
        self.errors = directory / "error.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, daemon: Prints, *apps: str, include: str = "", more: str = "") -> WebServer:
        """Write the configuration with what `fcgipmctl snippet` says of *apps* (all), start, wait until it listens."""
        program = need(self.kind)
        if self.kind == "nginx":
            command = self._nginx(program, daemon, apps, more)
        elif self.kind == "apache":
            include = include or f'Include "{self._snippet(daemon, "fcgipm.conf", "apache", *apps)}"'
            command = self._apache(program, include)
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
        with contextlib.suppress(OSError), connected(self.address, timeout=1):
            return True
        return False

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
        with contextlib.closing(Connection(self.address, timeout)) as connection:
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
        connection = Connection(self.address, timeout)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def raw(self, target: bytes) -> Answer:
        """Send a GET whose target is *target* as it stands; return the whole answer."""
        with contextlib.closing(connected(self.address, timeout=20)) as connection:
            connection.sendall(b"GET " + target + b" HTTP/1.0\r\nHost: localhost\r\n\r\n")
            with http.client.HTTPResponse(connection) as response:
                response.begin()
                return Answer(response.status, dict(response.getheaders()), response.read())

    def post(self, path: str, text: str) -> Answer:
        """Send a POST with *text* as its body; return the whole answer."""
        return self.get(path, method="POST", body=text.encode())

    def page(self, path: str, **more: Any) -> Answer:
        """Send one request whose answer must be 200."""
        answer = self.get(path, **more)
        assert answer.status == 200, (answer, self.log())
        return answer

    # ── configurations ───────────────────────────────────────────────────────────────────────────────────────────

    def _snippet(self, daemon: Prints, file: str, *arguments: str) -> Path:
        printed = daemon.ctl("snippet", *arguments)
        assert printed.returncode == 0, printed
        path = self.directory / file
        path.write_text(printed.stdout)
        return path

    def _nginx(self, program: str, daemon: Prints, apps: tuple[str, ...], more: str) -> list[str]:
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
            + "events { worker_connections 512; }\n"
            + f"http {{\n  client_max_body_size 64m;\n  access_log {self.directory}/access.log;\n"
            + f"  default_type text/plain;\n{places}  include {http_part};\n"
            + f"  server {{\n    listen unix:{self.address};\n    root {self.root};\n"
            + f"    include {server_part};\n{more}\n  }}\n}}\n"
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
            + f'server.bind = "{self.address}"\nserver.document-root = "{self.root}"\n'
            + f'server.upload-dirs = ( "{uploads}" )\n'
            + f'mimetype.assign = ( "" => "text/plain" )\n{include}\n'
        )
        return [program, "-D", "-f", str(file)]

    def _apache(self, program: str, include: str) -> list[str]:
        account = _web_account()
        file = self.directory / "apache.conf"
        modules = ("mpm_event", "authn_core", "authz_core", "authz_user", "alias", "dir", "env", "mime", "rewrite")
        added = ("proxy", "proxy_fcgi", "slotmem_shm", "proxy_balancer", "lbmethod_byrequests", "proxy_hcheck")
        loads = "".join(
            f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so\n" for name in (*modules, *added, "authnz_fcgi")
        )
        file.write_text(
            f'ServerRoot "{self.directory}"\nServerName localhost\nDefaultRuntimeDir "{self.directory}"\n'
            f"Listen 127.0.0.1:{self.address}\nPidFile apache.pid\nErrorLog error.log\nLogLevel info\n"
            'CustomLog access.log "%r %>s"\n'
            + loads
            + (f"User {account[0]}\nGroup {account[1]}\n" if account else "")
            + "StartServers 1\nThreadsPerChild 16\nMaxRequestWorkers 16\nMinSpareThreads 1\nMaxSpareThreads 16\n"
            + "TypesConfig /dev/null\nForceType text/plain\nAcceptFilter http none\n"
            + "<Directory />\n  AllowOverride None\n  Require all denied\n</Directory>\n"
            + f'DocumentRoot "{self.root}"\n<Directory "{self.root}">\n  Require all granted\n</Directory>\n'
            + f"{include}\n"
        )
        return [program, "-D", "FOREGROUND", "-f", str(file)]
