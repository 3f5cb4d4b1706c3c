"""A thousand applications at each of which somebody waits: what looking at them ten times a second costs, and rest."""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.daemon import Daemon
from harness.waiting import until

from bench.processes import processor_time, switches
from bench.programs import compiled
from bench.table import Row, Skipped

APPS = 1000
SECONDS = 5

TAKES_ONE = r"""
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
    char c;
    for (;;) {
        int taken = accept(0, 0, 0);
        if (taken < 0) return 1;
        while (read(taken, &c, 1) > 0);
        close(taken);
    }
}
"""
"""A program that serves one visitor as long as he stays: the next one waits."""


def configuration(program: str) -> str:
    """Return so many applications that would like another instance, in an hour."""
    head = '[defaults]\ninit-start-delay = 0\nstart-delay = "1h"\nsocket-mode = "0666"\n'
    return head + "".join(
        f'[app.a{number}]\ncommand = ["{program}"]\nmin-processes = 0\nmax-processes = 2\n' for number in range(APPS)
    )


def measure(place: Path) -> Iterator[Row | Skipped]:
    """Yield the rows about a thousand applications under pressure, and at rest."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < 3 * APPS:
        yield Skipped(f"{APPS} apps under pressure", f"only {most} descriptors are allowed")
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if most != resource.RLIM_INFINITY else 65536, most))
    program = compiled(place, "takes-one", TAKES_ONE, "-static")
    (place / "pressure").mkdir(mode=0o755)
    daemon = Daemon(place / "pressure", configuration(program))
    try:
        until(daemon.answering, within=60, what="the daemon answers")
        manager = daemon.manager
        with _visitors(daemon) as served:
            until(lambda: served() == APPS, within=120, what="somebody is served everywhere, and somebody waits")
            _pause(5)
            share, looked = _used(manager)
            yield Row(
                what=f"manager, {APPS} apps where somebody waits, of a core", ours=share * 100, unit="%", bound=15,
                note=f"({looked:.0f} wake-ups/s)",
            )  # fmt: skip
        _pause(15)  # rest comes after ten seconds of nothing
        share, looked = _used(manager)
        yield Row(what=f"manager, {APPS} apps at rest, of a core", ours=share * 100, unit="%", bound=0)
        yield Row(what=f"wake-ups of it in {SECONDS} s", ours=looked * SECONDS, bound=0)
    finally:
        daemon.stop(within=120)


@contextlib.contextmanager
def _visitors(daemon: Daemon) -> Iterator[Callable[[], int]]:
    """Bring two visitors to each application, and give how many instances are ready."""
    with contextlib.ExitStack() as stack:
        for number in range(APPS):
            for _ in range(2):
                visitor = stack.enter_context(socket.socket(socket.AF_UNIX))
                visitor.connect(str(daemon.socket(f"a{number}")))
        yield lambda: sum(app["ready"] and app["busy"] and app["queue"] for app in daemon.status()["apps"])


def _used(pid: int) -> tuple[float, float]:
    """Return what share of a core *pid* uses, and how often it wakes up in a second."""
    before, woken, begin = processor_time(pid), switches(pid), time.perf_counter()
    _pause(SECONDS)
    took = time.perf_counter() - begin
    return (processor_time(pid) - before) / took, (switches(pid) - woken) / took


def _pause(seconds: float) -> None:
    """Let time pass: what is used meanwhile is what is measured."""
    select.select([], [], [], seconds)
