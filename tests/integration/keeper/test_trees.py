"""Roots that listen: which scripts there are is known without anybody's asking, and what changes is noticed."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from harness.keeper import SERVE, Puppet, Rig
from harness.rest import at_rest
from harness.waiting import until

from fcgipm import wire

Start = Callable[..., Rig]
PYTHON = f"#!{os.path.realpath(sys.executable)} -IS\n"


@pytest.fixture
def tree(place: Path) -> Path:
    """Give the directory of the root that is called ``r``."""
    made = place / "r"
    made.mkdir(mode=0o755)
    return made


def dynamic(tree: Path, more: str = ", listen = true", table: str = "") -> str:
    return f"[dynamic]\n{table}\nroots = [{{ path = '{tree}', name = 'r'{more} }}]\n"


def write(path: Path, mode: int = 0o755, *, text: str = f"{PYTHON}{SERVE}") -> Path:
    """Write a script whole: made beside the tree and renamed into its place."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = Path(*path.parts[:4]) / "made"
    new.write_text(text)
    new.chmod(mode)
    return new.rename(path)


def names(keeper: Rig) -> list[str]:
    """Return the scripts that have a public socket."""
    top = keeper.runtime / "dynamic" / "r"
    return sorted(str(path.relative_to(top)).removesuffix(".sock") for path in top.rglob("*.sock"))


def opened(puppet: Puppet, path: str) -> wire.Opened:
    return puppet.expect(wire.Opened, path=path)


def test_all_scripts_have_their_sockets_before_there_is_a_manager(rig: Start, tree: Path) -> None:
    for path in ("a.fcgi", "sub/b.fcgi", "sub/deep/c.fcgi", "sub/readme.txt"):
        write(tree / path)
    write(tree / "data.fcgi", mode=0o644)
    write(tree / "bad.fcgi", mode=0o777)
    (tree / "link.fcgi").symlink_to("a.fcgi")
    (tree / "d.fcgi").mkdir()
    keeper = rig(dynamic(tree, ", listen = true, match = '*.fcgi'"))
    snapshot = keeper.puppet().snapshot

    assert names(keeper) == ["a.fcgi", "sub/b.fcgi", "sub/deep/c.fcgi"]
    assert sorted(fact.app for fact in snapshot.listeners) == ["r/a.fcgi", "r/sub/b.fcgi", "r/sub/deep/c.fcgi"]
    assert {app["name"] for app in snapshot.definitions.applications} == {fact.app for fact in snapshot.listeners}
    assert f"a script may not be run, so it gets no socket: {tree}/bad.fcgi: everybody may write it" in keeper.log()
    assert "link.fcgi is a symbolic link" in keeper.log()
    assert "data.fcgi" not in keeper.log()


@pytest.mark.parametrize("name", [b"\xff", b"two\nlines", b"\x1b[31m", b"a b", b"x" * 200])
def test_a_name_that_cannot_be_one_is_said_in_one_line_and_harms_nobody(rig: Start, tree: Path, name: bytes) -> None:
    write(tree / "a")
    os.link(tree / "a", bytes(tree) + b"/" + name)
    keeper = rig(dynamic(tree))
    keeper.puppet()

    assert names(keeper) == ["a"]
    (line,) = [line for line in keeper.log().splitlines() if "a script may not be run" in line]
    assert line.isprintable()


def test_a_root_that_is_not_recursive_has_only_what_is_in_itself(rig: Start, tree: Path) -> None:
    write(tree / "a")
    write(tree / "sub" / "b")
    keeper = rig(dynamic(tree, ", listen = true, recursive = false"))
    puppet = keeper.puppet()
    write(tree / "sub" / "c")
    write(tree / "d")

    opened(puppet, "d")
    assert names(keeper) == ["a", "d"]


