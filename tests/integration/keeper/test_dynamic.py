"""Scripts that nobody declared: opened when asked for, checked again at each start, forgotten when they go."""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.keeper import SERVE, Puppet, Rig

from fcgipm import wire

Start = Callable[..., Rig]
PYTHON = f"#!{os.path.realpath(sys.executable)} -IS\n"
SCRIPT = f"{PYTHON}{SERVE}"


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


def served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.settimeout(10)
        visitor.connect(str(path))
        visitor.sendall(b"x")
        return visitor.recv(1) == b""


def test_a_script_is_opened_started_and_forgotten_again(keeper: Rig, tree: Path) -> None:
    write(tree / "sub" / "a.fcgi")
    puppet = keeper.puppet()
    public = keeper.runtime / "dynamic" / "r" / "sub" / "a.fcgi.sock"

    opened = open_(puppet, "sub/a.fcgi")
    assert opened.definition["name"] == "r/sub/a.fcgi"
    assert opened.definition["command"] == [f"{tree}/sub/a.fcgi"]
    assert (opened.listener.generation, opened.listener.published) == (1, True)
    assert opened.listener.address == f"unix:{public}"
    for directory in (keeper.runtime / "dynamic", public.parent.parent, public.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o711
    pid = puppet.spawn("r/sub/a.fcgi", 1).pid
    assert served(public)
    assert os.readlink(f"/proc/{pid}/cwd") == f"{tree}/sub"

    puppet.retire(1)
    puppet.order(wire.Publish(app="r/sub/a.fcgi", generation=0))
    assert puppet.expect(wire.Published).listener.generation == 0
    assert not public.exists()
