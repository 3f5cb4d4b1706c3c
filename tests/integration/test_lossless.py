"""Stop, start, restart, scale, apply and a killed manager, under load: no visitor goes without an answer.

The clients ask the sockets directly.  Unix applications are saturated: there are more clients than instances, and none
of them pauses.  Those on TCP, where no listener can be exchanged, are idle for a moment now and then.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from harness.components import need
from harness.daemon import Daemon
from harness.load import Load
from harness.ports import free_port
from harness.programs import STDIO, THREADED, compiled
from harness.waiting import ended, until

from fcgipm.verbs import ExitCode

StartDaemon = Callable[..., Daemon]
CLIENTS = 6


class Case:
    """A saturated application behind fcgipm, which takes *pause* microseconds for an answer."""

    def __init__(self, start_daemon: StartDaemon, place: Path, kind: str, pause: int = 300) -> None:
        what, _, transport = kind.partition("-")
        (place / "x.php").write_text(f"<?php usleep({pause}); echo 'hello';")
        self.address: str | tuple[str, int]
        if transport == "tcp":
            self.address = ("127.0.0.1", free_port())
            self.where = f"port = {self.address[1]}"
        else:
            self.where = ""
        self.command, self.environment = self._program(what, place, pause)
        self.daemon = start_daemon(self.definition())
        if transport != "tcp":
            self.address = str(self.daemon.socket("app"))
        self.script = str(place / "x.php")

    @staticmethod
    def _program(what: str, place: Path, pause: int) -> tuple[str, str]:
        if what != "php":
            source = {"stdio": STDIO, "threaded": THREADED}[what].replace("usleep(300)", f"usleep({pause})")
            return str(compiled(source, place / what, "fcgi")), ""
        return need("php-cgi"), 'PHP_FCGI_CHILDREN = "2"'

    def definition(self, **settings: str) -> str:
        more = "\n".join(f"{key.replace('_', '-')} = {value}" for key, value in settings.items())
        return f"""
[app.app]
command = ["{self.command}"]
processes = 3
min-server-life = 0
restart-delay = 0
{self.where}
{more}
[app.app.initial-env]
{self.environment}
"""

    def load(self) -> Load:
        if isinstance(self.address, str):
            return Load(self.address, self.script, clients=CLIENTS)
        return Load(self.address, self.script, clients=2, pause=0.005)

    def has_successors_of(self, victims: list[int]) -> bool:
        now = self.daemon.instances("app")
        return len(now) == 3 and not set(victims) & set(now)

    def ctl(self, *arguments: str) -> str:
        done = self.daemon.ctl(*arguments)
        assert done.returncode == ExitCode.DONE, (arguments, done.stdout, done.stderr, self.daemon.log())
        return done.stdout + done.stderr


KINDS = ["stdio-unix", "threaded-unix", "php-unix", "stdio-tcp", "php-tcp"]


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, start_daemon: StartDaemon, place: Path) -> Case:
    return Case(start_daemon, place, request.param)


def test_restarts(case: Case) -> None:
    before = set(case.daemon.instances("app"))
    with case.load() as load:
        for _ in range(3):
            assert "cut" not in case.ctl("restart", "app")

    assert load.tally.failed == 0, load.tally
    assert load.tally.answered > 20
    assert not before & set(case.daemon.instances("app", state=None))


def test_scaling_down_and_up(case: Case) -> None:
    with case.load() as load:
        for number in ("1", "4", "2", "auto"):
            case.ctl("scale", "app", number)

    assert load.tally.failed == 0, load.tally
    assert len(case.daemon.instances("app")) == 3


def test_stop_and_start_let_visitors_wait(case: Case) -> None:
    with case.load() as load:
        for _ in range(2):
            stopped = case.ctl("stop", "app")
            assert "cut" not in stopped
            assert case.daemon.instances("app", state=None) == []
            case.ctl("start", "app")

    assert load.tally.failed == 0, load.tally


def test_an_apply_that_changes_the_program_s_definition(case: Case) -> None:
    before = set(case.daemon.instances("app"))
    with case.load() as load:
        case.daemon.configure(case.definition(umask='"077"'))
        case.ctl("apply")
        until(lambda: not before & set(case.daemon.instances("app", state=None)), within=60, what="the new generation")

    assert load.tally.failed == 0, load.tally


def test_a_manager_that_is_killed_again_and_again_is_not_noticed(case: Case) -> None:
    before = set(case.daemon.instances("app"))
    with case.load() as load:
        for _ in range(3):
            manager = case.daemon.manager
            os.kill(manager, signal.SIGKILL)
            ended(manager)
            until(lambda: case.daemon.answering() and case.daemon.running(), what="another manager")

    assert load.tally.failed == 0, load.tally
    assert set(case.daemon.instances("app", state=None)) == before


@pytest.mark.parametrize("kind", KINDS)
def test_killed_instances_lose_what_they_held_and_refuse_nobody(
    start_daemon: StartDaemon, place: Path, kind: str
) -> None:
    case = Case(start_daemon, place, kind, pause=20_000)  # so long that they always hold something
    with Load(case.address, case.script, clients=CLIENTS) as load:
        for _ in range(3):
            victims = case.daemon.instances("app")
            for pid in victims:
                os.killpg(pid, signal.SIGKILL)
            until(partial(case.has_successors_of, victims), within=30, what="successors")

    assert load.tally.refused == 0, load.tally
    assert load.tally.lost > 0, "the proof that this load notices a loss"
