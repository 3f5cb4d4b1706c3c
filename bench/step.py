"""A step from nothing to 200 requests a second of 50 ms each: how fast instances follow, and what that costs.

The visitors do not wait for each other: each comes when it is his time, whatever has become of those before him.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

from harness.daemon import Daemon

from bench import peers
from bench.peers import BACKLOG, LIMIT, Peer
from bench.programs import Missing, tool
from bench.table import Row, Skipped

RATE = 200
SECONDS = 15
SCRIPT = "<?php usleep(50000); echo 'here';"


@dataclass(slots=True)
class Result:
    """What the visitors met with, and what ran for them."""

    late: list[float] = field(default_factory=list)
    """Milliseconds from the time that was meant to the whole answer."""
    refused: int = 0
    peak: int = 0
    spent: float = 0.0
    """Instance-seconds while the visitors came."""

    @property
    def median(self) -> float:
        """The 50th percentile."""
        return quantiles(self.late, n=100)[49]

    @property
    def slowest(self) -> float:
        """The 99th percentile."""
        return quantiles(self.late, n=100)[98]


def visit(peer: Peer) -> Result:
    """Send all visitors to *peer* and return what they met with."""
    result, lock = Result(), threading.Lock()
    over = threading.Event()
    begin = time.perf_counter() + 0.2

    def come(due: float) -> None:
        over.wait(max(due - time.perf_counter(), 0))
        good = False
        with contextlib.suppress(OSError):
            good = peer.ask()
        took = (time.perf_counter() - due) * 1000
        with lock:
            if good:
                result.late.append(took)
            else:
                result.refused += 1

    def count() -> None:
        last = time.perf_counter()
        while not over.wait(0.1):
            now, workers = time.perf_counter(), peer.workers()
            result.peak = max(result.peak, workers)
            result.spent += workers * (now - last)
            last = now

    counter = threading.Thread(target=count)
    counter.start()
    visitors = []
    for number in range(RATE * SECONDS):
        due = begin + number / RATE
        select.select([], [], [], max(due - time.perf_counter() - 0.05, 0))  # a thread each, made just in time
        visitor = threading.Thread(target=come, args=(due,))
        visitor.start()
        visitors.append(visitor)
    for visitor in visitors:
        visitor.join()
    over.set()
    counter.join()
    return result


@contextlib.contextmanager
def ours(place: Path, script: Path) -> Iterator[Peer]:
    """Run fcgipm: a visitor who has waited for 50 ms gets another instance."""
    (place / "step").mkdir(mode=0o755)
    daemon = Daemon(
        place / "step",
        f'[app.php]\ncommand = ["{tool("php-cgi")}"]\nmin-processes = 0\nmax-processes = {LIMIT}\n'
        f'start-delay = "50ms"\nlisten-queue-depth = {BACKLOG}\nsocket-mode = "0666"\n',
    )
    try:
        daemon.wait_state("php", "idle")
        workers = peers.workers_of(daemon.pid, "php-cgi")
        yield Peer("fcgipm", peers.over_fastcgi(daemon.socket("php"), script), workers)
    finally:
        daemon.stop(within=60)


def measure(place: Path) -> Iterator[Row | Skipped]:
    """Yield the rows about the step, one for each quantity and peer."""
    place.chmod(0o777)
    script = place / "web" / "step.php"
    script.parent.mkdir(mode=0o755)
    script.write_text(SCRIPT)
    with ours(place, script) as peer:
        mine = visit(peer)
    what = f"step to {RATE}/s of 50 ms, at most {LIMIT}"
    yield Row(what=f"{what}: refused", ours=mine.refused, bound=0)
    yield from _quantities(what, mine)
    starters: list[tuple[str, Callable[[], contextlib.AbstractContextManager[Peer]]]] = [
        ("php-fpm ondemand", lambda: peers.php_fpm(place, script, mode="ondemand")),
        ("php-fpm dynamic", lambda: peers.php_fpm(place, script, mode="dynamic")),
        ("lighttpd's spawner", lambda: peers.lighttpd(place, script)),
        ("mod_fcgid", lambda: peers.mod_fcgid(place, script)),
    ]
    for name, start in starters:
        try:
            with start() as peer:
                theirs = visit(peer)
        except Missing as error:
            yield Skipped(f"{what}, {name}", str(error))
            continue
        yield from _beside(what, mine, name, theirs)


def _quantities(what: str, mine: Result) -> Iterator[Row]:
    yield Row(what=f"{what}: median", ours=mine.median, unit="ms")
    yield Row(what=f"{what}: 99th percentile", ours=mine.slowest, unit="ms")
    yield Row(what=f"{what}: peak instances", ours=mine.peak)
    yield Row(what=f"{what}: instance-seconds", ours=mine.spent)


def _beside(what: str, mine: Result, name: str, theirs: Result) -> Iterator[Row]:
    for quantity, unit, a, b in (
        ("median", "ms", mine.median, theirs.median),
        ("99th percentile", "ms", mine.slowest, theirs.slowest),
        ("peak instances", "", mine.peak, theirs.peak),
        ("instance-seconds", "", mine.spent, theirs.spent),
        ("refused", "", mine.refused, theirs.refused),
    ):
        yield Row(what=f"{what}: {quantity}", ours=a, unit=unit, peer=name, theirs=b)
