"""Connectors that ask for an application that is ready: how long one answer takes, and how many come in a second."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from harness.daemon import Daemon

from bench.programs import hello
from bench.table import Row

CLIENTS = 4
SECONDS = 3.0
QUESTION = b"GET /v1/ensure HTTP/1.1\r\nHost: fcgipm\r\nX-Fcgipm-App: hello\r\n\r\n"


def measure(place: Path) -> Iterator[Row]:
    """Yield the rows about asking."""
    (place / "asking").mkdir(mode=0o755)
    daemon = Daemon(
        place / "asking", f'[app.hello]\ncommand = ["{hello(place)}"]\nmin-processes = 1\nmax-processes = 2\n'
    )
    path = str(daemon.runtime / "connector.sock")
    try:
        daemon.wait_running()
        times = alone(path, kept=True, seconds=2.0)
        yield Row(what="ensure, ready app: median", ours=median(times) * 1000, unit="ms", bound=1)
        rate = together(path, kept=True)
        yield Row(what=f"ensure, ready app: per second, {CLIENTS} clients", ours=rate, bound=4000, sense="≥")
        yield Row(
            what="the same, a connection for each", ours=together(path, kept=False), note="(as nginx asks; no bound)"
        )
    finally:
        daemon.stop()


def alone(path: str, *, kept: bool, seconds: float) -> list[float]:
    """Ask one question after the other and return how long each answer took, in seconds."""
    times = []
    end = time.perf_counter() + seconds
    client: socket.socket | None = None
    while (begin := time.perf_counter()) < end:
        if client is None:
            client = socket.socket(socket.AF_UNIX)
            client.connect(path)
        client.sendall(QUESTION)
        answer = client.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        times.append(time.perf_counter() - begin)
        if not kept:
            client.close()
            client = None
    if client is not None:
        client.close()
    return times


def together(path: str, *, kept: bool) -> float:
    """Return how many questions several processes together get answered in a second."""
    words = [sys.executable, "-m", "bench.asking", path, json.dumps(kept)]
    clients = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(CLIENTS)]
    answers = [client.communicate(timeout=60)[0] for client in clients]
    assert all(client.returncode == 0 for client in clients)
    return sum(int(answer) for answer in answers) / SECONDS


if __name__ == "__main__":
    print(len(alone(sys.argv[1], kept=json.loads(sys.argv[2]), seconds=SECONDS)))
