"""A hundred applications at rest: wake-ups, memory, and how fast `fcgipmctl status` is."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from harness.daemon import Daemon
from harness.waiting import ended, until

from bench.processes import children, rollup, switches
from bench.programs import Missing, hello, tool
from bench.table import Row, Skipped

APPS = 100
FEW, MANY = 10, 110
REST = 10
RUNS = 15
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def configuration(count: int, program: str, processes: int) -> str:
    """Return *count* applications."""
    head = "[defaults]\ninit-start-delay = 0\n"
    return head + "".join(
        f'[app.a{number}]\ncommand = ["{program}"]\nprocesses = {processes}\n' for number in range(count)
    )


@contextlib.contextmanager
def running(place: Path, name: str, text: str) -> Iterator[Daemon]:
    """Run fcgipm with all instances ready."""
    directory = place / name
    directory.mkdir(mode=0o755)
    daemon = Daemon(directory, text)
    try:
        yield daemon.wait_running(within=120)
    finally:
        daemon.stop(within=60)


def pause(seconds: float) -> None:
    """Let time pass: rest is what is measured."""
    select.select([], [], [], seconds)


def wakeups(pids: list[int]) -> float:
    """Return the wake-ups of all *pids* together while nothing happens for `REST` seconds."""
    before = sum(map(switches, pids))
    pause(REST)
    return sum(map(switches, pids)) - before


def supervisor_wakeups(place: Path) -> Row | Skipped:
    """Return the same for supervisor with as many programs."""
    what = "wake-ups in 10 s, idle"
    try:
        command = tool("supervisord")
    except Missing as error:
        return Skipped(f"{what}, supervisor", str(error))
    config = place / "supervisord.conf"
    config.write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={place}/supervisord.log\npidfile={place}/supervisord.pid\n"
        f"identifier=bench\n{'user=root' if os.geteuid() == 0 else ''}\n"
        f"[program:a]\ncommand=/bin/sleep 1000\nnumprocs={2 * APPS}\nprocess_name=%(process_num)d\n"
        "stdout_logfile=NONE\nstderr_logfile=NONE\n"
    )
    with (place / "supervisord.out").open("wb") as out:
        process = subprocess.Popen([command, "-c", str(config)], stdout=out, stderr=out)
    try:
        until(lambda: len(children(process.pid)) == 2 * APPS, within=60, what="supervisor runs all")
        pause(3)  # startsecs: it calls them running after a second
        return Row(what=f"{what}, supervisor", ours=wakeups([process.pid]), note="for comparison")
    finally:
        process.terminate()
        ended(process.pid, within=60)
        process.wait()


def megabytes(pid: int, field: str) -> float:
    """Return a field of smaps_rollup in MB of 1,000,000 bytes."""
    return rollup(pid, field) * 1024 / 1e6


def memory(place: Path, apps: int, program: str) -> float:
    """Return the proportional memory, in KB of 1,000 bytes, of a fcgipm with so many *apps* that nobody has asked yet.

    Without that of mapped files, which does not grow but depends on who else has them mapped.
    """
    directory = place / f"size{apps}"
    directory.mkdir(mode=0o755)
    daemon = Daemon(directory, configuration(apps, program, 1))
    try:
        until(lambda: len(children(daemon.pid)) == apps + 1, within=60, what="manager and instances are started")
        pause(5)
        (manager,) = [pid for pid in children(daemon.pid) if b"manager" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return (rollup(daemon.pid, "Pss_Anon") + rollup(manager, "Pss_Anon")) * 1.024
    finally:
        daemon.stop(within=60)


def status_times(daemon: Daemon) -> list[float]:
    """Return how long the whole command took, in milliseconds, several times."""
    times = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        done = daemon.ctl("status")
        times.append((time.perf_counter() - begin) * 1000)
        assert done.returncode == 0, done
    return times


def scrape_times(daemon: Daemon, accept: str) -> list[float]:
    """Return how long a scrape took, in milliseconds, several times."""
    times = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        code, _body = daemon.http("GET", "/metrics", headers={"Accept": accept})
        times.append((time.perf_counter() - begin) * 1000)
        assert code == 200
    return times


def best(what: str, times: list[float], bound: float) -> Row:
    """Return the row about the least of *times*, in milliseconds: others who use the machine can only add to it."""
    return Row(what=what, ours=min(times), unit="ms", bound=bound, note=f"(best of {RUNS}; median {median(times):.0f})")


def measure(place: Path) -> Iterator[Row | Skipped]:
    """Yield the rows about rest and memory."""
    program = hello(place)
    with running(place, "rest", configuration(APPS, program, 2)) as daemon:
        pids = [daemon.pid, daemon.manager]
        pause(12)  # the last looks after the starts, and after our own questions
        count = wakeups(pids)
        yield Row(what="wake-ups in 10 s, idle, 100 apps × 2", ours=count, bound=0)
        yield Row(what="keeper, resident memory", ours=megabytes(daemon.pid, "Rss"), unit="MB", bound=20)
        total = sum(megabytes(pid, "Pss") for pid in pids)
        yield Row(what="keeper + manager, proportional memory", ours=total, unit="MB", bound=60)
        yield best("fcgipmctl status, whole command", status_times(daemon), bound=100)
        yield best("/metrics", scrape_times(daemon, "text/plain"), bound=50)
        yield best("/metrics as OpenMetrics", scrape_times(daemon, OPENMETRICS), bound=50)
        for _ in range(3):
            assert daemon.ctl("apply").returncode == 0
        yield Row(what="keeper, after three applies", ours=megabytes(daemon.pid, "Rss"), unit="MB", bound=20)
    yield supervisor_wakeups(place)
    growth = (memory(place, MANY, program) - memory(place, FEW, program)) / (MANY - FEW)
    yield Row(what=f"memory per app more ({FEW} to {MANY} apps)", ours=growth, unit="KB", bound=20)
