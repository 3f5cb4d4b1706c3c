"""What fcgipm tells systemd, or whoever else has set $NOTIFY_SOCKET."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.daemon import Daemon
from harness.keeper import SERVE, python
from harness.waiting import until

APP = f'[app.one]\n{python(SERVE)}\npass-env = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "FDSTORE", "HOME"]\n'


class Heard:
    """A socket in systemd's place, and what came there, as fields by message."""

    def __init__(self, receiver: socket.socket) -> None:
        self._receiver = receiver

    def next(self, *names: str) -> dict[str, str]:
        """Return the next message that has any of the fields *names*."""
        while True:
            lines = self._receiver.recv(4096).decode().splitlines()
            fields = dict(line.split("=", 1) for line in lines)
            if fields.keys() & set(names):
                return fields

    def until_status(self, text: str) -> str:
        """Wait for a line of status with *text* in it."""
        return until(lambda: text in (status := self.next("STATUS")["STATUS"]) and status, what=text) or ""


@pytest.fixture
def systemd(place: Path) -> Iterator[Heard]:
    """Give a socket in systemd's place."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(place / "notify"))
        receiver.settimeout(20)
        yield Heard(receiver)


@pytest.fixture
def around(place: Path) -> dict[str, str]:
    """Give the environment of a service."""
    return {"PATH": "/usr/bin:/bin", "HOME": "/", "NOTIFY_SOCKET": str(place / "notify")}


def environment(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")


def test_systemd_is_told_when_the_sockets_are_there_and_when_the_end_begins(
    start_daemon: Callable[..., Daemon], systemd: Heard, around: dict[str, str]
) -> None:
    around |= {"FDSTORE": "0", "LISTEN_FDS": "1", "LISTEN_PID": "1", "WATCHDOG_USEC": "3600000000"}
    daemon = start_daemon(APP, wait="", environ=around)

    assert systemd.next("READY", "STOPPING").get("READY") == "1"

    for name in ("one.sock", "control.sock"):
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(str(daemon.runtime / name))
    daemon.wait_running()
    (pid,) = daemon.instances("one")
    assert environment(pid) == ["NOTIFY_SOCKET=", "WATCHDOG_USEC=", "LISTEN_FDS=", "FDSTORE=", "HOME=/", ""]
    daemon.stop()
    assert systemd.next("READY", "STOPPING")["STOPPING"] == "1"


@pytest.mark.root
def test_the_manager_is_told_nothing_of_it(
    start_daemon: Callable[..., Daemon], around: dict[str, str], systemd: Heard
) -> None:
    daemon = start_daemon(APP, environ=around | {"FDSTORE": "0", "LISTEN_FDS": "1", "LISTEN_PID": "1"})
    systemd.next("READY")

    told = environment(daemon.manager)  # only root may look

    assert not [line for line in told if line.startswith(("NOTIFY", "WATCHDOG", "LISTEN", "FDSTORE"))]


def test_an_end_that_fcgipmctl_asks_for_is_told_too(
    start_daemon: Callable[..., Daemon], systemd: Heard, around: dict[str, str]
) -> None:
    daemon = start_daemon(APP, environ=around)
    systemd.next("READY")

    assert daemon.ctl("shutdown").returncode == 0

    systemd.next("STOPPING")


def test_an_end_asks_for_the_time_that_it_may_take(
    start_daemon: Callable[..., Daemon], systemd: Heard, around: dict[str, str]
) -> None:
    daemon = start_daemon(APP + 'stop-timeout = "300s"\n', environ=around)
    systemd.next("READY")

    daemon.stop()

    assert int(systemd.next("STOPPING")["EXTEND_TIMEOUT_USEC"]) >= 300_000_000


def test_nobody_who_hears_it_is_a_warning(start_daemon: Callable[..., Daemon], place: Path) -> None:
    around = {"PATH": "/usr/bin:/bin", "HOME": "/", "NOTIFY_SOCKET": f"{place}/none"}

    daemon = start_daemon(APP, environ=around)

    assert f"systemd cannot be told READY=1: {place}/none: No such file or directory" in daemon.log()
    assert daemon.log().count("systemd cannot be told") == 1


@pytest.mark.parametrize("how", ["HUP", "fcgipmctl apply"])
def test_reading_the_configuration_again_is_told_however_it_was_asked_for(
    start_daemon: Callable[..., Daemon], systemd: Heard, around: dict[str, str], how: str
) -> None:
    daemon = start_daemon(APP, environ=around)
    systemd.next("READY")
    before = time.monotonic_ns() // 1000

    if how == "HUP":
        os.kill(daemon.pid, signal.SIGHUP)
    else:
        assert daemon.ctl("apply").returncode == 0

    told = systemd.next("RELOADING", "READY")
    assert told["RELOADING"] == "1"
    assert before <= int(told["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert systemd.next("RELOADING", "READY")["READY"] == "1"


def test_a_file_with_a_mistake_ends_the_reload_and_shows_in_the_status(
    start_daemon: Callable[..., Daemon], systemd: Heard, around: dict[str, str]
) -> None:
    daemon = start_daemon(APP, environ=around)
    systemd.next("READY")
    daemon.configure(APP + "nonsense = 1\n")

    assert daemon.ctl("apply").returncode == 1

    systemd.next("RELOADING")
    status = systemd.next("READY")["STATUS"]
    assert "the configuration was not applied: " in status
    assert "nonsense" in status
    daemon.configure(APP)
    assert daemon.ctl("apply").returncode == 0
    systemd.next("RELOADING")
    assert "not applied" not in systemd.next("READY")["STATUS"]


def test_what_only_asks_or_is_about_one_does_not_make_the_status_one_of_a_mistake(
    start_daemon: Callable[..., Daemon], systemd: Heard, around: dict[str, str]
) -> None:
    daemon = start_daemon(APP, environ=around)
    systemd.next("READY")
    daemon.configure(APP + "nonsense = 1\n")

    assert daemon.ctl("reload", "--dry-run").returncode == 1
    assert daemon.ctl("reload", "one").returncode == 1

    told = [systemd.next("RELOADING", "READY") for _ in range(2)]
    assert [sorted(fields.keys() & {"RELOADING", "READY"}) for fields in told] == [["RELOADING"], ["READY"]]
    assert "not applied" not in told[1]["STATUS"]


def test_there_is_no_upgrade_before_systemd_has_what_it_is_to_keep(
    start_daemon: Callable[..., Daemon], systemd: Heard, around: dict[str, str], place: Path
) -> None:
    daemon = start_daemon(APP, environ=around | {"FDSTORE": "10"})
    systemd.next("READY")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as crowd:
        crowd.connect(str(place / "notify"))
        crowd.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                crowd.send(b"OTHER=1")
    daemon.configure(f"{APP}[app.two]\n{python(SERVE)}\n")
    assert daemon.ctl("apply").returncode == 0

    done = daemon.ctl("upgrade", timeout=60)

    assert done.returncode == 1
    assert "systemd does not read what it is told of the sockets that it keeps; fcgipm" in done.stderr
    while systemd.next("FDNAME", "OTHER").get("FDNAME") != "listener/1/two":
        pass
    assert daemon.ctl("upgrade", timeout=60).returncode == 0


def test_the_status_says_how_many_there_are(
    start_daemon: Callable[..., Daemon], systemd: Heard, around: dict[str, str]
) -> None:
    daemon = start_daemon(APP + "processes = 3\n", environ=around)

    assert systemd.until_status("3 instances") == "1 app, 3 instances"

    assert daemon.ctl("scale", "one", "1").returncode == 0
    assert systemd.until_status("1 instance") == "1 app, 1 instance"


def test_an_idle_daemon_tells_nothing_and_sleeps(
    start_daemon: Callable[..., Daemon], systemd: Heard, around: dict[str, str]
) -> None:
    daemon = start_daemon(APP, environ=around)
    systemd.until_status("1 app, 1 instance")

    def switches() -> int:
        lines = Path(f"/proc/{daemon.pid}/status").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)

    seen: list[tuple[float, int]] = [(time.monotonic(), switches())]

    def rests() -> bool:
        """Say whether it has not run for 3 s."""
        if switches() != seen[-1][1]:
            seen.append((time.monotonic(), switches()))
        return time.monotonic() - seen[-1][0] > 3

    until(rests, within=20, what="three seconds without a wake-up")


def test_a_watchdog_hears_of_it_at_half_its_time(
    start_daemon: Callable[..., Daemon], systemd: Heard, around: dict[str, str]
) -> None:
    start_daemon(APP, wait="", environ=around | {"WATCHDOG_USEC": "600000"})
    assert systemd.next("READY")["WATCHDOG"] == "1"
    times = []
    for _ in range(4):
        systemd.next("WATCHDOG")
        times.append(time.monotonic())

    assert 0.7 < times[-1] - times[0] < 3
