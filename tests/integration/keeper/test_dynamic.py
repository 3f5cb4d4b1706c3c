"""Scripts that nobody declared: opened when asked for, checked again at each start, forgotten when they go."""

from __future__ import annotations

import ctypes
import itertools
import os
import socket
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.instances import Stage, recipe
from harness.keeper import SERVE, Puppet, Rig, listens_blocking
from harness.programs import compiled
from harness.waiting import readable, until

from fcgipm import wire
from fcgipm.config.load import load
from fcgipm.keeper.instances import spawn
from fcgipm.keeper.roots.scripts import examine

Start = Callable[..., Rig]
PYTHON = f"#!{os.path.realpath(sys.executable)} -IS\n"
SCRIPT = f"{PYTHON}{SERVE}"
libc = ctypes.CDLL(None)


@pytest.fixture
def tree(place: Path) -> Path:
    """Give the directory of the root that is called ``r``."""
    made = place / "r"
    made.mkdir(mode=0o755)
    return made


@pytest.fixture
def keeper(rig: Start, tree: Path) -> Rig:
    return rig(dynamic(tree))


def dynamic(tree: Path, more: str = "", table: str = "") -> str:
    return f"[dynamic]\n{table}\nroots = [{{ path = '{tree}', name = 'r'{more} }}]\n"


def write(path: Path, text: str = SCRIPT, mode: int = 0o755) -> Path:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def open_(puppet: Puppet, path: str) -> wire.Opened:
    puppet.order(wire.Open(root="r", path=path))
    return puppet.expect(wire.Opened, path=path)


def refused(puppet: Puppet, path: str) -> wire.OpenFailed:
    puppet.order(wire.Open(root="r", path=path))
    return puppet.expect(wire.OpenFailed, path=path)


def failed(puppet: Puppet, app: str, number: int) -> wire.SpawnFailed:
    puppet.order(wire.Spawn(instance=number, app=app, generation=1))
    return puppet.expect(wire.SpawnFailed, instance=number)


def forget(puppet: Puppet, app: str) -> None:
    puppet.order(wire.Publish(app=app, generation=0))
    assert puppet.expect(wire.Published, within=10).listener.generation == 0


def sockets(keeper: Rig) -> list[str]:
    """Return the public sockets of scripts."""
    top = keeper.runtime / "dynamic"
    return sorted(str(path.relative_to(top)) for path in top.rglob("*.sock"))


def served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.settimeout(10)
        visitor.connect(str(path))
        visitor.sendall(b"x")
        return visitor.recv(1) == b""


