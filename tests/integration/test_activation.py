"""Sockets that systemd has opened for declared applications."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.components import need
from harness.daemon import FCGIPM, Daemon, configuration
from harness.keeper import SERVE, python
from harness.ports import free_port
from harness.systemd import Systemd
from harness.waiting import ended, until

ONE = f"[app.one]\n{python(SERVE)}\n"


def served(sock: socket.socket) -> bool:
    """Say whether the visitor *sock* is served: SERVE closes the connection after a byte."""
    sock.settimeout(20)
    sock.sendall(b"x")
    return sock.recv(1) == b""


def visitor(address: str | tuple[str, int]) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    sock.settimeout(20)
    sock.connect(address)
    return sock


def is_served(address: str | tuple[str, int]) -> bool:
    with visitor(address) as sock:
        return served(sock)


def unix(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    """Give a listening TCP socket."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def tcp_app(sock: socket.socket) -> str:
    return f"{ONE}port = {sock.getsockname()[1]}\n"


def unix_app(path: Path) -> str:
    return f"{ONE}socket = '{path}'\nsocket-mode = '0600'\n"


@pytest.mark.parametrize("name", ["one", "one.socket", "fcgipm.socket"])
def test_all_generations_serve_on_the_socket_that_systemd_has_opened(systemd: Systemd, place: Path, name: str) -> None:
    path = place / "one.sock"
    systemd.given[name] = unix(path)
    path.chmod(0o666)
    before = path.stat()
    daemon = systemd.start(unix_app(path))
    assert is_served(str(path))
    (first,) = daemon.instances("one")

    assert daemon.ctl("restart", "one").returncode == 0

    (second,) = daemon.instances("one")
    assert first != second
    assert is_served(str(path))
    assert daemon.ctl("stop", "one").returncode == 0
    with visitor(str(path)) as waiting:  # it is systemd's: nobody is refused
        assert daemon.ctl("start", "one").returncode == 0
        assert served(waiting)
    after = path.stat()
    assert (after.st_ino, after.st_mode, after.st_nlink) == (before.st_ino, before.st_mode, before.st_nlink)
    assert daemon.app("one")["address"] == f"unix:{path}"


def test_it_is_left_to_systemd_at_the_end_and_never_stored(systemd: Systemd, place: Path) -> None:
    path = place / "one.sock"
    systemd.given["one"] = unix(path)
    daemon = systemd.start(unix_app(path))

    daemon.stop()

    assert systemd.told("FDSTORE") == []
    with visitor(str(path)) as waiting:
        systemd.again(daemon, unix_app(path))
        assert served(waiting)


def test_a_tcp_socket_is_used_too(systemd: Systemd, tcp: socket.socket) -> None:
    systemd.given["one"] = tcp.dup()
    daemon = systemd.start(tcp_app(tcp))

    assert is_served(tcp.getsockname())
    assert daemon.ctl("restart", "one").returncode == 0
    assert is_served(tcp.getsockname())
    assert systemd.told("FDSTORE") == []


def test_its_queue_stays_as_systemd_has_made_it(systemd: Systemd, tcp: socket.socket) -> None:
    tcp.listen(7)
    systemd.given["one"] = tcp.dup()
    daemon = systemd.start(tcp_app(tcp))
    daemon.configure(f"{tcp_app(tcp)}listen-queue-depth = 33\n")

    assert daemon.ctl("apply").returncode == 0

    assert daemon.app("one")["queue_limit"] == 7


def test_an_application_that_moves_away_and_back_finds_its_socket_again(systemd: Systemd, place: Path) -> None:
    path = place / "one.sock"
    systemd.given["one"] = unix(path)
    daemon = systemd.start(unix_app(path))
    daemon.configure(ONE)
    assert daemon.ctl("apply").returncode == 0
    assert is_served(str(daemon.socket("one")))

    daemon.configure(unix_app(path))
    assert daemon.ctl("apply").returncode == 0

    assert is_served(str(path))
    assert path.stat().st_nlink == 1


def refused(systemd: Systemd, apps: str) -> str:
    """Start fcgipm, which must refuse, and return its log."""
    daemon = systemd.start(apps, wait="")
    assert daemon.process.wait(20) == 1
    return daemon.log()


def test_a_socket_for_datagrams_is_refused(systemd: Systemd, place: Path) -> None:
    systemd.given["one"] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    systemd.given["one"].bind(str(place / "one.sock"))

    said = refused(systemd, unix_app(place / "one.sock"))

    assert "systemd passes a socket for one that takes no connections; ListenStream= makes one that does" in said


def test_a_socket_that_does_not_listen_is_refused(systemd: Systemd, place: Path) -> None:
    systemd.given["one"] = socket.socket(socket.AF_UNIX)
    systemd.given["one"].bind(str(place / "one.sock"))

    assert "one that does not listen; its unit must not have Accept=yes" in refused(
        systemd, unix_app(place / "one.sock")
    )


def test_a_socket_that_is_elsewhere_is_refused(systemd: Systemd, place: Path) -> None:
    systemd.given["one"] = unix(place / "other.sock")

    said = refused(systemd, unix_app(place / "one.sock"))

    assert f"the socket that systemd passes for one listens at {place}/other.sock, but app.one at {place}/one.s" in said


def test_one_for_nobody_is_closed_and_said(systemd: Systemd, place: Path) -> None:
    systemd.given["two"] = unix(place / "two.sock")

    daemon = systemd.start(ONE)

    assert f"systemd passes a socket two at {place}/two.sock, where no declared application listens" in daemon.log()
    links = [os.readlink(f"/proc/{daemon.pid}/fd/{name}") for name in os.listdir(f"/proc/{daemon.pid}/fd")]
    assert f"socket:[{os.fstat(systemd.given['two'].fileno()).st_ino}]" not in links


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_systemd_socket_activate_starts_it_for_the_first_visitor(
    start_daemon: Callable[..., Daemon], place: Path, kind: str
) -> None:
    activate = need("systemd-socket-activate")
    port = free_port()
    where = str(place / "one.sock") if kind == "unix" else f"127.0.0.1:{port}"
    app = unix_app(place / "one.sock") if kind == "unix" else f"{ONE}port = {port}\n"
    program = [activate, f"--listen={where}", "--fdname=one", FCGIPM]
    daemon = start_daemon(app, wait="", program=program)
    until(lambda: "Listening on" in daemon.log(), what="it listens")

    address = where if kind == "unix" else ("127.0.0.1", port)
    with visitor(address) as first:
        assert served(first)

    daemon.wait_running()
    assert is_served(address)


PASS = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "one"}
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_what_is_passed_reaches_a_daemon_in_the_background_too(place: Path) -> None:
    path, config = place / "one.sock", place / "apps.toml"
    config.write_text(configuration(place / "run", unix_app(path), ""))
    config.chmod(0o644)
    with unix(path) as sock:
        subprocess.run(
            [sys.executable, "-c", PASS, str(sock.fileno()), FCGIPM, "start", str(config)],
            pass_fds=[sock.fileno()], check=True, timeout=30, capture_output=True,
        )  # fmt: skip
        pid = int((place / "run" / "fcgipm.pid").read_text())
        try:
            assert is_served(str(path))
            assert path.stat().st_nlink == 1
        finally:
            os.kill(pid, signal.SIGTERM)
            ended(pid)
