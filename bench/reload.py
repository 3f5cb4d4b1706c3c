"""Reload: what a new generation takes beyond the start of its program, and how long that of many applications takes."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from harness.daemon import Daemon
from harness.load import ask
from harness.waiting import until

from bench.programs import hello
from bench.table import Row
from fcgipm.fastcgi import encode_request

ROUNDS = 20
INSTANCES = 4
APPS = 100
REQUEST = encode_request({"REQUEST_METHOD": "GET"})


def measure(place: Path) -> Iterator[Row]:
    """Yield the rows about reloads."""
    program = hello(place)
    (place / "one").mkdir(mode=0o755)
    with running(place / "one", table("hello", program, INSTANCES)) as daemon:
        rounds = [(started(place, program), reloaded(daemon)) for _ in range(ROUNDS)]
    yield Row(
        what=f"reload of one idle application, {INSTANCES} instances, beyond its own start",
        ours=median(whole - start for start, whole in rounds),
        unit="ms",
        bound=50,
        note=f"the whole {median(whole for _, whole in rounds):.0f} ms, of which 10 ms are to see that it stays alive",
    )
    (place / "many").mkdir(mode=0o755)
    with running(place / "many", "".join(table(f"a{number}", program, 2) for number in range(APPS))) as daemon:
        seconds = [reloaded(daemon) / 1000 for _ in range(3)]
    yield Row(what=f"reload of {APPS} applications, 2 instances each", ours=median(seconds), unit="s", bound=5)


def table(name: str, program: str, processes: int) -> str:
    """Return the table of an application."""
    return f'[app.{name}]\ncommand = ["{program}"]\nprocesses = {processes}\n'


@contextlib.contextmanager
def running(place: Path, tables: str) -> Iterator[Daemon]:
    """Give a daemon whose instances are all ready."""
    daemon = Daemon(place, tables)
    try:
        daemon.wait_running()
        yield daemon
    finally:
        daemon.stop()


def reloaded(daemon: Daemon) -> float:
    """Reload everything, from the question to the answer; return the milliseconds that took."""
    until(lambda: all(at_rest(app) for app in daemon.status()["apps"]), within=60, what="the one before has gone")
    begin = time.perf_counter()
    status, body = daemon.http("POST", "/v1/reload", {})
    took = (time.perf_counter() - begin) * 1000
    outcome = json.loads(body.splitlines()[-1])
    assert status == 200, outcome
    assert {app["state"] for app in outcome["apps"]} == {"done"}, outcome
    return took


def at_rest(app: dict[str, object]) -> bool:
    """Return whether nothing of an earlier generation is left."""
    instances = app["instances"]
    assert isinstance(instances, list)
    return len(instances) == app["processes"] == app["ready"]


def started(place: Path, program: str) -> float:
    """Start as many instances without anybody who manages them; return the milliseconds until all have answered."""
    path = place / "alone.sock"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        begin = time.perf_counter()
        found = [
            subprocess.Popen([program], stdin=listener.fileno(), stdout=subprocess.DEVNULL) for _ in range(INSTANCES)
        ]
        for _ in range(INSTANCES):
            assert ask(str(path), REQUEST)
        took = (time.perf_counter() - begin) * 1000
        for process in found:
            os.kill(process.pid, 9)
            process.wait()
    return took