def test_a_script_is_opened_and_started(keeper: Rig, tree: Path) -> None:
    write(tree / "sub" / "a.fcgi")
    puppet = keeper.puppet()
    public = keeper.runtime / "dynamic" / "r" / "sub" / "a.fcgi.sock"

    opened = open_(puppet, "sub/a.fcgi")
    assert opened.definition["name"] == "r/sub/a.fcgi"
    assert opened.definition["command"] == [f"{tree}/sub/a.fcgi"]
    assert (opened.listener.generation, opened.listener.published) == (1, True)
    assert opened.listener.address == f"unix:{public}"
    assert opened.listener.bound == str(keeper.runtime / "private" / ".d" / "1.1")
    for directory in (keeper.runtime / "dynamic", public.parent.parent, public.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o711
    assert listens_blocking(keeper.pid, opened.listener.bound) == [True]
    pid = puppet.spawn("r/sub/a.fcgi", 1).pid
    assert served(public)
    assert os.readlink(f"/proc/{pid}/cwd") == f"{tree}/sub"


def test_a_program_is_called_by_its_whole_path(keeper: Rig, tree: Path) -> None:
    tree.joinpath("wait").write_bytes(Path("/usr/bin/sleep").read_bytes())
    tree.joinpath("wait").chmod(0o755)
    puppet = keeper.puppet()
    open_(puppet, "wait")
    puppet.order(wire.Spawn(instance=1, app="r/wait", generation=1))
    puppet.expect(wire.Exited)

    said = os.read(puppet.descriptors[1][1], 1000).decode()
    assert said.startswith(f"{tree}/wait: missing operand")


def test_who_comes_to_a_script_is_told_of(keeper: Rig, tree: Path) -> None:
    write(tree / "a")
    puppet = keeper.puppet()
    opened = open_(puppet, "a")
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(opened.listener.address.removeprefix("unix:"))

        assert puppet.expect(wire.SomebodyWaits) == wire.SomebodyWaits(app="r/a", generation=1)


def test_opened_again_it_is_answered_again_and_the_same(keeper: Rig, tree: Path) -> None:
    write(tree / "a")
    puppet = keeper.puppet()

    assert open_(puppet, "a") == open_(puppet, "a")
    assert sockets(keeper) == ["r/a.sock"]


@pytest.mark.parametrize(
    ("root", "path", "why", "obstacle"),
    [
        ("s", "a", "there is no root 's'", "missing"),
        ("r", "b", "no such file", "missing"),
        ("r", "../a", "not the plain way", "forbidden"),
        ("r", "", "not the plain way", "forbidden"),
        ("r", "./a", "not the plain way", "forbidden"),
        ("r", "sub//a", "not the plain way", "forbidden"),
        ("r", "/etc/passwd", "not the plain way", "forbidden"),
        ("r", "a b", "other characters", "forbidden"),
        ("r", "a\n", "other characters", "forbidden"),
        ("r", "a\0", "other characters", "forbidden"),
        ("r", "\udcff", "other characters", "forbidden"),
        ("r", "x" * 100, "too long", "forbidden"),
        ("r", "x" * 5000, "too long", "forbidden"),
        ("r", "sub", "not a regular file", "directory"),
        ("r", "link", "is a symbolic link", "forbidden"),
        ("r", "writable", "everybody may write it", "forbidden"),
    ],
)
def test_what_may_not_be_run_is_refused_with_the_reason(
    keeper: Rig, tree: Path, *, root: str, path: str, why: str, obstacle: str
) -> None:
    write(tree / "a")
    write(tree / "writable", mode=0o777)
    (tree / "sub").mkdir()
    (tree / "link").symlink_to("a")
    puppet = keeper.puppet()
    puppet.order(wire.Open(root=root, path=path))

    answer = puppet.expect(wire.OpenFailed)

    assert (answer.root, answer.path, answer.obstacle) == (root, path, obstacle)
    assert why in answer.error
    assert not (keeper.runtime / "dynamic").exists()
    assert keeper.bound() == []


def test_without_dynamic_there_is_no_root(rig: Start) -> None:
    puppet = rig("").puppet()
    puppet.order(wire.Open(root="r", path="a"))

    assert puppet.expect(wire.OpenFailed).obstacle == "missing"


def test_a_name_that_is_a_directory_of_another_gets_no_socket_and_harms_nobody(keeper: Rig, tree: Path) -> None:
    write(tree / "a.sock" / "b")
    write(tree / "a")
    puppet = keeper.puppet()
    open_(puppet, "a.sock/b")

    assert "not a socket" in refused(puppet, "a").error
    assert sockets(keeper) == ["r/a.sock", "r/a.sock/b.sock"]
    puppet.order(wire.Note(app="r/a", text="x"))
    assert "no application" in puppet.expect(wire.Denied).error


# ── between check and exec ───────────────────────────────────────────────────────────────────────────────────────


def gone(script: Path) -> None:
    script.unlink()


def linked(script: Path) -> None:
    other = write(script.with_name("other"))
    script.unlink()
    script.symlink_to(other.name)


def directory(script: Path) -> None:
    script.unlink()
    script.mkdir()


def writable(script: Path) -> None:
    script.chmod(0o777)


def in_a_writable_directory(script: Path) -> None:
    script.parent.chmod(0o777)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (gone, "no such file"),
        (linked, "is a symbolic link"),
        (directory, "is not a regular file"),
        (writable, "everybody may write it"),
        (in_a_writable_directory, "everybody may write it"),
    ],
)
def test_a_script_that_has_changed_is_not_started_and_its_instances_go_on(
    keeper: Rig, tree: Path, change: Callable[[Path], None], why: str
) -> None:
    script = write(tree / "sub" / "a")
    puppet = keeper.puppet()
    opened = open_(puppet, "sub/a")
    puppet.spawn("r/sub/a", 1)
    change(script)

    answer = failed(puppet, "r/sub/a", 2)

    assert answer.step == "check"
    assert why in answer.error
    assert served(Path(opened.listener.address.removeprefix("unix:")))
    assert why in refused(puppet, "sub/a").error


