"""A manager that dies in the middle of something: the next one brings it to its end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.daemon import Daemon
from harness.load import Load
from harness.ports import free_port
from harness.waiting import ended, until

StartDaemon = Callable[..., Daemon]


def slow(word: str) -> str:
    """Return an application that needs half a second until it accepts."""
    code = "import os,socket,select,sys; select.select([],[],[],0.5); socket.socket(fileno=0).accept()"
    return f"""
[app.slow]
command = ["/usr/bin/python3", "-c", "{code}", "{word}"]
min-server-life = 0
restart-delay = 0
"""


def kill_manager(daemon: Daemon) -> None:
    manager = daemon.manager
    os.kill(manager, signal.SIGKILL)
    ended(manager)


def words(daemon: Daemon) -> set[str]:
    """Return the last argument of each ready instance."""
    if not daemon.answering():
        return set()
    found = set()
    for pid in daemon.instances("slow"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it may have ended since
            if line := Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(line.split(b"\0")[-2].decode())
    return found


@pytest.mark.parametrize("transport", ["", "port"])
def test_in_an_apply(start_daemon: StartDaemon, transport: str) -> None:
    more = f"port = {free_port()}\n" if transport else ""
    daemon = start_daemon(slow("old") + more)
    assert words(daemon) == {"old"}
    daemon.configure(slow("new") + more)
    daemon.ctl("--no-wait", "apply")
    kill_manager(daemon)

    until(lambda: words(daemon) == {"new"}, within=20, what="the new program")


def test_in_a_roll(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(slow("x") + f"port = {free_port()}\nprocesses = 3\ninit-start-delay = 0\n")
    until(lambda: len(daemon.instances("slow")) == 3, within=20, what="three instances")
    old = set(daemon.instances("slow"))
    daemon.ctl("--no-wait", "reload")
    until(lambda: len(old & set(daemon.instances("slow"))) == 2, within=20, what="the first one replaced")
    kill_manager(daemon)

    def replaced() -> bool:
        now = set(daemon.instances("slow")) if daemon.answering() else old
        return len(now) == 3 and not now & old

    until(replaced, within=20, what="the others replaced")
    assert "rolling on to generation 2" in daemon.log()


def test_in_a_shutdown(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(slow("x"))
    with_visitor = daemon.http("POST", "/v1/shutdown", {"wait": False})
    assert with_visitor[0] < 300
    kill_manager_if_there(daemon)

    assert daemon.process.wait(timeout=30) == 0
    assert not daemon.socket("slow").exists()


def kill_manager_if_there(daemon: Daemon) -> None:
    for task in Path(f"/proc/{daemon.pid}/task").iterdir():
        for pid in (task / "children").read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the instances end meanwhile
                if b"manager" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(int(pid), signal.SIGKILL)


FLOOD = "import sys,os\nwhile os.write(1, b'x' * 999 + b'\\n'): pass"


def test_a_manager_that_stands_still_costs_nothing(start_daemon: StartDaemon, place: Path) -> None:
    """For as long as it takes the keeper to see that nobody reads what the applications write, and then some."""
    (place / "flood.py").write_text(FLOOD)
    (place / "flood.py").chmod(0o644)
    daemon = start_daemon(
        f"""
[app.demo]
command = ["{sys.executable}", "-m", "fcgipm.demo"]
processes = 2
[app.flood]
command = ["/usr/bin/python3", "{place}/flood.py"]
ready-timeout = "100ms"
start-timeout = "600s"
""",
        wait="answering",
    )
    until(lambda: len(daemon.instances("demo")) == 2, within=30, what="both instances")
    manager, instances = daemon.manager, sorted(daemon.instances("demo"))
    os.kill(manager, signal.SIGSTOP)
    try:
        with Load(str(daemon.socket("demo")), "/ping", clients=3, pause=0.005) as load:
            until(lambda: "is not read" in daemon.log(), within=60, what="the keeper reads the output itself")
    finally:
        os.kill(manager, signal.SIGCONT)

    assert load.tally.failed == 0, load.tally
    assert load.tally.answered > 20
    until(daemon.answering, what="an answer of the manager")
    assert daemon.manager == manager
    assert sorted(daemon.instances("demo")) == instances
