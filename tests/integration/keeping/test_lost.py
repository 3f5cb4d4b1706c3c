"""What a keeper before, or a program before in the same process, has left and nobody can use: it goes, and is said."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from harness.daemon import Daemon
from harness.keeper import SERVE, python
from harness.ports import free_port
from harness.systemd import Systemd
from harness.waiting import ended, until

from fcgipm.linux import procfs

StartDaemon = Callable[..., Daemon]
LONG = 60
ONE = f"[app.one]\n{python(SERVE)}\n"


def is_served(address: str | tuple[str, int]) -> bool:
    """Say whether a visitor is served there."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as sock:
        sock.settimeout(20)
        sock.connect(address)
        sock.sendall(b"x")
        with contextlib.suppress(ConnectionError):
            return sock.recv(1) == b""
    return False


def listening(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    path.chmod(0o666)
    return sock


def replaced(daemon: Daemon, before: list[int]) -> None:
    """Wait until others run in the place of the instances *before*, which have gone."""
    for pid in before:
        ended(pid, within=LONG)
    daemon.wait_running(LONG)
    assert set(daemon.instances("one")).isdisjoint(before)


def test_a_port_that_a_doubtful_process_has_keeps_its_application_waiting_and_no_other(
    start_daemon: StartDaemon, start_again: StartDaemon
) -> None:
    port = free_port()
    before = start_daemon(f"{ONE}port = {port}\n[app.two]\n{python(SERVE)}\n")
    (one,), two = before.instances("one"), before.instances("two")
    before.kill()
    path = before.runtime / "state.json"
    state = json.loads(path.read_text())
    for instance in state["instances"]:
        instance["listener"] += instance["app"] == "one"
    path.write_text(json.dumps(state))

    after = start_again(before, wait="answering")

    assert after.instances("two", None) == two
    assert f"pid {one} does not hold the socket that it was given; it is left alone" in after.log()
    assert f"in use, pid {one} (" in after.log()
    assert "end those that were not adopted, and then: fcgipmctl start one" in after.log()
    os.kill(one, signal.SIGKILL)
    ended(one)
    assert after.ctl("start", "one").returncode == 0
    assert is_served(("127.0.0.1", port))


def test_a_unix_socket_that_systemd_does_not_give_any_more(systemd: Systemd, place: Path) -> None:
    path = place / "one.sock"
    app = f"{ONE}socket = '{path}'\n"
    systemd.given["one"] = listening(path)
    before = systemd.start(app)
    instances = before.instances("one")
    before.kill()
    systemd.given.pop("one").close()

    after = systemd.again(before, app, wait="answering")

    replaced(after, instances)
    assert "(systemd does not give it any more); they finish at the old one" in after.log()
    assert is_served(str(path))
    assert after.ctl("restart", "one").returncode == 0
    assert is_served(str(path))


def test_a_tcp_socket_that_systemd_does_not_give_any_more(systemd: Systemd) -> None:
    systemd.given["one"] = socket.create_server(("127.0.0.1", 0))
    address = systemd.given["one"].getsockname()
    app = f"{ONE}port = {address[1]}\n"
    before = systemd.start(app)
    instances = before.instances("one")
    before.kill()
    systemd.given.pop("one").close()

    after = systemd.again(before, app, wait="answering")

    replaced(after, instances)
    assert "(systemd does not give it any more); they are removed before it is bound anew" in after.log()
    assert is_served(address)


def test_a_socket_that_systemd_gives_from_now_on(systemd: Systemd, place: Path) -> None:
    path = place / "one.sock"
    app = f"{ONE}socket = '{path}'\n"
    systemd.room = 0
    before = systemd.start(app)
    instances = before.instances("one")
    before.kill()
    path.unlink()
    systemd.given["one"] = listening(path)
    file = path.stat()

    after = systemd.again(before, app, wait="answering")

    replaced(after, instances)
    assert "(systemd gives another one for its place); they are removed before others are started" in after.log()
    assert is_served(str(path))
    assert (path.stat().st_ino, path.stat().st_nlink) == (file.st_ino, 1)
    assert after.ctl("restart", "one").returncode == 0
    assert is_served(str(path))


def test_instances_whose_directory_cannot_be_used_any_more_are_replaced(
    start_daemon: StartDaemon, start_again: StartDaemon, place: Path
) -> None:
    around = place / "sockets"
    around.mkdir()
    around.chmod(0o755)
    app = f"{ONE}socket = '{around}/one.sock'\n"
    before = start_daemon(app)
    instances = before.instances("one")
    before.kill()
    (private,) = around.glob(".fcgipm-*")
    private.chmod(0o755)

    after = start_again(before, wait="answering")

    text = f"the socket of unix:{around}/one.sock cannot be taken from its instances ({private}: must be a directory"
    assert text in after.log()
    assert after.instances("one", None) == instances
    private.chmod(0o700)
    assert after.ctl("restart", "one", "--timeout", "10").returncode == 0, after.log()
    replaced(after, instances)
    assert is_served(f"{around}/one.sock")


# ── an upgrade ───────────────────────────────────────────────────────────────────────────────────────────────────────

FAMILY = "import os, time\nos.fork()\ntime.sleep(1000)"
"""Two processes that do not accept."""


def session_of(pid: int) -> list[int]:
    return [one.pid for one in procfs.processes() if one.session == pid]


def test_a_canary_and_its_children_go_with_an_upgrade(start_daemon: StartDaemon) -> None:
    more = f"port = {free_port()}\nready-timeout = '50s'\nstart-timeout = '50s'\nstop-timeout = 1\n"
    daemon = start_daemon(f"{ONE}{more}")
    (old,) = daemon.instances("one")
    daemon.configure(f"[app.one]\n{python(FAMILY)}\n{more}")
    daemon.process.send_signal(signal.SIGHUP)
    (canary,) = until(lambda: {*daemon.instances("one", None)} - {old, None}, within=LONG, what="there is a canary")
    until(lambda: len(session_of(canary)) == 2, within=LONG, what="it has a child")
    session = session_of(canary)
    (name,) = (daemon.runtime / "private").glob(".c*")

    assert daemon.ctl("upgrade", timeout=LONG).returncode == 0

    for pid in session:
        ended(pid, within=LONG)
    assert not name.exists()
    assert daemon.instances("one") == [old]


def test_a_manager_that_does_not_end_after_an_upgrade_is_killed(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(ONE)
    manager, instances = daemon.manager, daemon.instances("one")
    os.kill(manager, signal.SIGSTOP)
    daemon.process.send_signal(signal.SIGUSR2)

    ended(manager, within=LONG)

    assert f"the manager of before the upgrade (pid {manager}) does not end; it is killed" in daemon.log()
    assert daemon.instances("one") == instances


def test_an_instance_of_which_nothing_was_written_is_named_and_left_alone(
    start_daemon: StartDaemon, start_again: StartDaemon
) -> None:
    """As after a full disk: the last state that could be written is older than the instance."""
    before = start_daemon(f"{ONE}processes = 2\nrestart-delay = 0\nmin-server-life = 0\n")
    first, written = before.instances("one")
    path = before.runtime / "state.json"
    old = path.read_bytes()
    os.kill(first, signal.SIGKILL)
    until(lambda: len({*before.instances("one")} - {first}) == 2, what="another one")
    (unwritten,) = {*before.instances("one")} - {written}
    before.kill()
    path.write_bytes(old)

    after = start_again(before)

    assert written in after.instances("one")
    assert unwritten not in after.instances("one")
    assert f"one: pid {unwritten} serves at its socket, and the fcgipm before has written nothing down" in after.log()
    assert after.log().count("serves at its socket") == 1
    assert procfs.stat(unwritten).state == "S"
    os.kill(unwritten, signal.SIGKILL)
    ended(unwritten)