def test_a_new_script_is_opened_wherever_it_is(rig: Start, tree: Path) -> None:
    keeper = rig(dynamic(tree))
    puppet = keeper.puppet()
    write(tree / "a")
    first = opened(puppet, "a")
    write(tree / "new" / "deep" / "b")
    opened(puppet, "new/deep/b")
    write(tree / "new" / "deep" / "c")
    opened(puppet, "new/deep/c")

    assert first.definition["name"] == "r/a"
    assert names(keeper) == ["a", "new/deep/b", "new/deep/c"]
    puppet.spawn("r/new/deep/c", 1)


def test_what_becomes_executable_and_what_is_mended_is_opened(rig: Start, tree: Path) -> None:
    write(tree / "a", mode=0o644)
    write(tree / "b", mode=0o777)
    keeper = rig(dynamic(tree))
    puppet = keeper.puppet()
    assert names(keeper) == []
    (tree / "a").chmod(0o755)
    opened(puppet, "a")
    (tree / "b").chmod(0o755)
    opened(puppet, "b")


def test_a_script_that_is_removed_loses_its_socket(rig: Start, tree: Path) -> None:
    write(tree / "sub" / "a")
    keeper = rig(dynamic(tree))
    puppet = keeper.puppet()
    (tree / "sub" / "a").unlink()

    withdrawn = puppet.expect(wire.Published)
    assert (withdrawn.listener.app, withdrawn.listener.generation) == ("r/sub/a", 0)
    assert names(keeper) == []
    write(tree / "sub" / "a")
    opened(puppet, "sub/a")


@pytest.mark.parametrize("listen", [True, False])
def test_its_instances_go_on_and_it_loses_its_socket_after_the_last_one(rig: Start, tree: Path, listen: bool) -> None:
    write(tree / "a")
    keeper = rig(dynamic(tree, ", listen = true" if listen else ""))
    puppet = keeper.puppet()
    if not listen:
        puppet.order(wire.Open(root="r", path="a"))
        opened(puppet, "a")
    pid = puppet.spawn("r/a", 1).pid
    (tree / "a").unlink()
    keeper.logged("r/a: its script has gone")
    puppet.order(wire.Publish(app="r/a", generation=2))  # it is stopped, for instance
    assert puppet.expect(wire.Published).listener.generation == 2
    assert names(keeper) == ["a"]
    os.kill(pid, signal.SIGKILL)

    assert puppet.expect(wire.Published).listener.generation == 0
    assert names(keeper) == []


def test_one_that_comes_back_in_time_keeps_its_socket_and_has_changed(rig: Start, tree: Path) -> None:
    write(tree / "a")
    keeper = rig(dynamic(tree))
    puppet = keeper.puppet()
    puppet.spawn("r/a", 1)
    (tree / "a").unlink()
    keeper.logged("r/a: its script has gone")
    write(tree / "a")

    assert puppet.expect(wire.ProgramChanged).app == "r/a"
    puppet.retire(1)
    assert names(keeper) == ["a"]


@pytest.mark.parametrize("listen", [True, False])
def test_a_script_that_changes_is_told_of_once_after_half_a_second_of_quiet(
    rig: Start, tree: Path, listen: bool
) -> None:
    write(tree / "sub" / "a")
    keeper = rig(dynamic(tree, ", listen = true" if listen else ""))
    puppet = keeper.puppet()
    if not listen:
        puppet.order(wire.Open(root="r", path="sub/a"))
        opened(puppet, "sub/a")
    changed = [time.monotonic()]
    for number in range(50):
        (tree / "sub" / "a").write_text(f"{PYTHON}# {number}\n{SERVE}")
        changed.append(time.monotonic())
    write(tree / "sub" / "a")
    pauses = sum(after - before > 0.2 for before, after in pairwise([*changed, time.monotonic()]))  # of a busy machine

    assert puppet.expect(wire.ProgramChanged).app == "r/sub/a"
    assert time.monotonic() - changed[0] >= 0.5
    puppet.spawn("r/sub/a", 1)
    assert sum(isinstance(one, wire.ProgramChanged) for one in puppet.reports()) <= pauses


