"""The first answer of a php-cgi application that has no instance, beside fork, exec and answer alone, and the peers."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from harness.daemon import Daemon
from harness.waiting import until

from bench import peers
from bench.peers import Peer
from bench.programs import Missing, tool
from bench.table import Row, Skipped

ROUNDS = 25
FEW = 5
"""Rounds of peers that need seconds to become cold again."""


def measure(place: Path) -> Iterator[Row | Skipped]:
    """Yield the rows about cold starts."""
    place.chmod(0o777)
    script = place / "web" / "cold.php"
    script.parent.mkdir(mode=0o755)
    script.write_text("<?php echo 'here';")
    bare, ours = _by_turns(place, script)
    extra = [a - b for a, b in zip(ours, bare, strict=True)]
    yield Row(
        what="first answer from zero, php-cgi: beyond fork, exec and answer alone", ours=median(extra), unit="ms",
        bound=5,
    )  # fmt: skip
    yield Row(
        what="first answer from zero, php-cgi", ours=median(ours), unit="ms", peer="fork+exec alone",
        theirs=median(bare), ratios=tuple(a / b for a, b in zip(ours, bare, strict=True)),
    )  # fmt: skip
    for what, start in (
        ("php-fpm ondemand", lambda: peers.php_fpm(place, script, mode="ondemand")),
        ("uWSGI cheap", lambda: peers.uwsgi_cheap(place, script)),
        ("mod_fcgid", lambda: peers.mod_fcgid(place, script)),
    ):
        yield _beside(what, start, median(ours))


def _beside(what: str, start: Callable[[], contextlib.AbstractContextManager[Peer]], ours: float) -> Row | Skipped:
    title = "first answer from zero"
    try:
        with start() as peer:
            times = []
            for _ in range(FEW):
                until(lambda: not peer.workers(), within=20, what=f"{what} is cold")
                times.append(timed(peer.ask))
    except Missing as error:
        return Skipped(f"{title}, {what}", str(error))
    return Row(what=title, ours=ours, unit="ms", peer=what, theirs=median(times))


def _by_turns(place: Path, script: Path) -> tuple[list[float], list[float]]:
    bare: list[float] = []
    ours: list[float] = []
    with _in_memory(place) as directory, _daemon(directory) as daemon:
        daemon.wait_state("php", "idle")
        ask = peers.over_fastcgi(daemon.socket("php"), script)
        for turn in range(ROUNDS):
            _become_cold(daemon)
            if turn % 2:
                ours.append(timed(ask))
                bare.append(alone(place / f"bare{turn}.sock", script))
            else:
                bare.append(alone(place / f"bare{turn}.sock", script))
                ours.append(timed(ask))
    return bare, ours


@contextlib.contextmanager
def _in_memory(place: Path) -> Iterator[Path]:
    """Give a directory where files are in memory, as in the /run of every Debian; below *place* where none is."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="fb.", dir=memory if os.access(memory, os.W_OK) else place) as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


@contextlib.contextmanager
def _daemon(directory: Path) -> Iterator[Daemon]:
    daemon = Daemon(
        directory,
        f'[app.php]\ncommand = ["{tool("php-cgi")}"]\nmin-processes = 0\nsocket-mode = "0666"\n'
        "[defaults]\nrestart-delay = 0\nmin-server-life = 0\n",
    )
    try:
        yield daemon
    finally:
        daemon.stop()


def _become_cold(daemon: Daemon) -> None:
    """Kill the instance; the next visitor gets another one."""
    for instance in daemon.app("php")["instances"]:
        os.kill(instance["pid"], signal.SIGKILL)
    until(lambda: daemon.app("php")["state"] == "idle" and not daemon.app("php")["instances"], what="it is cold")
    select.select([], [], [], 0.2)  # restart-delay has its floor of 100 ms


def alone(path: Path, script: Path) -> float:
    """Return how long it takes, in ms, to start php-cgi on a listener and to get its first answer."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(16)
        begin = time.perf_counter()
        process = subprocess.Popen([tool("php-cgi")], stdin=listener.fileno(), env={}, stderr=subprocess.DEVNULL)
        try:
            assert peers.over_fastcgi(path, script)()
            return (time.perf_counter() - begin) * 1000
        finally:
            process.kill()
            process.wait()
            path.unlink()


def timed(ask: Callable[[], bool]) -> float:
    """Return how long one answer takes, in ms."""
    begin = time.perf_counter()
    assert ask(), "no answer"
    return (time.perf_counter() - begin) * 1000
