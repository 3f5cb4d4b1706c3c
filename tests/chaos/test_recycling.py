"""Instances that have served max-requests are replaced under load: nobody notices."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chaos.conftest import FULL, Record
from chaos.scene import Scene, altered, crowd_at
from harness.waiting import until
from integration.web.servers import WebServer

REQUESTS = 10_000 if FULL else 1_000
RECYCLED = 30 if FULL else 4


@pytest.fixture
def snippet(place: Path) -> Iterator[Callable[[Scene], WebServer]]:
    """Give a function that starts nginx with what fcgipmctl prints for it: it reports requests."""
    started: list[WebServer] = []

    def start(stage: Scene) -> WebServer:
        (place / "web").mkdir(mode=0o755)
        started.append(WebServer("nginx", place / "web", place))
        return started[0].start(stage.daemon)

    yield start
    for web in started:
        web.stop()


@pytest.mark.parametrize("program", [(), altered("blind")], ids=["as it is", "blind"])
def test_recycling_by_max_requests(
    scene: Callable[..., Scene],
    snippet: Callable[[Scene], WebServer],
    record: Record,
    program: tuple[str, ...],
) -> None:
    limits = {"processes": None, "min-processes": 3, "max-processes": 4, "max-requests": 20}
    stage = scene("mortal", uri=["/"], **limits, program=program)
    web = snippet(stage)
    with crowd_at(stage.place, {"nginx": ("http", str(web.address))}, pause=0.02) as crowd:
        met = set(stage.pids())
        end = time.monotonic() + 120
        while crowd.seen().answered < REQUESTS or len(met) < 3 + RECYCLED:
            assert time.monotonic() < end, f"{len(met) - 3} recycled\n{stage.daemon.log()[-3000:]}"
            crowd.more(50)
            met.update(stage.pids())
            if program and crowd.seen().refused:
                break
    record("recycling, max-requests = 20", "blind" if program else "fcgipm", "mortal", len(met) - 3, crowd)
    if program:
        assert crowd.seen().refused > 0
    else:
        assert crowd.failures == []
        until(lambda: not stage.frozen(), what="nobody stands still for long")
