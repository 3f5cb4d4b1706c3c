"""The disk is full, or the runtime directory cannot be written: visitors do not notice, and starts go on."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from chaos.load import Crowd
from chaos.scene import Scene
from harness.daemon import FCGIPM, Daemon
from harness.waiting import until
from integration.faults.faults import OTHER, kill_others, limited, wait_for_others

StartScene = Callable[..., Scene]
MAKE = 'mkdir -m 0711 "$0" && mount -t tmpfs -o size=128k,nr_inodes=64,mode=0711 none "$0" && exec "$@" 2>>"$LOG"'


class Apart(Scene):
    """A daemon whose runtime directory, with its log, is a small file system that nobody else sees."""

    def __init__(self, start_daemon: Callable[..., Daemon], place: Path, *, log: bool, **keys: Any) -> None:
        """With *log* that is there, too."""
        self._log = log
        words = (
            *("env", f"LOG={place}/{'run/log' if log else 'log'}", "unshare", "--mount", "--propagation", "private"),
            *("sh", "-c", MAKE, str(place / "run"), FCGIPM),
        )
        super().__init__(start_daemon, place, tcp=True, program=words, **keys)

    def _started(self, wait: str) -> Daemon:
        pid_file = f'pid-file = "{self.place}/pid"'  # which is kept open
        daemon = self._start_daemon(self._text, directory=self.place, wait="", program=self._program, daemon=pid_file)
        self.inside = Path(f"/proc/{daemon.pid}/root{self.place}/run")
        daemon.control = self.inside / "control.sock"
        if self._log:
            daemon.logfile = self.inside / "log"
        with suppress(FileNotFoundError):
            return daemon.wait_running() if wait else daemon
        raise AssertionError((self.place / "log").read_text())

    def mount(self, options: str) -> None:
        """Mount the file system anew."""
        enter = ("nsenter", f"--target={self.daemon.pid}", "--mount")
        subprocess.run([*enter, "mount", "-o", f"remount,{options}", str(self.place / "run")], check=True, timeout=20)


@pytest.fixture
def apart(start_daemon: Callable[..., Daemon], place: Path) -> Iterator[Callable[[bool], Apart]]:
    """Give a function that starts a daemon with a file system of its own, where its log is or is not."""
    started: list[Apart] = []

    def start(log: bool) -> Apart:
        started.append(Apart(start_daemon, place, log=log, others=OTHER))
        return started[0]

    yield start
    for stage in started:
        stage.end()


@contextmanager
def full(directory: Path, *, files: bool) -> Iterator[None]:
    """Let nothing more fit into the file system of *directory*: no byte, or with *files* no file."""
    made = [directory / "filler"]
    with suppress(OSError), made[0].open("wb", buffering=0) as filler:
        while not files:
            filler.write(bytes(64))
    with suppress(OSError):
        while files:
            made.append(directory / f"filler{len(made)}")
            made[-1].touch()
    yield
    for file in made:
        file.unlink(missing_ok=True)


def events(stage: Scene, text: str) -> int:
    """Return how many events have *text*."""
    return sum(text in line for line in stage.ctl("events").splitlines())


def live_through(stage: Scene, crowd: Crowd, what: str) -> None:
    """Let instances be started, and requests be served, while the state cannot be written."""
    victims = kill_others(stage)
    wait_for_others(stage, victims)
    stage.ctl("scale", "app", "4")
    stage.processes = 4
    stage.settle()
    crowd.more(300)
    assert events(stage, f"cannot write state.json in {stage.place}/run: {what}") == 1


def is_written(stage: Scene, state: Path) -> bool:
    """Return whether the state has all instances again."""
    text = json.loads(state.read_text())
    every = {*stage.pids(), *stage.daemon.instances("other")}
    return every == {one["pid"] for one in text["instances"]}


def test_no_file_may_grow(scene: StartScene) -> None:
    """As on a full disk, for keeper and manager alone."""
    stage = scene("mortal", others=OTHER)
    with stage.crowd(clients=10, pause=0.002) as (crowd, _):
        with ExitStack() as stack:
            for pid in (stage.daemon.pid, stage.daemon.manager):
                stack.enter_context(limited(pid, resource.RLIMIT_FSIZE, 0))
            live_through(stage, crowd, "File too large")
            stage.ctl("restart", "app")
        until(lambda: events(stage, "state.json can be written again"), what="that is said")
        until(lambda: is_written(stage, stage.daemon.runtime / "state.json"), what="the state is written")
        stage.ctl("restart", "app")
    assert crowd.failures == []
    assert events(stage, "can be written again") == 1
    until(lambda: "lines of this log could not be written and are lost" in stage.daemon.log(), what="a gap in the log")


@pytest.mark.root
@pytest.mark.parametrize("what", ["bytes", "files", "read-only"])
def test_a_file_system_that_takes_nothing(apart: Callable[[bool], Apart], what: str) -> None:
    stage = apart(what != "read-only")  # which it cannot become while somebody writes there
    manager = stage.daemon.manager
    with stage.crowd(clients=10, pause=0.01) as (crowd, _):
        with ExitStack() as stack:
            if what == "read-only":
                stack.callback(stage.mount, "rw")
                stage.mount("ro")
            else:
                stack.enter_context(full(stage.inside, files=what == "files"))
            live_through(stage, crowd, "Read-only file system" if what == "read-only" else "No space left on device")
            assert "cannot upgrade: state.json cannot be written in" in stage.ctl("upgrade", code=1)
            if what != "bytes":  # each generation needs a socket file
                others = stage.daemon.instances("other")
                assert "given up" in stage.ctl("restart", "other", code=1)
                assert stage.daemon.instances("other") == others
        until(lambda: events(stage, "state.json can be written again"), what="that is said")
        until(lambda: is_written(stage, stage.inside / "state.json"), what="the state is written")
        stage.ctl("restart", "other")
        stage.ctl("restart", "app")
    assert crowd.failures == []
    assert stage.daemon.manager == manager


def test_a_runtime_directory_without_the_right_to_write(scene: StartScene) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere: a file system that is read-only is tried instead")
    stage = scene("mortal", others=OTHER)
    with stage.crowd(clients=10, pause=0.002) as (crowd, _):
        stage.daemon.runtime.chmod(0o500)
        try:
            live_through(stage, crowd, "Permission denied")
            assert "cannot upgrade: state.json cannot be written in" in stage.ctl("upgrade", code=1)
            before = stage.pids()
            stage.ctl("restart", "app", code=1)
            until(lambda: stage.pids() == before, what="the generation that was given up is gone, the old one is not")
        finally:
            stage.daemon.runtime.chmod(0o711)
        until(lambda: is_written(stage, stage.daemon.runtime / "state.json"), what="the state is written")
        stage.ctl("restart", "app")
    assert crowd.failures == []
