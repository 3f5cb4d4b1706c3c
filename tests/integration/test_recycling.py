"""Instances that have served much or are old are replaced under load: nobody loses by it."""

from __future__ import annotations

import socket
import sys
from collections import Counter
from collections.abc import Callable

import pytest
from harness.daemon import Daemon
from harness.load import Load
from harness.waiting import until

from fcgipm.fastcgi import encode_request

DEMO = f'["{sys.executable}", "-m", "fcgipm.demo"]'


# Of the requests, only those are counted that a look happens upon: about one in a second for each instance.
@pytest.mark.parametrize("limit", ["max-requests = 2", "max-lifetime = 1"])
def test_replacements_come_first_and_one_at_a_time_and_no_visitor_is_lost(
    start_daemon: Callable[..., Daemon], limit: str
) -> None:
    daemon = start_daemon(f'[app.demo]\ncommand = {DEMO}\ndirectory = "/"\nprocesses = 2\n{limit}\n')
    first = set(daemon.instances("demo"))
    at_most_starting, served = 0, set(first)

    def all_have_gone_and_two_more() -> bool:
        nonlocal at_most_starting
        instances = daemon.app("demo")["instances"]
        states = Counter(one["state"] for one in instances)
        assert states["ready"] == 2, states
        at_most_starting = max(at_most_starting, states["starting"])
        served.update(one["pid"] for one in instances if one["state"] == "ready")
        return len(served) >= 6 and first.isdisjoint(one["pid"] for one in instances)

    # the clients pause: only who is idle for a moment may go
    with Load(str(daemon.socket("demo")), clients=4, pause=0.02) as load:
        until(all_have_gone_and_two_more, within=30, what=f"they are replaced, and their replacements, by {limit}")
    assert load.tally.failed == 0
    assert load.tally.answered > 0
    assert at_most_starting == 1, "one at a time"
    name = limit.partition(" ")[0]
    assert f"({name})" in daemon.ctl("explain", "demo").stdout


def test_who_serves_somebody_stays_until_he_is_served(start_daemon: Callable[..., Daemon]) -> None:
    daemon = start_daemon(f'[app.demo]\ncommand = {DEMO}\ndirectory = "/"\nmax-lifetime = 1\n')
    (first,) = daemon.instances("demo")
    with socket.socket(socket.AF_UNIX) as slow:
        slow.settimeout(10)
        slow.connect(str(daemon.socket("demo")))
        until(lambda: daemon.app("demo")["busy"] == 1, what="it is served by the only one")
        until(lambda: first not in daemon.instances("demo"), what="the replacement has come")
        until(lambda: daemon.instances("demo"), what="and is ready")
        until(lambda: "(busy)" in daemon.ctl("events").stdout, what="the old one was asked to go")
        slow.sendall(encode_request({"REQUEST_METHOD": "GET"}))
        assert slow.recv(1 << 16)
    until(lambda: first not in daemon.instances("demo", None), what="it has gone")