def test_nothing_but_the_script_is_executed_however_often_it_is_exchanged(keeper: Rig, tree: Path) -> None:
    """What takes its place here can never be executed: that it is seen at the last moment is what is left to prove."""
    script, other = write(tree / "a"), tree / "other"
    puppet = keeper.puppet()
    open_(puppet, "a")
    finished = threading.Event()

    def exchange() -> None:
        while not finished.is_set():
            for make in (other.mkdir, lambda: write(other, mode=0o644), lambda: other.symlink_to("nowhere")):
                make()
                libc.renameat2(-100, bytes(other), -100, bytes(script), 2)  # exchange
                libc.renameat2(-100, bytes(other), -100, bytes(script), 2)
                other.rmdir() if other.is_dir() else other.unlink()

    thread = threading.Thread(target=exchange)
    thread.start()
    outcomes: set[str] = set()
    numbers = itertools.count(1)
    try:
        while (number := next(numbers)) < 80 or (number < 1_000 and not {"spawned", "check"} <= outcomes):
            puppet.order(wire.Spawn(instance=number, app="r/a", generation=1))
            until(lambda: any(isinstance(one, wire.Spawned | wire.SpawnFailed) for one in puppet.reports()))
            outcomes.add(_outcome(puppet, number))
    finally:
        finished.set()
        thread.join()
    assert outcomes <= {"spawned", "check", f"exec {tree}/a"}
    assert {"spawned", "check"} <= outcomes
    assert "internal error" not in keeper.log()


def _outcome(puppet: Puppet, number: int) -> str:
    if any(isinstance(one, wire.SpawnFailed) for one in puppet.reports()):
        return puppet.expect(wire.SpawnFailed, instance=number).step
    puppet.expect(wire.Spawned, instance=number)
    puppet.order(wire.Retire(instance=number, cut=True))
    puppet.expect(wire.Exited, instance=number)
    return "spawned"


@pytest.mark.parametrize("change", [gone, linked, directory, writable])
def test_what_changes_after_the_check_is_seen_before_the_exec(
    tree: Path, place: Path, change: Callable[[Path], None]
) -> None:
    script = write(tree / "a")
    config = place / "apps.toml"
    config.write_text(f"[fcgipm]\nruntime-dir = '{place}/run'\n{dynamic(tree)}")
    config.chmod(0o644)
    loaded = load(str(config), environ={}, euid=os.geteuid())
    assert loaded.config.dynamic is not None
    with Stage.unix(place / "sock") as stage, examine(loaded, loaded.config.dynamic.roots[0], "a") as checked:
        change(script)
        starting = spawn.begin(recipe("./a", become=checked.identity), stage.listener.fileno(), checked)
        readable(starting.status_fd)

        with pytest.raises(spawn.SpawnError) as caught:
            spawn.finish(starting)

    assert caught.value.step == "check"


# ── forgetting ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_forgotten_is_gone_when_nobody_has_come_for_a_minute(keeper: Rig, tree: Path) -> None:
    write(tree / "a")
    puppet = keeper.puppet()
    open_(puppet, "a")
    forget(puppet, "r/a")

    assert sockets(keeper) == []
    assert keeper.bound() == [".d"]  # for late-comers


def test_who_came_at_the_last_moment_brings_it_back(keeper: Rig, tree: Path) -> None:
    write(tree / "a")
    puppet = keeper.puppet()
    opened = open_(puppet, "a")
    public = Path(opened.listener.address.removeprefix("unix:"))
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.settimeout(10)
        visitor.connect(str(public))
        puppet.expect(wire.SomebodyWaits)
        forget(puppet, "r/a")

        assert puppet.expect(wire.Opened) == opened
        puppet.expect(wire.SomebodyWaits)
        puppet.expect(wire.SomebodyWaits)
        puppet.spawn("r/a", 1)
        visitor.sendall(b"x")
        assert visitor.recv(1) == b""
    assert served(public)


def test_a_forgotten_one_may_be_opened_again_with_its_instance_still_there(keeper: Rig, tree: Path) -> None:
    write(tree / "a")
    puppet = keeper.puppet()
    before = open_(puppet, "a")
    puppet.spawn("r/a", 1)
    forget(puppet, "r/a")
    again = open_(puppet, "a")

    assert again.listener == before.listener
    assert served(Path(again.listener.address.removeprefix("unix:")))
    puppet.retire(1)
    assert sockets(keeper) == ["r/a.sock"]


def test_of_more_scripts_in_a_row_only_eleven_hundred_cost_anything(keeper: Rig, tree: Path) -> None:
    """The manager forgets nothing here, which an honest one does from 1,000 on."""
    for number in range(1_300):
        os.link(write(tree / "a") if number == 0 else tree / "a", tree / f"s{number}")
    puppet = keeper.puppet()
    before = keeper.resident()
    puppet.order(*(wire.Open(root="r", path=f"s{number}") for number in range(1_300)))
    puppet.expect(wire.OpenFailed, path="s1299", within=60)

    assert len(sockets(keeper)) == 1_100
    assert "no more can be" in refused(puppet, "a").error
    for number in range(300):
        forget(puppet, f"r/s{number}")
    assert open_(puppet, "a").listener.generation == 1
    assert (keeper.resident() - before) / 1_100 < 8_000


# ── beside the declared ones ─────────────────────────────────────────────────────────────────────────────────────


