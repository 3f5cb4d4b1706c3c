"""An instance is killed: how long until its successor is exec'd, and who is refused meanwhile."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Self

from harness.daemon import Daemon
from harness.waiting import ended, until

from bench.processes import children
from bench.programs import Missing, hello, tool
from bench.table import Row, Skipped

KILLS = 15
LIFE = 0.3
"""Seconds that an instance lives at least: no delay is due then, also not that of a restart-delay of 0 (100 ms)."""


class Visitors:
    """Somebody who connects again and again, and counts refusals; a connection is closed at once."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._come)
        self.refused = 0
        self.connected = 0

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()

    def _come(self) -> None:
        while not self._stop.wait(0.005):
            with socket.socket(socket.AF_UNIX) as visitor:
                try:
                    visitor.connect(self._path)
                    self.connected += 1
                except OSError:
                    self.refused += 1


def executed(parent: int, program: str, but: set[int]) -> set[int]:
    """Return the children of *parent* that have executed *program*, other than *but*."""
    found = set()
    for pid in children(parent):
        try:
            if pid not in but and os.readlink(f"/proc/{pid}/exe") == program:
                found.add(pid)
        except OSError:
            continue
    return found


def replaced(parent: int, program: str, path: Path, settled: Callable[[], bool]) -> tuple[list[float], int]:
    """Kill the one child again and again; return the times to its successor in ms, and how many were refused.

    The next one is killed when all has *settled*.
    """
    times = []
    with Visitors(path) as visitors:
        until(lambda: visitors.connected > 10, what="visitors come")
        for _ in range(KILLS):
            (victim,) = until(lambda: executed(parent, program, set()), within=20)
            until(settled, within=20, what="all is as before the kill")
            select.select([], [], [], LIFE)
            begin = time.perf_counter()
            os.kill(victim, signal.SIGKILL)
            deadline = begin + 10
            while not executed(parent, program, {victim}):
                assert time.perf_counter() < deadline
                select.select([], [], [], 0.0002)  # often enough for milliseconds, and the processor stays free
            times.append((time.perf_counter() - begin) * 1000)
    return times, visitors.refused


def supervisor(place: Path, program: str) -> tuple[list[float], int]:
    """Do the same under supervisor, which closes the socket when the last child has ended."""
    command, path, config = tool("supervisord"), place / "supervised.sock", place / "killed.conf"
    config.write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={place}/killed.log\npidfile={place}/killed.pid\nidentifier=bench\n"
        f"{'user=root' if os.geteuid() == 0 else ''}\n"
        f"[fcgi-program:hello]\ncommand={program}\nsocket=unix://{path}\nstartsecs=0\nautorestart=true\n"
        "stdout_logfile=NONE\nstderr_logfile=NONE\n"
    )
    with (place / "killed.out").open("wb") as out:
        process = subprocess.Popen([command, "-c", str(config)], stdout=out, stderr=out)
    try:
        until(lambda: executed(process.pid, program, set()), within=30, what="supervisor runs it")
        return replaced(process.pid, program, path, lambda: True)
    finally:
        process.terminate()
        ended(process.pid, within=30)
        process.wait()


def ours(place: Path, program: str) -> tuple[list[float], int]:
    """Do it under fcgipm, with no delay due."""
    (place / "killed").mkdir(mode=0o755)
    daemon = Daemon(
        place / "killed",
        f'[app.hello]\ncommand = ["{program}"]\nsocket-mode = "0666"\n'
        "[defaults]\ninit-start-delay = 0\nrestart-delay = 0\nmin-server-life = 0\n",
    )
    try:
        daemon.wait_running()
        return replaced(daemon.pid, program, daemon.socket("hello"), daemon.running)
    finally:
        daemon.stop()


def measure(place: Path) -> Iterator[Row | Skipped]:
    """Yield the rows about a killed instance."""
    program = hello(place)
    times, refused = ours(place, program)
    others: tuple[list[float], int] | None = None
    try:
        others = supervisor(place, program)
    except Missing as error:
        yield Skipped("kill -9, supervisor", str(error))
    yield from _rows(median(times), refused, others)


def _rows(time_of_ours: float, refused: int, others: tuple[list[float], int] | None) -> Iterator[Row]:
    peer, time_of_theirs, refused_by_them = "", None, None
    if others is not None:
        peer, time_of_theirs, refused_by_them = "supervisor", median(others[0]), others[1]
    yield Row(
        what="kill -9 until the successor is exec'd", ours=time_of_ours, unit="ms", bound=10, peer=peer,
        theirs=time_of_theirs,
    )  # fmt: skip
    yield Row(
        what=f"connections refused meanwhile ({KILLS} kills)", ours=refused, bound=0, peer=peer, theirs=refused_by_them,
    )  # fmt: skip
