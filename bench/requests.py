"""Requests through nginx to the same program: started by fcgipm, started by spawn-fcgi."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from harness.daemon import Daemon
from harness.waiting import ended, until

from bench.programs import hello, tool
from bench.table import Row

ROUNDS = 12
SECONDS = 2
CONNECTIONS = 16
INSTANCES = 4

NGINX = """
{user}
daemon off;
worker_processes 1;
error_log {place}/nginx-error.log;
pid {place}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path {place}/t1; proxy_temp_path {place}/t2; fastcgi_temp_path {place}/t3;
    uwsgi_temp_path {place}/t4; scgi_temp_path {place}/t5;
    server {{
        listen 127.0.0.1:{port};
        fastcgi_param REQUEST_METHOD $request_method;
        fastcgi_param SCRIPT_NAME $uri;
        location /fcgipm/ {{ fastcgi_pass unix:{ours}; }}
        location /spawn-fcgi/ {{ fastcgi_pass unix:{theirs}; }}
    }}
}}
"""


@contextlib.contextmanager
def spawn_fcgi(place: Path, program: str) -> Iterator[Path]:
    """Run *program* under spawn-fcgi; give the path of its socket."""
    directory = place / "web/run"  # as deep as ours: the kernel walks the path at every connect
    path, pids = directory / "p.sock", place / "peer.pid"
    command = [tool("spawn-fcgi"), "-s", str(path), "-M", "0666", "-F", str(INSTANCES), "-P", str(pids), "-b", "100"]
    if os.geteuid() == 0:
        command += ["-u", "www-data", "-g", "www-data"]  # as ours
    subprocess.run([*command, "--", program], check=True, stdout=subprocess.DEVNULL, env={})
    started = [int(pid) for pid in pids.read_text().split()]
    try:
        yield path
    finally:
        for pid in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            ended(pid)


@contextlib.contextmanager
def nginx(place: Path, ours: Path, theirs: Path) -> Iterator[int]:
    """Run nginx; give its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = place / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(NGINX.format(place=place, port=port, ours=ours, theirs=theirs, user=user))
    log = str(place / "nginx-error.log")
    server = subprocess.Popen([tool("nginx"), "-c", str(config), "-e", log], stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers(port), what="nginx answers")
        yield port
    finally:
        server.terminate()
        server.wait(10)


def answers(port: int) -> bool:
    """Return whether somebody listens on *port* of the loopback."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def load(port: int, path: str) -> tuple[float, float]:
    """Return requests a second and the 99th percentile in milliseconds."""
    url = f"http://127.0.0.1:{port}{path}"
    command = [tool("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in text, text
    rate = float(re.findall(r"Requests/sec:\s+([\d.]+)", text)[0])
    value, unit = re.findall(r"99%\s+([\d.]+)(us|ms|s)\b", text)[0]
    return rate, float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def measure(place: Path) -> Iterator[Row]:
    """Yield the rows about requests."""
    program = hello(place)
    tool("wrk"), tool("nginx")
    (place / "web").mkdir(mode=0o755)
    daemon = Daemon(
        place / "web",
        f'[app.hello]\ncommand = ["{program}"]\nprocesses = {INSTANCES}\nsocket-mode = "0666"\n'
        "[defaults]\ninit-start-delay = 0\n",
    )
    try:
        daemon.wait_running()
        with spawn_fcgi(place, program) as peer, nginx(place, daemon.socket("hello"), peer) as port:
            ours, theirs = _rounds(port)
    finally:
        daemon.stop()
    yield Row(
        what="requests/s through nginx", ours=median(rate for rate, _ in ours), bound=0.98, sense="≥", of_ratio=True,
        peer="spawn-fcgi", theirs=median(rate for rate, _ in theirs),
        ratios=tuple(a[0] / b[0] for a, b in zip(ours, theirs, strict=True)),
    )  # fmt: skip
    # a latency is better when lower: 0.98 of the peer's speed is 1/0.98 of its time
    yield Row(
        what="99th percentile of it", unit="ms", ours=median(late for _, late in ours), bound=1 / 0.98, of_ratio=True,
        peer="spawn-fcgi", theirs=median(late for _, late in theirs),
        ratios=tuple(a[1] / b[1] for a, b in zip(ours, theirs, strict=True)),
    )  # fmt: skip


def _rounds(port: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    results: dict[str, list[tuple[float, float]]] = {"/fcgipm/": [], "/spawn-fcgi/": []}
    for path in results:  # warm up
        load(port, path)
    for turn in range(ROUNDS):
        for path in sorted(results, reverse=bool(turn % 2)):  # who is first changes: a drift of the machine hits both
            results[path].append(load(port, path))
    return results["/fcgipm/"], results["/spawn-fcgi/"]
