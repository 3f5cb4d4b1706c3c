"""An apply that changes a definition, under load: no visitor goes without an answer.

What else is done under load is in tests/chaos and in the folder removal.
The clients ask the sockets directly.  Unix applications are saturated: there are more clients than instances, and none
of them pauses.  Those on TCP, where no listener can be exchanged, are idle for a moment now and then.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from harness.components import need
from harness.daemon import Daemon
from harness.load import Load
from harness.ports import free_port
from harness.programs import STDIO, THREADED, compiled
from harness.waiting import until

from fcgipm.verbs import ExitCode

StartDaemon = Callable[..., Daemon]
CLIENTS = 6


class Case:
    """A saturated application behind fcgipm."""

    def __init__(self, start_daemon: StartDaemon, place: Path, kind: str) -> None:
        what, _, transport = kind.partition("-")
        (place / "x.php").write_text("<?php usleep(300); echo 'hello';")
        self.address: str | tuple[str, int]
        if transport == "tcp":
            self.address = ("127.0.0.1", free_port())
            self.where = f"port = {self.address[1]}"
        else:
            self.where = ""
        self.command, self.environment = self._program(what, place)
        self.daemon = start_daemon(self.definition())
        if transport != "tcp":
            self.address = str(self.daemon.socket("app"))
        self.script = str(place / "x.php")

    @staticmethod
    def _program(what: str, place: Path) -> tuple[str, str]:
        if what != "php":
            source = {"stdio": STDIO, "threaded": THREADED}[what]
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

    def ctl(self, *arguments: str) -> str:
        done = self.daemon.ctl(*arguments)
        assert done.returncode == ExitCode.DONE, (arguments, done.stdout, done.stderr, self.daemon.log())
        return done.stdout + done.stderr


KINDS = ["stdio-unix", "threaded-unix", "php-unix", "stdio-tcp", "php-tcp"]


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, start_daemon: StartDaemon, place: Path) -> Case:
    return Case(start_daemon, place, request.param)


def test_an_apply_that_changes_the_program_s_definition(case: Case) -> None:
    before = set(case.daemon.instances("app"))
    with case.load() as load:
        case.daemon.configure(case.definition(umask='"077"'))
        case.ctl("apply")
        until(lambda: not before & set(case.daemon.instances("app", state=None)), within=60, what="the new generation")

    assert load.tally.failed == 0, load.tally
