"""What the tests of faults share: limits of a running process, the application that nobody visits, what was said."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from chaos.scene import Scene
from harness.waiting import ended, until

OTHER: Final = """
[app.other]
command = ["/usr/bin/python3", "-I", "-S", "-c", "import socket; socket.socket(fileno=0).accept()"]
directory = "/"
processes = 2
restart-delay = 0
"""
"""Nobody comes there, so its instances can be killed without taking anything from anybody."""


@contextlib.contextmanager
def limited(pid: int, what: int, most: int) -> Iterator[None]:
    """Lower the soft limit *what* of the process *pid* to *most* for the time of this context."""
    before = _limit(pid, what)
    _limit(pid, what, most)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError, subprocess.CalledProcessError):  # it may have ended meanwhile
            _limit(pid, what, before)


def _limit(pid: int, what: int, soft: int | None = None) -> int:
    """Set the soft limit, as the user to whom the process belongs: root need not have the right; return the present."""
    code = (
        "import resource,sys; pid,what,*soft = map(int, sys.argv[1:]); now = resource.prlimit(pid, what); print(now[0])"
        "; soft and resource.prlimit(pid, what, (soft[0], now[1]))"
    )
    words = [sys.executable, "-I", "-S", "-c", code, str(pid), str(what), *([] if soft is None else [str(soft)])]
    try:
        owner = _ids(pid)
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    who = {} if owner[0] == os.geteuid() else {"user": owner[0], "group": owner[1], "extra_groups": ()}
    return int(subprocess.run(words, check=True, stdout=subprocess.PIPE, timeout=30, **who).stdout)  # type: ignore[call-overload]  # who is one of two


def _ids(pid: int) -> tuple[int, int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {
        name: int(values.split()[0])
        for name, _, values in (line.partition(":") for line in lines)
        if name in {"Uid", "Gid"}
    }
    return found["Uid"], found["Gid"]


def kill_others(stage: Scene) -> list[int]:
    """Kill all instances of the other application; return who they were."""
    victims = stage.daemon.instances("other")
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    for pid in victims:
        ended(pid)
    return victims


def wait_for_others(stage: Scene, victims: list[int], within: float = 40) -> None:
    """Wait until the other application has as many instances as it should, none of them among *victims*."""

    def are_there() -> bool:
        if not stage.daemon.answering():
            return False
        there = stage.daemon.instances("other")
        return len(there) == 2 and not set(there) & set(victims)

    try:
        until(are_there, within=within)
    except AssertionError:
        raise AssertionError(f"not replaced within {within} s\n{stage.daemon.log()[-5000:]}") from None


def said(stage: Scene, text: str) -> int:
    """Return how many lines of the log have *text*."""
    return sum(text in line for line in stage.daemon.log().splitlines())


def descriptors(pid: int) -> int:
    """Return how many descriptors the process *pid* has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
