"""fcgipm with one application, nginx before it, and what a fault must leave as it was."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chaos.kinds import Kind, frozen, kind_of, leaders, visitors_program
from chaos.load import CLIENTS, Crowd, Visitors
from chaos.nginx import Nginx
from harness.daemon import Daemon
from harness.ports import free_port
from harness.waiting import until

StartDaemon = Callable[..., Daemon]
Way = tuple[str, str | int]
"""fcgi or http, and the address."""


def crowd_at(
    place: Path, ways: Mapping[str, Way], *, script: str = "/", clients: int = CLIENTS, pause: float = 0.0
) -> Crowd:
    """Return *clients* visitors on each of *ways*, as a context.

    They come without a *pause* (seconds): there are always more of them than instances, so that every instance always
    has somebody, and somebody always waits.
    """
    program = visitors_program(place)

    def visitors(name: str, way: Way) -> Visitors:
        kind, where = way
        board = place / f"board.{name}"
        return Visitors(program, kind, where, script=script, clients=clients, pause=pause, board=board)

    return Crowd({name: visitors(name, way) for name, way in ways.items()})


@contextlib.contextmanager
def both_ways(place: Path, address: str | int, script: str = "/", **more: Any) -> Iterator[tuple[Crowd, Nginx]]:
    """Give visitors who ask at *address* and through an nginx before it; and that nginx."""
    name = f"nginx{sum(1 for _ in place.glob('nginx*'))}"
    with Nginx(place / name, address, script) as nginx:
        ways: Mapping[str, Way] = {"nginx": ("http", nginx.address), "directly": ("fcgi", address)}
        with crowd_at(place, ways, script=script, **more) as crowd:
            yield crowd, nginx


def altered(how: str) -> Sequence[str]:
    """Return the command of fcgipm with something changed in it: see altered.py."""
    return (sys.executable, str(Path(__file__).parent / "altered.py"), how)


class Scene:
    """A daemon below *place* with the application "app" of a kind, by default three instances on a Unix socket."""

    def __init__(
        self,
        start_daemon: StartDaemon,
        place: Path,
        kind: str = "mortal",
        *,
        tcp: bool = False,
        program: Sequence[str] = (),
        others: str = "",
        **keys: Any,
    ) -> None:
        """*keys* are more of the application's table, *others* is the text of other tables.

        *start_daemon* is the fixture, or `Systemd.start`; *program* is run in fcgipm's place.
        """
        self._start_daemon, self._program, self._others = start_daemon, program, others
        self.place = place
        self.kind: Kind = kind_of(kind, place)
        self.version = 1
        self._keys = {"port": free_port(), **keys} if tcp else keys
        self.processes: int = keys.get("processes") or 3
        self._text = self.kind.table(**self._keys) + others
        self.daemon = self._started("running")
        self.address: str | int = self._keys["port"] if tcp else str(self.daemon.socket("app"))

    def _started(self, wait: str) -> Daemon:
        more = {"program": self._program} if self._program else {}
        return self._start_daemon(self._text, directory=self.place, wait=wait, **more)

    def start_again(self) -> None:
        """Start the daemon again, after its keeper was killed or has ended."""
        self.daemon = self._started("answering")

    def stop(self) -> int:
        """End the daemon as it wants to be ended, and return its exit status."""
        self.daemon.remember()
        self.daemon.process.terminate()
        return self.daemon.process.wait(60)

    def define(self, **changes: Any) -> int:
        """Write the application's definition anew, with a version of its own; return that.

        *changes* are keys of the table, `environment`, or `command`, for this definition alone.
        """
        self.version += 1
        self._text = self.kind.table(version=self.version, **{**self._keys, **changes}) + self._others
        self.daemon.configure(self._text)
        return self.version

    def end(self) -> None:
        """End the daemon, without the seconds that it gives to those who do not listen."""
        if self.daemon.process.poll() is None:
            self.daemon.remember()
            self.daemon.process.terminate()
        until(self._killed_all, within=30, what="the end of the daemon")

    def _killed_all(self) -> bool:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return self.daemon.process.poll() is not None and not self.pids()

    def others(self, text: str) -> None:
        """Write other tables beside the application's, in place of those before."""
        self._text, self._others = self._text.removesuffix(self._others) + text, text
        self.daemon.configure(self._text)

    def crowd(self, **more: Any) -> contextlib.AbstractContextManager[tuple[Crowd, Nginx]]:
        """Give visitors; see `both_ways`."""
        return both_ways(self.place, self.address, self.kind.script, **more)

    def ctl(self, *arguments: str, code: int = 0) -> str:
        """Run fcgipmctl; it must end with *code*. Return what it says."""
        done = self.daemon.ctl(*arguments, timeout=120)
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{arguments}: {done.returncode}: {said}\n{self.daemon.log()[-5000:]}"
        return said

    def pids(self) -> list[int]:
        """Return the instances, as they are seen from outside."""
        return leaders(self.place)

    def settle(self, within: float = 30) -> None:
        """Wait until everything is as it should be: each slot has one instance, and nobody stands still."""
        try:
            until(self.settled, within=within)
        except AssertionError:
            seen = f"{self.processes} wanted, {self.pids()} there, frozen {self.frozen()}"
            raise AssertionError(f"not settled within {within} s: {seen}\n{self.daemon.log()[-5000:]}") from None

    def settled(self) -> bool:
        """Return whether each slot has one instance, for the daemon and from outside, and nobody stands still."""
        if len(self.pids()) != self.processes or self.frozen() or not self.daemon.answering():
            return False
        every, ready = set(self.daemon.instances("app", state=None)), set(self.daemon.instances("app"))
        return every == ready == set(self.pids())

    def saturate(self) -> None:
        """Wait until every instance holds as many visitors as it serves at once, and others wait."""
        full = self.processes * self.kind.at_once
        until(
            lambda: self._waiting() > 0 and self.daemon.app("app")["busy"] >= full, what=f"{full} served, some waiting"
        )

    def _waiting(self) -> int:
        return int(self.daemon.app("app")["queue"])

    def frozen(self) -> list[str]:
        """Return who stands still."""
        return frozen(self.place)
