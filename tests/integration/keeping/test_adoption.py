"""The keeper is killed; the next one finds what it has left: nothing is started twice, lost, or frozen."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.components import need
from harness.daemon import Daemon
from harness.keeper import SERVE, python
from harness.load import Load
from harness.ports import free_port
from harness.waiting import ended, until

from fcgipm.linux import procfs

Start = Callable[..., Daemon]

HELLO = (
    "import os, socket\ns = socket.socket(fileno=0)\nwhile True:\n    c, _ = s.accept()\n"
    "    text = c.recv(99)\n    try:\n        os.write(1, text)\n    except OSError:\n        pass\n    c.close()\n"
)
"""A program that writes what it is sent."""


def ask(address: Path | tuple[str, int], text: bytes = b"x\n") -> None:
    """Be a visitor who is served."""
    family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
    with socket.socket(family) as visitor:
        visitor.settimeout(10)
        visitor.connect(str(address) if isinstance(address, Path) else address)
        visitor.sendall(text)
        assert visitor.recv(1) == b""


def state_of(daemon: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((daemon.runtime / "state.json").read_text())
    return found


def socket_of(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/fd/0")


def is_stopped(pid: int) -> bool:
    return procfs.stat(pid).state == "T"


def exits(daemon: Daemon, app: str) -> float:
    text = daemon.ctl("metrics").stdout
    lines = [line for line in text.splitlines() if line.startswith("fcgipm_exits_total") and f'app="{app}"' in line]
    return sum(float(line.split()[-1]) for line in lines)


ONE = f"[app.one]\n{python(SERVE)}\nprocesses = 2\n"
TALKS = f"[app.one]\n{python(HELLO)}\nprocesses = 2\n"


@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_instances_and_sockets_are_the_same(start_daemon: Start, start_again: Start, transport: str) -> None:
    port = free_port()
    before = start_daemon(TALKS + (f"port = {port}\n" if transport == "tcp" else ""))
    where = ("127.0.0.1", port) if transport == "tcp" else before.socket("one")
    pids = sorted(before.instances("one"))
    sockets = [socket_of(pid) for pid in pids]
    before.kill()
    ask(where)
    after = start_again(before)

    assert sorted(after.instances("one", None)) == pids
    assert [socket_of(pid) for pid in pids] == sockets
    ask(where)
    assert "2 instances adopted\n" in after.log()
    after.ctl("restart", "one")
    assert set(after.instances("one")).isdisjoint(pids)
    ask(where)


def test_visitors_notice_nothing(start_daemon: Start, start_again: Start, place: Path) -> None:
    apps = f"[app.one]\ncommand = ['{need('php-cgi')}']\nprocesses = 2\nlisten-queue-depth = 200\n"
    (place / "x.php").write_text("<?php echo 'hello';")
    daemon = start_daemon(apps + 'initial-env = { PHP_FCGI_CHILDREN = "2" }\n')
    pids = sorted(daemon.instances("one"))
    with Load(str(daemon.socket("one")), str(place / "x.php"), clients=8) as load:
        for _ in range(4):
            daemon.kill()
            daemon = start_again(daemon)
            assert sorted(daemon.instances("one", None)) == pids

    assert load.tally.failed == 0
    assert load.tally.answered > 100


def test_what_they_write_is_read_again(start_daemon: Start, start_again: Start) -> None:
    before = start_daemon(TALKS.replace("processes = 2", "processes = 1"))
    before.kill()
    after = start_again(before)
    ask(after.socket("one"), b"I am here\n")

    until(lambda: "I am here" in after.ctl("logs", "one").stdout, what="its line in the log")


def test_an_end_is_noticed_and_how(start_daemon: Start, start_again: Start) -> None:
    before = start_daemon(ONE + "restart-delay = 0\n")
    before.kill()
    after = start_again(before)
    first, second = after.instances("one")
    os.kill(first, signal.SIGSEGV)

    until(lambda: len(set(after.instances("one")) - {first, second}) == 1, what="another one in its place")
    assert second in after.instances("one")
    assert f"(pid {first}) ended: " in after.log()
    assert exits(after, "one") == 1


def test_an_end_that_nobody_saw_is_told(start_daemon: Start, start_again: Start) -> None:
    before = start_daemon(ONE + "restart-delay = 0\n")
    before.kill()
    first, second = (one["pid"] for one in state_of(before)["instances"])
    os.kill(first, signal.SIGKILL)
    ended(first)
    after = start_again(before)

    until(lambda: len(after.instances("one")) == 2, what="another one in its place")
    assert second in after.instances("one")
    assert "1 instance adopted, 1 had ended meanwhile" in after.log()
    assert f"(pid {first}) ended: " in after.log()
    assert f"(pid {first}) ended: " in after.ctl("events").stdout
    assert exits(after, "one") == 1
    assert state_of(after)["highest"] == 3


def test_what_stands_still_goes_on(start_daemon: Start, start_again: Start) -> None:
    before = start_daemon(ONE)
    before.kill()
    pids = [one["pid"] for one in state_of(before)["instances"]]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    until(lambda: all(map(is_stopped, pids)), what="they stand still")
    after = start_again(before)

    assert not any(map(is_stopped, pids))
    assert sorted(after.instances("one")) == sorted(pids)


def test_children_that_have_lost_their_leader_are_removed(start_daemon: Start, start_again: Start) -> None:
    apps = f"[app.one]\ncommand = ['{need('php-cgi')}']\ninitial-env = {{ PHP_FCGI_CHILDREN = '2' }}\n"
    before = start_daemon(apps + "restart-delay = 0\n")
    (leader,) = before.instances("one")
    children = until(lambda: procfs.children(leader), what="children")
    before.kill()
    os.kill(children[0], signal.SIGSTOP)
    os.kill(leader, signal.SIGKILL)
    ended(leader)
    after = start_again(before)

    for child in children:
        ended(child)
    until(lambda: after.instances("one"), what="another one in its place")
    assert "has outlived one/1" in after.log()


def test_children_of_an_adopted_leader_are_removed_too(start_daemon: Start, start_again: Start) -> None:
    apps = f"[app.one]\ncommand = ['{need('php-cgi')}']\ninitial-env = {{ PHP_FCGI_CHILDREN = '2' }}\n"
    before = start_daemon(apps + "restart-delay = 0\n")
    (leader,) = before.instances("one")
    children = until(lambda: procfs.children(leader), what="children")
    before.kill()
    after = start_again(before)
    os.kill(leader, signal.SIGKILL)

    for child in children:
        ended(child)
    assert "has outlived one/1" in after.log()


def test_a_new_file_holds_for_what_was_started_by_the_old_one(start_daemon: Start, start_again: Start) -> None:
    gone = f"[app.gone]\n{python(SERVE)}\n"
    before = start_daemon(ONE + gone)
    pids = before.instances("one") + before.instances("gone")
    before.kill()
    after = start_again(before, ONE + "umask = '077'\n", wait="answering")

    for pid in pids:
        ended(pid)
    until(lambda: len(after.instances("one")) == 2, what="those of the new definition")
    assert not before.socket("gone").exists()
    assert [one["name"] for one in after.status()["apps"]] == ["one"]


def test_a_stopped_one_stays_stopped(start_daemon: Start, start_again: Start) -> None:
    daemon = start_daemon(ONE + f"[app.two]\n{python(SERVE)}\n")
    daemon.ctl("stop", "one")
    daemon.kill()
    daemon = start_again(daemon, wait="answering")
    assert daemon.app("one")["state"] == "stopped"
    assert daemon.wait_state("two", "running")
    daemon.stop()
    assert [state_of(daemon)["instances"], list(state_of(daemon)["notes"])] == [[], ["one"]]
    daemon = start_again(daemon, wait="answering")

    assert daemon.app("one")["state"] == "stopped"
    daemon.ctl("start", "one")
    daemon.stop()
    assert not (daemon.runtime / "state.json").exists()


def test_whose_socket_nobody_held_is_said(start_daemon: Start, start_again: Start) -> None:
    idle = f"[app.idle]\n{python(SERVE)}\nmin-processes = 0\nmax-processes = 1\n"
    daemon = start_daemon(f"{idle}[app.off]\n{python(SERVE)}\n", wait="answering")
    daemon.wait_state("off", "running")
    daemon.ctl("stop", "off")
    daemon.kill()
    for app in ("idle", "off"):
        with pytest.raises(ConnectionRefusedError):
            ask(daemon.socket(app))
    daemon = start_again(daemon, wait="answering")

    (line,) = (line for line in daemon.log().splitlines() if "has left without ending" in line)
    assert line.endswith(
        ": 0 instances adopted, no instance held the socket of idle, off: visitors were refused meanwhile"
    )
    ask(daemon.socket("idle"), b"x")


def test_a_scale_stays_until_the_definition_is_another(start_daemon: Start, start_again: Start) -> None:
    daemon = start_daemon(ONE)
    daemon.ctl("scale", "one", "3")
    daemon.stop()
    daemon = start_again(daemon)
    until(lambda: len(daemon.instances("one")) == 3, what="as many as was asked for")
    daemon.stop()
    daemon = start_again(daemon, ONE.replace("processes = 2", "processes = 1"))

    until(lambda: len(daemon.instances("one")) == 1, what="as many as is configured")


def test_a_start_that_fails_leaves_everything_as_it_was(start_daemon: Start, start_again: Start) -> None:
    daemon = start_daemon(TALKS)
    pids = sorted(daemon.instances("one"))
    daemon.kill()
    with socket.create_server(("127.0.0.1", 0)) as busy:
        apps = TALKS + f"[app.two]\n{python(SERVE)}\nport = {busy.getsockname()[1]}\n"
        failed = start_again(daemon, apps, wait="")
        assert failed.process.wait(20) == 1
    ask(daemon.socket("one"))
    daemon = start_again(daemon)

    assert sorted(daemon.instances("one", None)) == pids


def test_a_publish_that_was_cut_short_is_repaired(start_daemon: Start, start_again: Start) -> None:
    daemon = start_daemon(TALKS)
    pids = sorted(daemon.instances("one"))
    daemon.kill()
    private = daemon.runtime / "private"
    os.link(private / "one.1", private / "one.1.link")
    daemon.socket("one").unlink()
    daemon = start_again(daemon)

    ask(daemon.socket("one"))
    assert sorted(daemon.instances("one", None)) == pids
    assert sorted(os.listdir(private)) == ["connector.1", "control.1", "one.1", "report.1"]


def test_a_dynamic_one_is_known_again(start_daemon: Start, start_again: Start, place: Path) -> None:
    script = place / "scripts" / "a.fcgi"
    script.parent.mkdir()
    script.write_text(f"#!/usr/bin/python3\n{HELLO}")
    script.chmod(0o755)
    script.parent.chmod(0o755)
    root = f"[[dynamic.roots]]\npath = '{script.parent}'\nname = 'r'\nmatch = '*.fcgi'\n"
    daemon = start_daemon(f"[dynamic]\n{root}", wait="answering")
    daemon.ctl("ensure", "r/a.fcgi")
    (pid,) = daemon.instances("r/a.fcgi")
    where = daemon.runtime / "dynamic" / "r" / "a.fcgi.sock"
    daemon.kill()
    ask(where)
    daemon = start_again(daemon, wait="answering")

    assert daemon.instances("r/a.fcgi", None) == [pid]
    ask(where)
    daemon.ctl("restart", "r/a.fcgi")
    assert pid not in daemon.instances("r/a.fcgi")
    ask(where)


def test_nobody_is_frozen_unknown_or_there_twice_whenever_it_is_killed(start_daemon: Start, start_again: Start) -> None:
    apps = ONE.replace("processes = 2", "processes = 3") + "restart-delay = 0\nmin-server-life = 0\n"
    daemon = start_daemon(apps)
    for turn in range(8):
        with contextlib.suppress(OSError):
            daemon.ctl("--no-wait", *(("restart", "one"), ("scale", "one", str(1 + turn % 3)))[turn % 2])
        daemon.kill()
        daemon = start_again(daemon, wait="answering")
    daemon.ctl("scale", "one", "auto")
    until(lambda: len(daemon.instances("one")) == 3 and len(daemon.instances("one", None)) == 3, within=30,
          what="three, and no more")  # fmt: skip

    sockets = {socket_of(pid) for pid in daemon.instances("one")}
    holders = {stat.pid for stat in procfs.processes() if _holds(stat.pid, sockets)}
    assert holders == set(daemon.instances("one"))
    assert not any(map(is_stopped, holders))


def _holds(pid: int, sockets: set[str]) -> bool:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/fd/0") in sockets
    return False
