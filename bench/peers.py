"""The peers that start instances on demand, each running the same PHP script: php-fpm, uWSGI, mod_fcgid, lighttpd."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.load import ask
from harness.ports import free_port
from harness.waiting import ended, until

from bench.processes import descendants
from bench.programs import Missing, tool
from fcgipm.fastcgi import encode_request

LIMIT = 20
"""Instances at most, of each."""
BACKLOG = 1024
MODULES = Path("/usr/lib/apache2/modules")


@dataclass(frozen=True, slots=True)
class Peer:
    """A running peer: how it is asked, and how many of its processes run the script."""

    name: str
    ask: Callable[[], bool]
    """Ask once; False, or OSError: refused or lost."""
    workers: Callable[[], int]


def over_fastcgi(path: Path, script: Path) -> Callable[[], bool]:
    """Return how *script* is asked at the socket *path*."""
    params = {"REQUEST_METHOD": "GET", "SCRIPT_FILENAME": str(script), "SCRIPT_NAME": "/", "REDIRECT_STATUS": "200"}
    request = encode_request(params)
    return lambda: ask(str(path), request)


def over_http(port: int, path: str) -> Callable[[], bool]:
    """Return how *path* is asked of a web server on the loopback."""
    request = f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()

    def once() -> bool:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(request)
            head = client.recv(65536)
            answer = head
            while piece := client.recv(65536):
                answer += piece
            return answer.split(b"\r\n", 1)[0].endswith(b"200 OK")

    return once


def workers_of(pid: int, *names: str, but: int = 0) -> Callable[[], int]:
    """Return how many descendants of *pid* have executed one of *names*, less *but* who manage them."""

    def count() -> int:
        return max(sum(name.startswith(names) for name in descendants(pid)) - but, 0)

    return count


@contextlib.contextmanager
def run(place: Path, name: str, command: Sequence[str]) -> Iterator[int]:
    """Run a peer in the foreground; end it with all that it has started."""
    with (place / f"{name}.out").open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=place)
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        ended(process.pid)


def as_web_user(*lines: str) -> str:
    """Return *lines* where the peer is started by root, who must not run scripts."""
    return "\n".join(lines) if os.geteuid() == 0 else ""


@contextlib.contextmanager
def php_fpm(place: Path, script: Path, *, mode: str) -> Iterator[Peer]:
    """Run php-fpm with ``pm = ondemand`` or ``dynamic``, each with its own defaults beside the limit."""
    found = sorted(Path("/usr/sbin").glob("php-fpm*"))
    if not found:
        raise Missing("php-fpm is not installed")
    path, config = place / f"fpm-{mode}.sock", place / f"fpm-{mode}.conf"
    own = {
        "ondemand": "pm.process_idle_timeout = 1s",
        "dynamic": "pm.start_servers = 1\npm.min_spare_servers = 1\npm.max_spare_servers = 3",
    }
    config.write_text(
        f"[global]\nerror_log = {place}/fpm-{mode}.log\ndaemonize = no\n[www]\nlisten = {path}\n"
        f"listen.mode = 0666\nlisten.backlog = {BACKLOG}\npm = {mode}\npm.max_children = {LIMIT}\n{own[mode]}\n"
        + as_web_user("user = www-data", "group = www-data")
        + "\n"
    )
    name = f"php-fpm {mode}"
    with run(place, f"fpm-{mode}", [str(found[0]), "-n", "-F", "-y", str(config)]) as pid:
        until(path.exists, what="php-fpm listens")
        yield Peer(name, over_fastcgi(path, script), workers_of(pid, "php-fpm"))


@contextlib.contextmanager
def uwsgi_cheap(place: Path, script: Path) -> Iterator[Peer]:
    """Run uWSGI in cheap mode: no worker until the first request, none again after an idle second."""
    port = free_port("127.0.0.1")
    command = [
        tool("uwsgi"), "--plugin", "php", "--master", "--http-socket", f"127.0.0.1:{port}",
        "--http-socket-modifier1", "14", "--cheap", "--idle", "1", "--workers", "1", "--php-docroot",
        str(script.parent), "--listen", "100", "--die-on-term",
    ]  # fmt: skip
    if os.geteuid() == 0:
        command += ["--uid", "www-data", "--gid", "www-data"]
    with run(place, "uwsgi", command) as pid:
        until(lambda: _listens(port), what="uWSGI listens")
        yield Peer("uWSGI cheap", over_http(port, f"/{script.name}"), workers_of(pid, "uwsgi"))


@contextlib.contextmanager
def mod_fcgid(place: Path, script: Path) -> Iterator[Peer]:
    """Run Apache with mod_fcgid."""
    if not (MODULES / "mod_fcgid.so").exists():
        raise Missing("mod_fcgid is not installed")
    port, config = free_port("127.0.0.1"), place / "fcgid.conf"
    needed = ("mpm_event", "authz_core", "mime", "fcgid")
    config.write_text(
        "\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in needed)
        + f"""
Listen 127.0.0.1:{port}
ServerName localhost
PidFile {place}/fcgid.pid
ErrorLog {place}/fcgid.log
DefaultRuntimeDir {place}
ThreadsPerChild 64
MaxRequestWorkers 512
ServerLimit 8
TypesConfig /dev/null
DocumentRoot {script.parent}
<Directory {script.parent}>
    Require all granted
    Options +ExecCGI
    AddHandler fcgid-script .php
    FcgidWrapper {tool("php-cgi")} .php
</Directory>
FcgidIPCDir {place}/fcgid
FcgidProcessTableFile {place}/fcgid.shm
FcgidIdleTimeout 1
FcgidIdleScanInterval 1
FcgidMinProcessesPerClass 0
FcgidMaxProcessesPerClass {LIMIT}
FcgidConnectTimeout 60
FcgidBusyTimeout 600
"""
        + as_web_user("User www-data", "Group www-data")
        + "\n"
    )
    (place / "fcgid").mkdir(exist_ok=True)
    (place / "fcgid").chmod(0o777)
    with run(place, "apache", [tool("apache2"), "-DFOREGROUND", "-f", str(config)]) as pid:
        until(lambda: _listens(port), what="Apache listens")
        yield Peer("mod_fcgid", over_http(port, f"/{script.name}"), workers_of(pid, "php-cgi"))


@contextlib.contextmanager
def lighttpd(place: Path, script: Path) -> Iterator[Peer]:
    """Run lighttpd, which starts php-cgi by itself."""
    port, config = free_port("127.0.0.1"), place / "lighttpd.conf"
    config.write_text(
        f"""
server.port = {port}
server.bind = "127.0.0.1"
server.document-root = "{script.parent}"
server.errorlog = "{place}/lighttpd.log"
server.modules = ("mod_fastcgi")
server.max-connections = 1024
fastcgi.server = (".php" => ((
    "bin-path" => "{tool("php-cgi")}", "socket" => "{place}/lighttpd.php", "min-procs" => 1, "max-procs" => {LIMIT},
    "listen-backlog" => {BACKLOG}, "bin-environment" => ("PHP_FCGI_CHILDREN" => "0")
)))
"""
        + as_web_user('server.username = "www-data"', 'server.groupname = "www-data"')
        + "\n"
    )
    with run(place, "lighttpd", [tool("lighttpd"), "-D", "-f", str(config)]) as pid:
        until(lambda: _listens(port), what="lighttpd listens")
        yield Peer("lighttpd's spawner", over_http(port, f"/{script.name}"), workers_of(pid, "php-cgi"))


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
