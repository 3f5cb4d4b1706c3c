"""What the daemon sees of its visitors, from the kernel alone, and what follows from it."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from harness.daemon import Daemon
from harness.ports import free_port
from harness.rest import at_rest
from harness.visitors import from_elsewhere, leave
from harness.waiting import until
from prometheus_client.parser import text_string_to_metric_families

from fcgipm.manager.telling.families import PREFIX

DEMO = f'["{sys.executable}", "-m", "fcgipm.demo"]'


def metrics(daemon: Daemon) -> dict[tuple[str, ...], float]:
    """Return all values of the exposition, by name and values of labels."""
    code, body = daemon.http("GET", "/metrics")
    assert code == 200
    return {
        (sample.name.removeprefix(PREFIX), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def visit(stack: ExitStack, daemon: Daemon, app: str) -> socket.socket:
    """Connect to *app* and say nothing: the demo waits for the request, and so is busy."""
    kind, _, place = daemon.app(app)["address"].partition(":")
    if kind == "tcp":
        host, _, port = place.rpartition(":")
        return stack.enter_context(socket.create_connection((host.strip("[]"), int(port))))
    client = stack.enter_context(socket.socket(socket.AF_UNIX))
    client.connect(place)
    return client


@pytest.mark.parametrize("where", ["", 'port = {port}\naddress = "127.0.0.1"', 'port = {port}\naddress = "::1"'])
def test_visitors_are_seen_from_coming_to_going(
    start_daemon: Callable[..., Daemon], stack: ExitStack, where: str
) -> None:
    daemon = start_daemon(
        f'[app.demo]\ncommand = {DEMO}\ndirectory = "/"\nmin-processes = 0\nmax-processes = 2\nstart-delay = 0.1\n'
        + where.format(port=free_port()),
        wait="answering",
    )
    assert daemon.app("demo")["state"] == "idle"
    assert (daemon.app("demo")["processes_min"], daemon.app("demo")["processes_max"]) == (0, 2)
    for count in (1, 2):
        visit(stack, daemon, "demo")
        until(lambda count=count: daemon.app("demo")["busy"] == count, what=f"{count} are served")  # type: ignore[misc]
    assert daemon.app("demo")["queue_oldest"] is None
    waiters = [visit(stack, daemon, "demo") for _ in range(2)]
    until(lambda: daemon.app("demo")["denied"] == "max-processes", what="no more is started")
    first = daemon.app("demo")
    assert (first["queue"], first["queue_abandoned"], first["busy"], first["ready"]) == (2, 0, 2, 2)
    until(lambda: daemon.app("demo")["queue_oldest"] > first["queue_oldest"], what="who waits gets older")
    waiters[0].close()
    until(lambda: daemon.app("demo")["queue_abandoned"] == 1, what="who has given up is seen")
    until(lambda: metrics(daemon)["listen_queue_abandoned_total", "demo"] == 1, what="it is counted")
    until(lambda: metrics(daemon)["connection_seconds_total", "demo"] > 0, what="the time is added up")
    found = metrics(daemon)
    assert found["spawns_total", "demo", "somebody-came"] == 1
    assert found["spawns_total", "demo", "start-delay"] == 1
    assert found["spawn_denied_total", "demo", "max-processes"] == 1
    assert found["listen_queue_oldest_seconds", "demo"] > 0
    assert found["instances_limit", "demo"] == found["instances_busy", "demo"] == 2
    assert "instance_load_ratio" in {name for name, *_ in found}
    assert "limited by max-processes" in daemon.ctl("status").stdout


def test_a_fixed_application_is_seen_when_somebody_looks(start_daemon: Callable[..., Daemon], stack: ExitStack) -> None:
    daemon = start_daemon(f'[app.demo]\ncommand = {DEMO}\ndirectory = "/"\nlisten-queue-depth = 1\n')
    served = visit(stack, daemon, "demo")
    until(lambda: daemon.app("demo")["busy"] == 1, what="the first one is served")
    for _ in range(2):
        visit(stack, daemon, "demo")
    first = metrics(daemon)
    assert (first["listen_queue_connections", "demo"], first["listen_queue_limit_connections", "demo"]) == (2, 1)
    until(lambda: metrics(daemon)["listen_queue_oldest_seconds", "demo"] > 0, what="the second scrape sees an age")
    assert "the queue is full" in daemon.ctl("status").stdout
    assert "connection_seconds_total" not in {name for name, *_ in first}, "nobody looks between two scrapes"
    served.close()
    until(lambda: daemon.app("demo")["queue"] == 1, what="the next one is served")


def test_who_has_served_comes_to_rest_and_then_nobody_wakes(start_daemon: Callable[..., Daemon]) -> None:
    daemon = start_daemon(
        f'[app.demo]\ncommand = {DEMO}\ndirectory = "/"\nmin-processes = 0\nmax-processes = 3\n', wait="answering"
    )
    assert daemon.ctl("request", "demo", "/demo/ping").returncode == 0

    at_rest(daemon.pid, daemon.manager, seconds=3, within=60)
    assert daemon.app("demo")["ready"] == 1


def test_an_instance_that_is_too_large_is_replaced_while_it_serves(
    start_daemon: Callable[..., Daemon], stack: ExitStack
) -> None:
    daemon = start_daemon(f'[app.demo]\ncommand = {DEMO}\ndirectory = "/"\nmax-memory = "1M"\n')
    (before,) = daemon.instances("demo")
    visitors = [visit(stack, daemon, "demo") for _ in range(2)]  # the second waits, so nobody can overlook him
    until(lambda: len(daemon.app("demo")["instances"]) == 2, within=20, what="the replacement comes first")
    for visitor in visitors:
        visitor.close()
    until(lambda: before not in daemon.instances("demo", None), what="the large one goes when it is idle")
    assert metrics(daemon)["spawns_total", "demo", "recycle"] == 1


def test_who_was_served_before_anybody_was_told_of_him_ends_the_rest_when_he_is_seen(
    start_daemon: Callable[..., Daemon], stack: ExitStack
) -> None:
    daemon = start_daemon(f'[app.demo]\ncommand = {DEMO}\ndirectory = "/"\nmax-memory = "1M"\n')
    until(lambda: daemon.app("demo")["instances"][0]["age"] > 3, what="the first looks are over")
    os.kill(daemon.pid, signal.SIGSTOP)  # the keeper, who watches for him
    try:
        visit(stack, daemon, "demo")
        until(lambda: daemon.app("demo")["busy"] == 1, what="he is served")
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    until(lambda: len(daemon.app("demo")["instances"]) == 2, within=20, what="the large one is replaced")


@pytest.mark.root
def test_visitors_from_another_network_name_space_are_counted(
    start_daemon: Callable[..., Daemon], stack: ExitStack
) -> None:
    daemon = start_daemon(
        f'[app.demo]\ncommand = {DEMO}\ndirectory = "/"\nmin-processes = 0\nmax-processes = 2\nstart-delay = 0.1\n',
        wait="answering",
    )
    visitors = [from_elsewhere(stack, daemon.socket("demo"))]
    until(lambda: daemon.app("demo")["busy"] == 1, what="the first one is seen to be served")
    visitors.append(from_elsewhere(stack, daemon.socket("demo")))
    until(lambda: daemon.app("demo")["busy"] == 2, what="the second one is seen to be served")
    until(lambda: metrics(daemon)["connection_seconds_total", "demo"] > 1, what="their time is added up")
    assert daemon.app("demo")["ready"] == 2
    visitors.append(from_elsewhere(stack, daemon.socket("demo")))
    until(lambda: daemon.app("demo")["queue"] == 1, what="the third one waits")
    assert daemon.app("demo")["queue_abandoned"] == 0
    leave(visitors[2])
    until(lambda: daemon.app("demo")["queue_abandoned"] == 1, what="the third one has given up")
    visit(stack, daemon, "demo")
    for visitor in visitors[:2]:
        leave(visitor)
    until(lambda: daemon.app("demo")["busy"] == 1, what="only the one from here is left")


@pytest.mark.root
def test_who_asks_about_a_fixed_application_is_told_of_visitors_from_another_network_name_space(
    start_daemon: Callable[..., Daemon], stack: ExitStack
) -> None:
    daemon = start_daemon(f'[app.demo]\ncommand = {DEMO}\ndirectory = "/"\nprocesses = 2\n')
    for _ in range(2):
        from_elsewhere(stack, daemon.socket("demo"))
    until(lambda: daemon.app("demo")["queue"] == 0, what="both are served")
    until(lambda: metrics(daemon)["instances_busy", "demo"] == 2, within=30, what="both are seen to be served")
