"""Sockets in systemd's keeping: a restart loses nobody who comes, waits or is served."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest
from harness.keeper import SERVE, python
from harness.ports import free_port
from harness.systemd import Systemd
from harness.waiting import ended, until

ONE = f"[app.one]\n{python(SERVE)}\n"


def visitor(path: Path | tuple[str, int]) -> socket.socket:
    sock = socket.socket(socket.AF_INET if isinstance(path, tuple) else socket.AF_UNIX)
    sock.settimeout(20)
    try:
        sock.connect(path if isinstance(path, tuple) else str(path))
    except OSError:
        sock.close()
        raise
    return sock


def served(sock: socket.socket) -> bool:
    sock.sendall(b"x")
    return sock.recv(1) == b""


def inode(path: Path) -> int:
    return path.stat().st_ino


def test_listeners_are_stored_under_names_that_tell_whose_they_are(systemd: Systemd) -> None:
    daemon = systemd.start(ONE)
    systemd.wait_stored("listener/1/one")

    assert daemon.ctl("restart", "one").returncode == 0

    # the old one is still there for who comes late
    systemd.wait_stored("listener/1/one", "listener/2/one")


def test_what_is_closed_is_taken_out(systemd: Systemd) -> None:
    daemon = systemd.start(f"{ONE}[app.two]\n{python(SERVE)}\n")
    systemd.wait_stored("listener/1/one", "listener/1/two")
    daemon.configure(ONE)

    assert daemon.ctl("apply").returncode == 0

    systemd.wait_stored("listener/1/one")


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_who_waits_while_there_is_no_fcgipm_is_served_by_the_next(systemd: Systemd, kind: str) -> None:
    port = free_port()
    apps = ONE if kind == "unix" else f"{ONE}port = {port}\n"
    daemon = systemd.start(apps)
    address = daemon.socket("one") if kind == "unix" else ("127.0.0.1", port)

    assert daemon.stop() == 0

    with visitor(address) as first, visitor(address) as second:
        again = systemd.again(daemon, apps)
        assert served(first)
        assert served(second)
        assert "is taken back as systemd has kept it" in again.log()
    with visitor(address) as late:
        assert served(late)


def test_who_is_served_when_it_ends_is_served_to_the_end_and_who_comes_meanwhile_waits(systemd: Systemd) -> None:
    daemon = systemd.start(ONE)
    with visitor(daemon.socket("one")) as inside:
        until(lambda: daemon.app("one")["busy"] == 1, what="somebody is inside")
        daemon.process.terminate()
        until(lambda: "STOPPING" in {name for message in systemd.messages for name in message})
        until(lambda: daemon.app("one")["generation"] == 2, what="visitors come to another generation")
        with visitor(daemon.socket("one")) as waiting:
            assert served(inside)
            daemon.process.wait(20)

            systemd.again(daemon, ONE)

            assert served(waiting)


def test_the_socket_is_the_same_one_and_generations_go_on(systemd: Systemd) -> None:
    daemon = systemd.start(ONE)
    daemon.stop()
    left = inode(daemon.socket("one"))
    state = (daemon.runtime / "state.json").read_text()
    assert '"instances":[]' in state

    again = systemd.again(daemon, ONE)

    assert inode(again.socket("one")) == left
    assert again.app("one")["generation"] == 2
    systemd.wait_stored("listener/2/one")
    assert again.ctl("restart", "one").returncode == 0
    assert again.app("one")["generation"] == 3


def test_nobody_is_lost_over_restarts_under_load(systemd: Systemd) -> None:
    apps = f"{ONE}processes = 3\nlisten-queue-depth = 1000\n"
    daemon = systemd.start(apps)
    over, answered, failed = threading.Event(), [0], list[str]()

    def visit() -> None:
        while not over.is_set():
            try:
                with visitor(daemon.socket("one")) as sock:
                    answered[0] += served(sock)
            except OSError as error:
                failed.append(str(error))

    crowd = [threading.Thread(target=visit) for _ in range(8)]
    for one in crowd:
        one.start()
    try:
        for _ in range(3):
            before = answered[0]
            until(lambda before=before: answered[0] > before + 100)  # type: ignore[misc]
            assert daemon.stop() == 0
            daemon = systemd.again(daemon, apps)
    finally:
        over.set()
        for one in crowd:
            one.join(30)

    assert failed == []


def test_after_a_stop_the_names_are_stale_and_the_next_start_replaces_them(systemd: Systemd) -> None:
    daemon = systemd.start(ONE)
    daemon.stop()
    systemd.forget()
    with pytest.raises(ConnectionRefusedError), visitor(daemon.socket("one")):
        pass

    again = systemd.again(daemon, ONE)

    with visitor(again.socket("one")) as sock:
        assert served(sock)
    assert "systemd has kept" not in again.log()


def test_without_a_store_the_socket_goes_with_the_daemon(systemd: Systemd) -> None:
    systemd.room = 0
    daemon = systemd.start(ONE)

    daemon.stop()

    assert not daemon.socket("one").exists()
    assert systemd.told("FDSTORE") == []


def test_a_state_that_is_lost_or_damaged_loses_nobody(systemd: Systemd) -> None:
    daemon = systemd.start(ONE)
    daemon.stop()
    (daemon.runtime / "state.json").write_text("{")

    with visitor(daemon.socket("one")) as waiting:
        again = systemd.again(daemon, ONE)
        assert served(waiting)

    assert "state.json" in again.log()


def test_what_belongs_to_no_application_any_more_is_closed_and_said(systemd: Systemd) -> None:
    two = f"[app.two]\n{python(SERVE)}\n"
    daemon = systemd.start(ONE + two)
    daemon.stop()

    again = systemd.again(daemon, ONE)

    systemd.wait_stored("listener/2/one")
    assert not again.socket("two").exists()
    assert sorted(os.listdir(again.runtime / "private")) == ["connector.1", "control.1", "one.2", "report.1"]


def test_an_application_that_has_moved_has_its_new_socket(systemd: Systemd) -> None:
    daemon = systemd.start(ONE)
    daemon.stop()
    moved = f"{ONE}socket = '{daemon.runtime}/moved.sock'\n"

    again = systemd.again(daemon, moved)

    with visitor(again.runtime / "moved.sock") as sock:
        assert served(sock)
    assert not again.socket("one").exists()
    assert "a socket of one that systemd has kept cannot be used: the application listens at" in again.log()


def test_more_than_systemd_keeps_is_said_once(systemd: Systemd) -> None:
    systemd.room = 1
    daemon = systemd.start("".join(f"[app.a{number}]\n{python(SERVE)}\n" for number in range(3)))

    assert daemon.log().count("systemd keeps 1 socket for fcgipm (FileDescriptorStoreMax=), and no more") == 1
    assert systemd.names() == ["listener/1/a0"]


def test_an_end_that_is_enforced_keeps_the_sockets_too(systemd: Systemd) -> None:
    daemon = systemd.start(ONE)
    with visitor(daemon.socket("one")) as inside:
        until(lambda: daemon.app("one")["busy"] == 1)
        os.kill(daemon.pid, signal.SIGTERM)
        until(lambda: "every application is stopped" in daemon.log())
        os.kill(daemon.pid, signal.SIGTERM)
        assert daemon.process.wait(20) == 1
        assert inside.recv(1) == b""

    with visitor(daemon.socket("one")) as waiting:
        systemd.again(daemon, ONE)
        assert served(waiting)


def test_a_daemon_that_an_application_ends_keeps_them_too(systemd: Systemd) -> None:
    """systemd starts it again after such an end: Restart=on-failure."""
    fails = f'[app.bad]\n{python("raise SystemExit(3)")}\non-failure = "exit"\nrestart-delay = 0\n'
    daemon = systemd.start(ONE + fails, wait="")
    assert daemon.process.wait(30) == 1

    with visitor(daemon.socket("one")) as waiting:
        systemd.again(daemon, ONE)
        assert served(waiting)


def test_a_script_that_was_open_is_open_again(systemd: Systemd, place: Path) -> None:
    root = place / "scripts"
    (root / "deep").mkdir(parents=True)
    for directory in (root, root / "deep"):
        directory.chmod(0o755)
    script = root / "deep" / "a.fcgi"
    script.write_text(f"#!{os.path.realpath(sys.executable)} -IS\n{SERVE}")
    script.chmod(0o755)
    apps = f"[dynamic]\nroots = [{{ path = '{root}', name = 'cgi', match = '*.fcgi' }}]\n"
    daemon = systemd.start(apps)
    assert daemon.ctl("ensure", "cgi/deep/a.fcgi").returncode == 0
    daemon.stop()
    path = daemon.runtime / "dynamic" / "cgi" / "deep" / "a.fcgi.sock"

    with visitor(path) as waiting:
        again = systemd.again(daemon, apps)
        assert served(waiting)

    again.wait_state("cgi/deep/a.fcgi", "running")
    systemd.wait_stored("listener/2/cgi/deep/a.fcgi")


def test_a_killed_fcgipm_loses_neither_instances_nor_who_waits(systemd: Systemd) -> None:
    daemon = systemd.start(f"{ONE}processes = 2\n")
    before = sorted(daemon.instances("one"))
    with visitor(daemon.socket("one")) as first, visitor(daemon.socket("one")) as second:
        until(lambda: daemon.app("one")["busy"] == 2, what="both are inside")
        with visitor(daemon.socket("one")) as waiting:
            daemon.kill()

            again = systemd.again(daemon, f"{ONE}processes = 2\n")

            assert sorted(again.instances("one")) == before
            assert served(first)
            assert served(waiting)
            assert served(second)
    systemd.wait_stored("listener/1/one")
    assert again.app("one")["generation"] == 1


def test_who_waits_is_kept_when_fcgipm_and_all_instances_are_killed(systemd: Systemd) -> None:
    daemon = systemd.start(ONE)
    (instance,) = daemon.instances("one")
    left = inode(daemon.socket("one"))
    daemon.kill()
    os.kill(instance, signal.SIGKILL)
    ended(instance)

    with visitor(daemon.socket("one")) as waiting:
        again = systemd.again(daemon, ONE)
        assert served(waiting)

    assert inode(again.socket("one")) == left
    assert again.instances("one") != [instance]
    systemd.wait_stored("listener/1/one")


def test_a_killed_fcgipm_finds_its_instances_on_a_socket_of_systemds(systemd: Systemd, place: Path) -> None:
    path = place / "one.sock"
    sock = systemd.given["one"] = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    apps = f"{ONE}socket = '{path}'\n"
    daemon = systemd.start(apps)
    before = daemon.instances("one")
    daemon.kill()

    again = systemd.again(daemon, apps)

    assert again.instances("one") == before
    with visitor(path) as someone:
        assert served(someone)
    assert again.ctl("restart", "one").returncode == 0
    assert again.instances("one") != before
    assert path.stat().st_nlink == 1
    assert systemd.names() == []