def test_its_socket_is_linked_again_when_somebody_deletes_it(keeper: Rig, tree: Path) -> None:
    write(tree / "a")
    puppet = keeper.puppet()
    public = Path(open_(puppet, "a").listener.address.removeprefix("unix:"))
    public.unlink()
    until(public.exists)
    puppet.spawn("r/a", 1)

    assert served(public)


def test_a_new_generation_is_published_as_of_any_application(keeper: Rig, tree: Path) -> None:
    write(tree / "a")
    puppet = keeper.puppet()
    public = Path(open_(puppet, "a").listener.address.removeprefix("unix:"))
    puppet.spawn("r/a", 1)
    puppet.spawn("r/a", 2, generation=2)
    before = public.stat().st_ino
    puppet.order(wire.Publish(app="r/a", generation=2))

    assert puppet.expect(wire.Published).listener.bound == str(keeper.runtime / "private" / ".d" / "1.2")
    assert public.stat().st_ino != before
    puppet.retire(1)
    assert served(public)


def test_a_new_manager_is_told_of_it_without_secrets(rig: Start, tree: Path) -> None:
    code = "import os\nos.write(1, os.environ['SECRET'].encode())\n"
    write(tree / "a", f"{PYTHON}{code}{SERVE}")
    keeper = rig(dynamic(tree, table="initial-env = { SECRET = 'xyzzy' }"))
    first = keeper.puppet()
    opened = open_(first, "a")
    first.spawn("r/a", 1)
    assert os.read(first.descriptors[1][0], 100) == b"xyzzy"
    first.order(wire.Note(app="r/a", text="remember"))
    first.end(0)

    second = keeper.puppet()

    (definition,) = second.snapshot.definitions.applications
    assert definition == opened.definition
    assert second.snapshot.listeners == (opened.listener,)
    assert [(fact.app, fact.outdated) for fact in second.snapshot.instances] == [("r/a", False)]
    assert second.snapshot.notes == {"r/a": "remember"}
    assert second.snapshot.definitions.dynamic is not None
    assert "xyzzy" not in str(second.snapshot)
    assert open_(second, "a") == opened


def test_nothing_is_left_of_it_at_the_end(keeper: Rig, tree: Path) -> None:
    write(tree / "sub" / "deep" / "a")
    write(tree / "b")
    puppet = keeper.puppet()
    for path in ("sub/deep/a", "b"):
        open_(puppet, path)
    forget(puppet, "r/b")

    keeper.stop()

    assert not keeper.runtime.exists()


def test_a_new_manager_is_not_told_of_what_is_forgotten(keeper: Rig, tree: Path) -> None:
    write(tree / "a")
    first = keeper.puppet()
    opened = open_(first, "a")
    forget(first, "r/a")
    first.end(0)
    second = keeper.puppet()
    assert second.snapshot.definitions.applications == ()
    with socket.socket(socket.AF_UNIX) as late:
        late.connect(opened.listener.bound)

        assert second.expect(wire.Opened) == opened


@pytest.mark.root
def test_it_runs_as_the_user_of_its_root(rig: Start, tree: Path) -> None:
    os.chown(write(tree / "a"), 4711, 4711)
    keeper = rig(dynamic(tree, ", user = '#4711', group = '#4712'"))
    puppet = keeper.puppet()
    opened = open_(puppet, "a")
    pid = puppet.spawn("r/a", 1).pid

    status = Path(f"/proc/{pid}/status").read_text()
    assert "\nUid:\t4711\t4711\t4711\t4711\n" in status
    assert "\nGid:\t4712\t4712\t4712\t4712\n" in status
    public = Path(opened.listener.address.removeprefix("unix:"))
    assert public.stat().st_uid == 4711
    os.chown(tree / "a", 4713, 4713)
    assert "belongs to uid 4713" in failed(puppet, "r/a", 2).error


@pytest.mark.root
def test_it_runs_below_a_chroot_by_its_name_there(rig: Start, tree: Path) -> None:
    (tree / "a").write_bytes(b"")
    compiled("#include <unistd.h>\n#include <sys/socket.h>\n"
             "int main(int c, char **v) { char b[99]; write(1, v[0], 2); getcwd(b, 99); write(1, b, 9);"
             " accept(0, 0, 0); return 0; }", tree / "a", static=True)  # fmt: skip
    keeper = rig(dynamic(tree, table=f"chroot = '{tree.parent}'"))
    puppet = keeper.puppet()
    open_(puppet, "a")
    pid = puppet.spawn("r/a", 1).pid

    assert os.readlink(f"/proc/{pid}/root") == str(tree.parent)
    assert os.read(puppet.descriptors[1][0], 100).startswith(b"/r/r")
