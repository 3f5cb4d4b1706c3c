"""What cannot be believed is not, who may be another is not touched, what cannot be had is replaced; all is said."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.components import absent
from harness.daemon import FCGIPM, Daemon
from harness.keeper import SERVE, python
from harness.ports import free_port
from harness.waiting import ended, until

from fcgipm.linux import procfs

Start = Callable[..., Daemon]

ONE = f"[app.one]\n{python(SERVE)}\nprocesses = 2\nstop-timeout = 2\n"
UNABLE = (sys.executable, str(Path(__file__).parents[2] / "harness" / "unable.py"))


@pytest.fixture
def bystander() -> Iterator[int]:
    """Give a process that stands still, and so shows whether anybody sends it a signal."""
    with subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True) as process:
        process.send_signal(signal.SIGSTOP)
        until(lambda: procfs.stat(process.pid).state == "T", what="it stands still")
        yield process.pid
        assert procfs.stat(process.pid).state == "T"
        process.kill()


def to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def change(daemon: Daemon, alter: Callable[[dict[str, Any]], object]) -> None:
    path = daemon.runtime / "state.json"
    state = json.loads(path.read_text())
    alter(state)
    path.write_text(json.dumps(state))


def served(daemon: Daemon) -> bool:
    with socket.socket(socket.AF_UNIX) as visitor, contextlib.suppress(OSError):
        visitor.settimeout(10)
        visitor.connect(str(daemon.socket("one")))
        visitor.sendall(b"x")
        return visitor.recv(1) == b""
    return False


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        ended(pid)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "it is damaged"),
        (lambda path: path.write_bytes(b""), "it is damaged"),
        (lambda path: path.write_bytes(b"\0" * 5000), "it is damaged"),
        (lambda path: path.chmod(0o666), "somebody else could have written it"),
        (lambda path: path.write_text(path.read_text().replace('"format":1', '"format":99')), "a newer fcgipm"),
        (lambda path: (path.unlink(), path.mkdir()), "Is a directory|it is no file"),
        (lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), "symbolic links"),
        (to_fifo, "it is no file"),
    ],
    ids=["cut", "empty", "zeros", "writable", "newer", "directory", "link", "fifo"],
)
def test_a_file_that_cannot_be_believed(
    start_daemon: Start, start_again: Start, spoil: Callable[[Path], object], says: str
) -> None:
    before = start_daemon(ONE)
    pids = before.instances("one")
    before.kill()
    path = before.runtime / "state.json"
    spoil(path)
    after = start_again(before)
    line = next(line for line in after.log().splitlines() if "cannot use" in line)
    if path.is_dir():
        path.rmdir()

    assert any(text in line for text in says.split("|"))
    assert set(after.instances("one")).isdisjoint(pids)
    for pid in pids:
        assert f"pid {pid} (" in after.log()
        os.kill(pid, 0)
    assert served(after)
    kill_all(pids)


def test_those_of_a_later_generation_are_named_too(start_daemon: Start, start_again: Start) -> None:
    before = start_daemon(ONE)
    assert before.ctl("reload", "one").returncode == 0
    until(lambda: len(before.instances("one", None)) == 2, what="the first generation has gone")
    pids = before.instances("one")
    before.kill()
    (before.runtime / "state.json").unlink()
    after = start_again(before)

    (line,) = (line for line in after.log().splitlines() if "cannot be adopted" in line)
    assert all(f"pid {pid} (" in line for pid in pids)
    assert served(after)
    kill_all(pids)


def test_a_start_that_fails_leaves_the_names_of_those_who_serve(start_daemon: Start, start_again: Start) -> None:
    before = start_daemon(f"{ONE}[app.two]\n{python(SERVE)}\nport = {free_port()}\n")
    pids = [*before.instances("one"), *before.instances("two")]
    before.kill()
    (before.runtime / "state.json").unlink()
    after = start_again(before, wait="")

    assert after.process.wait(30) == 1
    assert "cannot bind the socket of two: " in after.log()
    assert served(after)
    kill_all(pids)


def test_a_refused_start_says_why_nobody_was_adopted_and_how_the_port_gets_free(
    start_daemon: Start, start_again: Start
) -> None:
    before = start_daemon(f"{ONE}[app.two]\n{python(SERVE)}\nport = {free_port()}\nprocesses = 2\n")
    one, two = before.instances("one"), before.instances("two")
    before.kill()
    (before.runtime / "state.json").write_bytes(b"")
    after = start_again(before, wait="")
    assert after.process.wait(30) == 1

    told = [line for line in after.log().splitlines() if line.startswith("fcgipm: ")]
    assert told[0].startswith(f"fcgipm: cannot use {before.runtime}/state.json: it is damaged: ")
    assert told[0].endswith("; instances that an fcgipm has left there are not adopted")
    assert told[1].startswith("fcgipm: cannot bind the socket of two: 127.0.0.1 port ")
    todo = f"end them: kill {' '.join(map(str, sorted(two)))}"
    assert told[1].endswith(f" listen there; if these are instances that an fcgipm has left, {todo}")
    assert "takes the place" not in after.log()
    kill_all([*one, *two])


@pytest.mark.root
def test_a_file_of_somebody_else(start_daemon: Start, start_again: Start) -> None:
    before = start_daemon(ONE)
    pids = before.instances("one")
    before.kill()
    os.chown(before.runtime / "state.json", 65534, -1)
    after = start_again(before)

    assert "somebody else could have written it: owner 65534" in after.log()
    assert set(after.instances("one")).isdisjoint(pids)
    kill_all(pids)


def test_a_number_that_is_another_processs_by_now(start_daemon: Start, start_again: Start, bystander: int) -> None:
    before = start_daemon(ONE)
    pids = before.instances("one")
    before.kill()

    def alter(state: dict[str, Any]) -> None:
        state["instances"][0]["pid"] = bystander

    change(before, alter)
    after = start_again(before)

    assert bystander not in after.instances("one", None)
    assert "1 instance adopted, 1 had ended meanwhile" in after.log()
    kill_all([pid for pid in pids if pid not in after.instances("one", None)])


def test_a_number_and_a_moment_that_fit_are_not_enough(start_daemon: Start, start_again: Start, bystander: int) -> None:
    before = start_daemon(ONE)
    pids = before.instances("one")
    before.kill()

    def alter(state: dict[str, Any]) -> None:
        state["instances"][0] |= {"pid": bystander, "start_time": procfs.stat(bystander).started}
        state["strays"] = [
            {
                "pid": bystander, "start_time": procfs.stat(bystander).started, "name": "one/9",
                "listener": state["listeners"][0]["inode"], "cut_at": time.monotonic_ns(),
            }
        ]  # fmt: skip

    change(before, alter)
    after = start_again(before)

    assert f"pid {bystander} does not hold the socket that it was given; it is left alone" in after.log()
    assert bystander not in after.instances("one", None)
    kill_all([pid for pid in pids if pid not in after.instances("one", None)])


@pytest.mark.parametrize("field", ["boot_id", "name_space"])
def test_another_start_of_the_machine(start_daemon: Start, start_again: Start, field: str) -> None:
    before = start_daemon(ONE + f"[app.two]\n{python(SERVE)}\n")
    before.ctl("stop", "two")
    pids = before.instances("one")
    before.kill()
    change(before, lambda state: state.update({field: "x" if field == "boot_id" else 1}))
    after = start_again(before, wait="answering")

    after.wait_state("one", "running")
    assert set(after.instances("one")).isdisjoint(pids)
    assert after.app("two")["state"] == "stopped"
    kill_all(pids)


def test_without_the_right_to_take_a_socket_another_takes_its_place(start_daemon: Start, start_again: Start) -> None:
    before = start_daemon(ONE)
    pids = before.instances("one")
    before.kill()
    after = start_again(before, wait="answering", program=(*UNABLE, FCGIPM))

    for pid in pids:
        ended(pid)
    until(lambda: len(after.instances("one")) == 2, what="others in their place")
    assert "cannot be taken from its instances" in after.log()
    assert served(after)


def test_on_a_port_they_are_removed_first(start_daemon: Start, start_again: Start) -> None:
    apps = ONE + f"port = {free_port()}\n"
    before = start_daemon(apps)
    pids = before.instances("one")
    before.kill()
    after = start_again(before, wait="answering", program=(*UNABLE, FCGIPM))

    for pid in pids:
        ended(pid)
    until(lambda: len(after.instances("one")) == 2, what="others in their place")
    assert "cannot be taken from its instances" in after.log()
    assert after.app("one")["state"] == "running"


@pytest.mark.root
def test_root_without_the_right_to_trace(start_daemon: Start, start_again: Start) -> None:
    """As in a container by default: their own user is asked."""
    drop = shutil.which("setpriv")
    if drop is None:
        absent("setpriv is not installed")
    before = start_daemon(ONE)
    pids = sorted(before.instances("one"))
    before.kill()
    without = (drop, "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace")
    after = start_again(before, program=(*without, FCGIPM))

    assert "root without CAP_SYS_PTRACE" in after.log()
    assert sorted(after.instances("one", None)) == pids
    assert "2 instances adopted" in after.log()
    assert served(after)
    os.kill(pids[0], signal.SIGKILL)
    until(lambda: len(set(after.instances("one")) - set(pids)) == 1, what="another one in its place")
