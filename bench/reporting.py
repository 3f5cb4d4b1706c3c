"""Reports: how many a second are taken without the loss of one, at the kernel's own length of the queue and at ours.

The second is measured in a network name space of its own, which takes root: the length is one of its settings.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from harness.daemon import Daemon
from harness.waiting import until

from bench.processes import processor_time
from bench.programs import hello, tool
from bench.table import Row, Skipped
from fcgipm.reporting import Report, encode

RATE = 20_000
SECONDS = 5
QUEUE = Path("/proc/sys/net/unix/max_dgram_qlen")
SHIPPED = Path(__file__).parents[1] / "etc/sysctl.d/fcgipm.conf"


def measure(place: Path) -> Iterator[Row | Skipped]:
    """Yield the rows about reports."""
    yield from _rows(taken_of(place, "reporting"), bound=False)
    if os.geteuid() != 0:
        yield Skipped("reports per second, with the setting that is shipped", "a network name space takes root")
        return
    words = [tool("unshare"), "--net", sys.executable, "-m", "bench.reporting", str(place)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    yield from _rows(tuple(json.loads(done.stdout)), bound=True)


def _rows(found: tuple[float, ...], *, bound: bool) -> Iterator[Row]:
    rate, refused, share, length = found
    title = f"reports per second, paced, max_dgram_qlen {length:.0f}"
    yield Row(
        what=title, ours=rate, bound=RATE * 0.99 if bound else None, sense="≥",
        note=f"(manager: {100 * share:.0f} % of a core)",
    )  # fmt: skip
    yield Row(what="reports that found no room", ours=refused, bound=0 if bound else None)


def taken_of(place: Path, name: str) -> tuple[float, float, float, float]:
    """Return reports a second, how many found no room, the manager's share of a core, and the queue's length."""
    (place / name).mkdir(mode=0o755)
    daemon = Daemon(place / name, f'[app.hello]\ncommand = ["{hello(place)}"]\nmin-processes = 1\nmax-processes = 2\n')
    try:
        daemon.wait_running()
        before = processor_time(daemon.manager)
        sent, refused, took = send(str(daemon.runtime / "report.sock"))
        spent = processor_time(daemon.manager) - before
        until(lambda: counted(daemon) >= sent, within=10, what=f"all {sent} are taken")
        return sent / took, refused, spent / took, int(QUEUE.read_text())
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


def counted(daemon: Daemon) -> float:
    """Return how many reports the daemon has counted."""
    text = daemon.http("GET", "/metrics")[1].decode()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith("fcgipm_reports_total"))


if __name__ == "__main__":
    QUEUE.write_text(re.findall(r"= *(\d+)", SHIPPED.read_text())[0])
    print(json.dumps(taken_of(Path(sys.argv[1]), "reporting-shipped")))
