"""Others who run FastCGI applications, each with three instances, and what they can do with them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos.kinds import Kind, kind_of
from harness.components import SEARCH
from harness.leftovers import descendants, end_all, parent_and_start
from harness.waiting import ended, until

INSTANCES = 3


class Missing(Exception):
    """Something is not installed."""


def tool(name: str) -> str:
    """Return the path of a program; raises `Missing`."""
    found = sorted(path for folder in SEARCH.split(os.pathsep) for path in Path(folder or ".").glob(name))
    if not found:
        raise Missing(f"{name} is not installed")
    return str(found[0])


@dataclass
class Peer:
    """A peer at work."""

    name: str
    place: Path
    kind: Kind
    command: Sequence[str]
    workers: Callable[[], list[int]]
    """Its instances now, whoever is their parent."""
    operations: dict[str, Callable[[], object]] = field(default_factory=dict)
    """What it has instead of a restart without loss; each returns when it is done."""

    @property
    def address(self) -> str:
        """Where its application is asked."""
        return str(self.place / "peer.sock")

    def start(self) -> None:
        """Start it, and wait until it has its instances."""
        with (self.place / "peer.out").open("ab") as out:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.place
            )
        until(self._at_work, within=20, what=f"{self.name} at work")

    def _at_work(self) -> bool:
        family = {pid for pid, _ in descendants(self.process.pid)}
        assert family, f"{self.name} has ended"
        return len(family & set(self.workers())) >= INSTANCES and self._listens()

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(self.address)
            return True
        return False

    def kill(self) -> None:
        """Kill it, not its instances."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """End it and whatever it has left."""
        if self.process.poll() is None:
            family = [pid for pid, _ in descendants(self.process.pid)]
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            end_all(dict.fromkeys(family, self.name))
            self.process.wait()
        end_all(dict.fromkeys(self.workers(), self.name))

    def wait_others(self, before: list[int]) -> None:
        """Wait until none of the instances *before* is there, and as many others."""
        until(
            lambda: len(self.workers()) >= INSTANCES and not set(before) & set(self.workers()), within=60, what="others"
        )


def running(place: Path) -> list[int]:
    """Return the processes that run a program of *place* as it is, with no session of their own."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and Path(f"/proc/{name}/cmdline").read_bytes().startswith(f"{place}/plain".encode()):
                found += [int(name)] if parent_and_start(int(name)) else []
    return sorted(found)


@contextlib.contextmanager
def supervisor(place: Path) -> Iterator[Peer]:
    """Run supervisor's [fcgi-program]."""
    kind, config, control = kind_of("mortal", place), place / "supervisor.conf", place / "supervisor.sock"
    config.write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={place}/supervisor.log\npidfile={place}/supervisor.pid\n"
        f"identifier=chaos\n{'user=root' if os.geteuid() == 0 else ''}\n"
        f"[unix_http_server]\nfile={control}\n[supervisorctl]\nserverurl=unix://{control}\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        f"[fcgi-program:app]\ncommand={' '.join(kind.command)}\nprocess_name=%(process_num)d\nnumprocs={INSTANCES}\n"
        f"socket=unix://{place}/peer.sock\nsocket_mode=0666\nsocket_backlog=511\nstartsecs=0\nautorestart=true\n"
        "stdout_logfile=NONE\nstderr_logfile=NONE\n"
    )
    control_program = [tool("supervisorctl"), "-c", str(config)]

    def restart() -> None:
        before = peer.workers()
        subprocess.run([*control_program, "restart", "app:*"], check=True, stdout=subprocess.DEVNULL)
        peer.wait_others(before)

    def reload() -> None:
        before = peer.workers()
        peer.process.send_signal(signal.SIGHUP)
        peer.wait_others(before)

    command = [tool("supervisord"), "-c", str(config)]
    peer = Peer("supervisor", place, kind, command, lambda: running(place))
    peer.operations = {"restart (supervisorctl)": restart, "reload (HUP)": reload}
    yield from _run(peer)


@contextlib.contextmanager
def php_fpm(place: Path, patience: int) -> Iterator[Peer]:
    """Run php-fpm with *patience* seconds of process_control_timeout (0 is the default)."""
    kind, config, program = kind_of("php", place), place / "fpm.conf", tool("php-fpm*")
    config.write_text(
        f"[global]\nerror_log = {place}/fpm.log\ndaemonize = no\nprocess_control_timeout = {patience}\n"
        f"[app]\nlisten = {place}/peer.sock\nlisten.mode = 0666\nlisten.backlog = 511\npm = static\n"
        f"pm.max_children = {INSTANCES}\nenv[VERSION] = 1\n"
        + ("user = www-data\ngroup = www-data\n" if os.geteuid() == 0 else "")
    )

    def workers() -> list[int]:
        title = b"php-fpm: pool app"
        mine = []
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if name.isdigit() and Path(f"/proc/{name}/cmdline").read_bytes().startswith(title):
                    # the working directory is inherited: it tells whose they are, also when the master is dead
                    mine += [int(name)] if os.readlink(f"/proc/{name}/cwd") == str(place) else []
        return sorted(mine)

    def reload() -> None:
        before = peer.workers()
        peer.process.send_signal(signal.SIGUSR2)
        peer.wait_others(before)

    name = f"php-fpm, process_control_timeout = {patience}"
    peer = Peer(name, place, kind, [program, "-n", "-F", "-y", str(config)], workers)
    peer.operations = {"reload (USR2)": reload}
    yield from _run(peer)


@contextlib.contextmanager
def multiwatch(place: Path) -> Iterator[Peer]:
    """Run multiwatch below spawn-fcgi; by default it gives up after the third end within a minute."""
    kind = kind_of("mortal", place)
    command = [
        tool("spawn-fcgi"), "-n", "-s", f"{place}/peer.sock", "-M", "0666", "-b", "511", "--",
        tool("multiwatch"), "-f", str(INSTANCES), "--retry=1000", "--", *kind.command,
    ]  # fmt: skip

    yield from _run(Peer("spawn-fcgi and multiwatch", place, kind, command, lambda: running(place)))


def _run(peer: Peer) -> Iterator[Peer]:
    peer.start()
    try:
        yield peer
    finally:
        peer.end()
        ended(peer.process.pid)


PEERS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Peer]]] = {
    "supervisor": supervisor,
    "php-fpm": lambda place: php_fpm(place, 0),
    "php-fpm patient": lambda place: php_fpm(place, 10),
    "multiwatch": multiwatch,
}