def test_nothing_happens_where_nothing_changes(rig: Start, tree: Path) -> None:
    write(tree / "a")
    keeper = rig(dynamic(tree))
    puppet = keeper.puppet()
    for _ in range(10):
        (tree / "a").read_text()
        os.listdir(tree)
    write(tree / "b")  # and this is noticed
    opened(puppet, "b")

    assert not [one for one in puppet.reports() if isinstance(one, wire.ProgramChanged)]


def test_a_directory_that_is_exchanged_is_gone_through(rig: Start, tree: Path, place: Path) -> None:
    write(tree / "sub" / "a")
    write(tree / "sub" / "b")
    write(place / "next" / "b")
    write(place / "next" / "c")
    keeper = rig(dynamic(tree))
    puppet = keeper.puppet()
    (tree / "sub").rename(place / "before")
    (place / "next").rename(tree / "sub")

    opened(puppet, "sub/c")
    assert puppet.expect(wire.Published).listener.app == "r/sub/a"
    assert puppet.expect(wire.ProgramChanged).app == "r/sub/b"
    assert names(keeper) == ["sub/b", "sub/c"]
    write(place / "before" / "d")
    write(tree / "sub" / "e")
    opened(puppet, "sub/e")
    assert names(keeper) == ["sub/b", "sub/c", "sub/e"]


def test_a_root_that_goes_and_comes_is_noticed(rig: Start, tree: Path, place: Path) -> None:
    write(tree / "a")
    keeper = rig(dynamic(tree))
    puppet = keeper.puppet()
    tree.rename(place / "away")
    puppet.expect(wire.Published)
    assert names(keeper) == []
    write(place / "away" / "b")
    (place / "away").rename(tree)

    opened(puppet, "a")
    opened(puppet, "b")
    shutil.rmtree(tree)
    for _ in range(2):
        puppet.expect(wire.Published)
    tree.mkdir(mode=0o755)
    write(tree / "c")
    opened(puppet, "c")


