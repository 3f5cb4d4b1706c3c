"""Warm requests through nginx: with the connector configured, as the snippet has it, and with fastcgi_pass alone."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from harness.daemon import Daemon
from harness.ports import free_port
from harness.waiting import until

from bench.programs import hello, tool
from bench.requests import ROUNDS, answers, load
from bench.table import Row

NGINX = """
{user}
daemon off;
worker_processes 1;
error_log {place}/warm-error.log;
pid {place}/warm.pid;
events {{ worker_connections 1024; }}
http {{
    keepalive_requests 1000000;
    client_body_temp_path {place}/w1; proxy_temp_path {place}/w2; fastcgi_temp_path {place}/w3;
    uwsgi_temp_path {place}/w4; scgi_temp_path {place}/w5;
    include {place}/warm-http.conf;
    server {{
        listen 127.0.0.1:{reported};
        include {place}/warm-server.conf;
    }}
    server {{
        access_log off;
        listen 127.0.0.1:{connected};
        include {place}/warm-server.conf;
    }}
    server {{
        access_log off;
        listen 127.0.0.1:{plain};
        include {place}/plain-server.conf;
    }}
}}
"""


def measure(place: Path) -> Iterator[Row]:
    """Yield the row about warm requests."""
    program = hello(place)
    tool("wrk"), tool("nginx")
    (place / "warm").mkdir(mode=0o755)
    daemon = Daemon(
        place / "warm",
        f'[app.hello]\ncommand = ["{program}"]\nmin-processes = 4\nmax-processes = 5\nuri = ["/hello/"]\n',
    )
    try:
        daemon.wait_running()
        with nginx(place, daemon) as ports:
            turns = [turn(number, ports) for number in range(ROUNDS)]
    finally:
        daemon.stop()
    yield _row("connector configured", turns, 1, bound=0.97)
    yield _row("connector and reports", turns, 2, bound=None)


def _row(what: str, turns: list[tuple[float, ...]], which: int, *, bound: float | None) -> Row:
    return Row(
        what=f"warm requests/s through nginx, {what}", ours=median(rates[which] for rates in turns), bound=bound,
        sense="≥", of_ratio=True, peer="plain fastcgi_pass", theirs=median(rates[0] for rates in turns),
        ratios=tuple(rates[which] / rates[0] for rates in turns),
    )  # fmt: skip


def turn(number: int, ports: tuple[int, ...]) -> tuple[float, ...]:
    """Return requests a second at each port; who is first changes: a drift of the machine hits all."""
    rates = {port: load(port, "/hello/")[0] for port in (ports if number % 2 else reversed(ports))}
    return tuple(rates[port] for port in ports)


def plain_server(server: str, daemon: Daemon) -> str:
    """Return the same location as in the snippet, with its parameters, and nothing but fastcgi_pass beside them."""
    params = [line.strip() for line in server.splitlines() if line.strip().startswith("fastcgi_param")]
    lines = "\n".join(dict.fromkeys(params))
    split = 'fastcgi_split_path_info "^(/hello)(.*)$";'
    return f"location ^~ /hello/ {{\n{split}\n{lines}\nfastcgi_pass unix:{daemon.socket('hello')};\n}}\n"


@contextlib.contextmanager
def nginx(place: Path, daemon: Daemon) -> Iterator[tuple[int, int, int]]:
    """Run nginx; give the port without the connector, the one with it, and the one that reports as well."""
    plain, connected, reported = (free_port("127.0.0.1") for _ in range(3))
    for context in ("http", "server"):
        done = daemon.ctl("snippet", "nginx", "--context", context)
        assert done.returncode == 0, done.stderr
        (place / f"warm-{context}.conf").write_text(done.stdout)
    (place / "plain-server.conf").write_text(plain_server((place / "warm-server.conf").read_text(), daemon))
    config = place / "warm.conf"
    user = "user www-data;" if os.geteuid() == 0 else ""
    config.write_text(NGINX.format(place=place, connected=connected, plain=plain, reported=reported, user=user))
    log = str(place / "warm-error.log")
    server = subprocess.Popen([tool("nginx"), "-c", str(config), "-e", log], stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers(connected), what="nginx answers")
        yield plain, connected, reported
    finally:
        server.terminate()
        server.wait(10)
