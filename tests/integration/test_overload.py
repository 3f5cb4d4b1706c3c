"""overload-response = "503" by a whole daemon: who would wait in vain is told to come again, and nobody else."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack

from harness.daemon import Daemon
from harness.visitors import answer
from harness.waiting import until

from fcgipm.fastcgi import Response, encode_request

Start = Callable[..., Daemon]

REQUEST = encode_request({"REQUEST_METHOD": "GET", "SCRIPT_NAME": "/demo", "PATH_INFO": "/ping"})


DEMO = f"""
[app.demo]
command = ["{sys.executable}", "-m", "fcgipm.demo"]
directory = "/"
overload-response = "503"
"""
NARROW = "min-processes = 0\nmax-processes = 1\nlisten-queue-depth = 9\n"


def visit(stack: ExitStack, daemon: Daemon, message: bytes = REQUEST) -> socket.socket:
    """Return a visitor who has sent *message*, a request; with an empty one he keeps the instance that takes him."""
    visitor = stack.enter_context(socket.socket(socket.AF_UNIX))
    visitor.settimeout(30)
    visitor.connect(str(daemon.socket("demo")))
    visitor.sendall(message)
    return visitor


def retry_after(response: Response) -> int:
    (seconds,) = (value for name, value in response.headers if name.lower() == "retry-after")
    return int(seconds)


def refuses(daemon: Daemon) -> bool:
    sentence = " ".join(daemon.ctl("explain", "demo").stdout.partition("\n\n")[0].split())
    return "visitors are answered 503" in sentence


def test_a_stopped_application_turns_visitors_away_until_it_is_started(start_daemon: Start, stack: ExitStack) -> None:
    daemon = start_daemon(DEMO)
    daemon.ctl("stop", "demo")

    refused = answer(visit(stack, daemon))
    assert (refused.status, retry_after(refused)) == (503, 120)
    assert daemon.app("demo")["state"] == "stopped"
    assert daemon.ctl("start", "demo").returncode == 0
    until(lambda: answer(visit(stack, daemon)).status == 200, what="visitors are served again")
    until(lambda: not refuses(daemon), what="nobody is turned away any more")


def test_of_a_full_queue_half_is_turned_away_and_the_others_are_served(start_daemon: Start, stack: ExitStack) -> None:
    daemon = start_daemon(DEMO + NARROW, wait="answering")
    held = visit(stack, daemon, b"")
    until(lambda: daemon.instances("demo") and daemon.app("demo")["busy"] == 1, what="the only instance is busy")

    visitors = [visit(stack, daemon) for _ in range(10)]  # one more than the depth
    refused = [answer(visitor) for visitor in visitors[:6]]  # who came first stands first in the line
    assert {response.status for response in refused} == {503}
    assert {retry_after(response) for response in refused} == {2}
    until(lambda: not refuses(daemon), what="nobody is turned away any more")
    assert daemon.app("demo")["queue"] == 4
    held.close()
    assert [answer(visitor).status for visitor in visitors[6:]] == [200] * 4
    assert daemon.app("demo")["ready"] == 1
