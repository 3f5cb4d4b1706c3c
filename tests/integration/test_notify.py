"""What fcgipm tells systemd, or whoever else has set $NOTIFY_SOCKET."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.daemon import Daemon
from harness.keeper import SERVE, python

APP = f'[app.one]\n{python(SERVE)}\npass-env = ["NOTIFY_SOCKET", "HOME"]\n'


@pytest.fixture
def systemd(place: Path) -> Iterator[socket.socket]:
    """Give a socket in systemd's place."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(place / "notify"))
        receiver.settimeout(20)
        yield receiver


def environment(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")


def test_systemd_is_told_when_the_sockets_are_there_and_when_the_end_begins(
    start_daemon: Callable[..., Daemon], systemd: socket.socket, place: Path
) -> None:
    around = {"PATH": "/usr/bin:/bin", "HOME": "/", "NOTIFY_SOCKET": str(place / "notify")}
    daemon = start_daemon(APP, wait="", environ=around)

    assert systemd.recv(100) == b"READY=1"

    for name in ("one.sock", "control.sock"):
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(str(daemon.runtime / name))
    daemon.wait_running()
    (pid,) = daemon.instances("one")
    assert environment(pid) == ["NOTIFY_SOCKET=", "HOME=/", ""]
    daemon.stop()
    assert systemd.recv(100) == b"STOPPING=1"


def test_an_end_that_fcgipmctl_asks_for_is_told_too(
    start_daemon: Callable[..., Daemon], systemd: socket.socket, place: Path
) -> None:
    around = {"PATH": "/usr/bin:/bin", "HOME": "/", "NOTIFY_SOCKET": str(place / "notify")}
    daemon = start_daemon(APP, environ=around)
    assert systemd.recv(100) == b"READY=1"

    assert daemon.ctl("shutdown").returncode == 0

    assert systemd.recv(100) == b"STOPPING=1"


def test_nobody_who_hears_it_is_a_warning(start_daemon: Callable[..., Daemon], place: Path) -> None:
    around = {"PATH": "/usr/bin:/bin", "HOME": "/", "NOTIFY_SOCKET": f"{place}/none"}

    daemon = start_daemon(APP, environ=around)

    assert f"systemd cannot be told READY=1: {place}/none: No such file or directory" in daemon.log()