def test_what_the_kernel_could_not_tell_is_looked_for(rig: Start, tree: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    write(tree / "a")
    write(tree / "gone")
    keeper = rig(dynamic(tree))
    puppet = keeper.puppet()
    os.kill(keeper.pid, signal.SIGSTOP)
    for number in range(limit // 2 + 10):  # a file that is made and removed is two events, at least
        (tree / f"f{number % 2}").touch()
        (tree / f"f{number % 2}").unlink()
    write(tree / "b")
    (tree / "gone").unlink()
    os.kill(keeper.pid, signal.SIGCONT)

    opened(puppet, "b")
    assert puppet.expect(wire.Published).listener.app == "r/gone"
    assert names(keeper) == ["a", "b"]


def test_a_thousand_scripts_are_opened_and_no_more(rig: Start, tree: Path) -> None:
    write(tree / "a")
    for number in range(1_020):
        os.link(tree / "a", tree / f"s{number}")
    keeper = rig(dynamic(tree))
    puppet = keeper.puppet()

    assert len(puppet.snapshot.listeners) == 1_000
    assert len(names(keeper)) == 1_000
    assert "more than 1000 scripts" in keeper.log()
    missing = next(iter({f"s{number}" for number in range(1_020)} - set(names(keeper))))
    puppet.order(wire.Open(root="r", path=missing))
    opened(puppet, missing)


def test_somebody_who_never_leaves_the_tree_alone_delays_others_by_seconds(rig: Start, tree: Path) -> None:
    keeper = rig(dynamic(tree))
    puppet = keeper.puppet()
    write(tree / "a")

    def found() -> bool:
        (tree / "noise").touch()
        return any(isinstance(one, wire.Opened) for one in puppet.reports())

    until(found, within=15)


def test_an_apply_looks_into_new_roots_and_lets_others_go(rig: Start, tree: Path, place: Path) -> None:
    write(tree / "a")
    write(place / "s" / "b")
    keeper = rig(dynamic(tree))
    puppet = keeper.puppet()
    pid = puppet.spawn("r/a", 1).pid
    keeper.configure(f"[dynamic]\nroots = [{{ path = '{place}/s', listen = true }}]\n")
    puppet.order(wire.Apply(request=1))

    applied = puppet.expect(wire.Applied)
    assert applied.problems == ()
    assert wire.ChangedKey(app="r/a", key="", effect="removed") in applied.changes
    found = puppet.expect(wire.Opened)
    assert (found.root, found.path) == ("s", "b")
    assert not (keeper.runtime / "dynamic" / "r" / "a.sock").exists()
    assert Path(f"/proc/{pid}").exists()  # it finishes what it has begun
    puppet.retire(1, cut=True)
    write(tree / "c")
    write(place / "s" / "d")
    assert puppet.expect(wire.Opened).root == "s"


def test_an_apply_gives_known_scripts_their_new_definitions(rig: Start, tree: Path) -> None:
    write(tree / "a")
    keeper = rig(dynamic(tree, "", "initial-env = { X = 'secret' }"))
    puppet = keeper.puppet()
    puppet.order(wire.Open(root="r", path="a"))
    opened(puppet, "a")
    puppet.spawn("r/a", 1)
    keeper.configure(dynamic(tree, "", "umask = '027'\nsocket-mode = '0600'\ninitial-env = { X = 'other' }"))
    puppet.order(wire.Apply(request=1))

    applied = puppet.expect(wire.Applied)
    changes = {(change.app, change.key): change.effect for change in applied.changes}
    assert changes["r/a", "umask"] == changes["r/a", "initial-env"] == "new generation"
    assert changes["r/a", "socket-mode"] == "in place"
    assert applied.definitions is not None
    (definition,) = applied.definitions.applications
    assert (definition["name"], definition["umask"]) == ("r/a", 0o027)
    assert "other" not in str(applied)
    assert (keeper.runtime / "dynamic" / "r" / "a.sock").stat().st_mode & 0o777 == 0o600
    puppet.spawn("r/a", 2, generation=2)
    environ = Path(f"/proc/{_pid(keeper, puppet)}/environ").read_bytes()
    assert b"X=other" in environ


def _pid(keeper: Rig, puppet: Puppet) -> int:
    puppet.end(0)
    return max(keeper.puppet().snapshot.instances, key=lambda fact: fact.instance).pid


def test_an_apply_may_bring_dynamic_applications_and_take_them_away(rig: Start, tree: Path) -> None:
    write(tree / "a")
    keeper = rig("")
    puppet = keeper.puppet()
    for request, text in ((1, dynamic(tree)), (2, ""), (3, dynamic(tree, ""))):
        keeper.configure(text)
        puppet.order(wire.Apply(request=request))
        applied = puppet.expect(wire.Applied)
        assert (applied.problems, applied.definitions is not None) == ((), True)
        if request == 1:
            opened(puppet, "a")
        assert names(keeper) == (["a"] if request == 1 else [])
    puppet.order(wire.Open(root="r", path="a"))
    opened(puppet, "a")


def test_a_forgotten_one_does_not_come_back_by_an_apply(rig: Start, tree: Path) -> None:
    write(tree / "a")
    keeper = rig(dynamic(tree, ""))
    puppet = keeper.puppet()
    puppet.order(wire.Open(root="r", path="a"))
    opened(puppet, "a")
    puppet.order(wire.Publish(app="r/a", generation=0))
    puppet.expect(wire.Published)
    keeper.configure(dynamic(tree, "", "umask = '027'"))
    puppet.order(wire.Apply(request=1))

    applied = puppet.expect(wire.Applied)
    assert applied.definitions is not None
    assert applied.definitions.applications == ()
    assert keeper.bound() == []


def test_at_rest_a_tree_wakes_nobody(rig: Start, tree: Path) -> None:
    for number in range(20):
        write(tree / f"d{number}" / "a")
    keeper = rig(dynamic(tree))
    puppet = keeper.puppet()
    write(tree / "b")
    opened(puppet, "b")

    at_rest(keeper.pid, seconds=2)
