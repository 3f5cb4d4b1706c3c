"""Reports: how many a second are taken without the loss of one, at the kernel's own length of the queue."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from harness.daemon import Daemon
from harness.waiting import until

from bench.processes import processor_time
from bench.programs import hello
from bench.table import Row
from fcgipm.reporting import Report, encode

RATE = 20_000
SECONDS = 5
QUEUE = Path("/proc/sys/net/unix/max_dgram_qlen")


def measure(place: Path) -> Iterator[Row]:
    """Yield the rows about reports."""
    (place / "reporting").mkdir(mode=0o755)
    daemon = Daemon(
        place / "reporting", f'[app.hello]\ncommand = ["{hello(place)}"]\nmin-processes = 1\nmax-processes = 2\n'
    )
    try:
        daemon.wait_running()
        before = processor_time(daemon.manager)
        sent, refused, took = send(str(daemon.runtime / "report.sock"))
        spent = processor_time(daemon.manager) - before
        until(lambda: taken(daemon) >= sent, within=10, what=f"all {sent} are taken")
        note = f"(max_dgram_qlen {QUEUE.read_text().strip()}; {100 * spent / took:.0f} % of a core)"
        yield Row(what="reports per second, paced", ours=sent / took, bound=RATE * 0.99, sense="≥", note=note)
        yield Row(what="reports that found no room", ours=refused, bound=0)
    finally:
        daemon.stop()


def send(path: str) -> tuple[int, int, float]:
    """Send `RATE` reports a second, evenly; return how many were sent and refused, and how long that took."""
    report = encode(Report(target="hello", status=200, connect=0.0001, header=0.004, response=0.005))
    sent = refused = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(path)
        sender.setblocking(False)
        begin = time.perf_counter()
        while (now := time.perf_counter() - begin) < SECONDS:
            due = int(now * RATE) - sent - refused
            if due <= 0:
                select.select([], [], [], 0.00005)
                continue
            for _ in range(min(due, 2)):  # never more than a few at once: that is what pacing means
                try:
                    sender.send(report)
                    sent += 1
                except BlockingIOError:
                    refused += 1
        return sent, refused, time.perf_counter() - begin


def taken(daemon: Daemon) -> float:
    """Return how many reports the daemon has counted."""
    text = daemon.http("GET", "/metrics")[1].decode()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith("fcgipm_reports_total"))
