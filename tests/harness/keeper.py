"""The keeper alone, with the test in the manager's place."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TypeVar

from fcgipm import wire
from fcgipm.config.load import load
from fcgipm.keeper.loop import StartError, run
from harness.waiting import ended, readable, until

PUPPET = str(Path(__file__).with_name("puppet.py"))
SERVE = "import socket\ns = socket.socket(fileno=0)\nwhile True:\n    c, _ = s.accept()\n    c.recv(1)\n    c.close()\n"
"""A program that takes one connection after the other and holds each until its client sends a byte or goes."""

Message = TypeVar("Message")


def python(code: str, *arguments: str) -> str:
    """Return the TOML line that runs *code* as an application."""
    return f"command = {json.dumps([os.path.realpath(sys.executable), '-I', '-S', '-c', code, *arguments])}"


def listens_blocking(pid: int, path: str) -> list[bool]:
    """Return for each listener of *pid* that is bound to *path* whether it blocks."""
    inodes = {line.split()[6] for line in Path("/proc/net/unix").read_text().splitlines() if line.endswith(f" {path}")}
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(f"/proc/{pid}/fd/{name}") in {f"socket:[{inode}]" for inode in inodes}:
                flags = Path(f"/proc/{pid}/fdinfo/{name}").read_text().split("flags:")[1].split()[0]
                found.append(not int(flags, 8) & os.O_NONBLOCK)
    return found


class Puppet:
    """One manager: what the keeper tells it, and what it orders."""

    def __init__(self, connection: socket.socket, wire_socket: socket.socket, stderr: int) -> None:
        self._connection = connection
        self._stderr = stderr
        self.channel = wire.manager_end(wire_socket)
        self.pid = _peer(connection)
        self.heard = 0
        self.handed: dict[tuple[str, int | None], list[int]] = {}
        self._waiting: list[wire.Report] = []
        self.descriptors: dict[int, list[int]] = {}
        """Read ends of stdout and stderr by instance."""
        self.snapshot = self.expect(wire.Snapshot)
        self.expect(wire.Begun)

    def order(self, *orders: wire.Order) -> None:
        """Send orders."""
        for order in orders:
            self.channel.send(order)
            while self.channel.backlog:
                self._pump()

    def expect(self, kind: type[Message], *, within: float = 30, **fields: object) -> Message:
        """Return the next report of *kind* with these *fields*; others stay to be expected."""
        deadline = time.monotonic() + within
        while True:
            for report in self._waiting:
                if isinstance(report, kind) and all(getattr(report, name) == fields[name] for name in fields):
                    self._waiting.remove(report)
                    return report
            left = deadline - time.monotonic()
            assert left > 0, f"no {kind.__name__} {fields} within {within} s; there are {self._waiting}"
            readable(self.channel.fileno(), within=left)
            self._pump()

    def reports(self) -> list[wire.Report]:
        """Return what has come and nobody has expected."""
        self._pump()
        return list(self._waiting)

    def spawn(self, app: str, number: int, generation: int = 1) -> wire.Spawned:
        """Have an instance started and wait until it is ready."""
        self.order(wire.Spawn(instance=number, app=app, generation=generation))
        spawned = self.expect(wire.Spawned, instance=number)
        self.expect(wire.BecameReady, instance=number)
        return spawned

    def retire(self, number: int, *, cut: bool = False) -> wire.Removed:
        """Have an instance removed, as often as it takes, and wait for its end."""

        def attempt() -> wire.Removed | None:
            self.order(wire.Retire(instance=number, cut=cut))
            until(lambda: any(isinstance(one, wire.Removed | wire.RemovalRefused) for one in self.reports()))
            if any(isinstance(one, wire.Removed) for one in self.reports()):
                return self.expect(wire.Removed, instance=number)
            self.expect(wire.RemovalRefused, instance=number)
            return None

        removed = until(attempt)
        assert removed is not None
        self.expect(wire.Exited, instance=number)
        return removed

    def end(self, status: int) -> None:
        """Make the process end with *status*."""
        self._connection.sendall(bytes([status]))
        ended(self.pid)

    def say(self, text: str) -> None:
        """Write to the manager's standard error."""
        os.write(self._stderr, text.encode())

    def close(self) -> None:
        """Give up the wire; the process ends."""
        if self._connection.fileno() < 0:
            return
        self.channel.close()
        self._connection.close()
        os.close(self._stderr)
        for numbers in [*self.handed.values(), *self.descriptors.values()]:
            for number in numbers:
                os.close(number)
        self.handed.clear()
        self.descriptors.clear()

    def _pump(self) -> None:
        self.channel.flush()
        for report, descriptors in self.channel.receive():
            if isinstance(report, wire.Handed):
                self.handed[report.what, report.instance] = descriptors
            elif isinstance(report, wire.Spawned):
                self.descriptors[report.instance] = descriptors
            elif isinstance(report, wire.Connected):
                self.handed[report.app, report.generation] = descriptors
            if not isinstance(report, wire.Snapshot):
                self.heard += 1
            self._waiting.append(report)


def _peer(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[:4], sys.byteorder)


class Rig:
    """A keeper as a process; its managers come to `puppet`."""

    def __init__(self, directory: Path, apps: str, *, daemon: str = "", manager: str = PUPPET) -> None:
        self.directory = directory
        self.runtime = directory / "run"
        self.config = directory / "apps.toml"
        self.logfile = directory / "log"
        self._meeting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        (directory / "meet").unlink(missing_ok=True)  # of a keeper that was killed
        self._meeting.bind(str(directory / "meet"))
        (directory / "meet").chmod(0o666)
        self._meeting.listen()
        self._meeting.settimeout(20)
        self._puppets: list[Puppet] = []
        self.configure(apps, daemon=daemon)
        with self.logfile.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "harness.keeper", str(self.config), manager, str(directory / "meet")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": f"{Path(__file__).parents[1]}:{Path(__file__).parents[2]}"},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The keeper's."""
        return self.process.pid

    def configure(self, apps: str, *, daemon: str = "") -> None:
        """Write the configuration anew."""
        metrics = "" if "metrics-listen" in daemon else 'metrics-listen = ""'
        text = f'[fcgipm]\nruntime-dir = "{self.runtime}"\n{metrics}\n{daemon}\n{apps}\n'
        self.config.write_text(text)
        self.config.chmod(0o644)

    def puppet(self) -> Puppet:
        """Wait for the next manager."""
        try:
            connection, _ = self._meeting.accept()
        except TimeoutError:
            raise AssertionError(f"no manager came\n{self.log()}") from None
        _, (number, stderr), _, _ = socket.recv_fds(connection, 1, 2)
        puppet = Puppet(connection, socket.socket(fileno=number), stderr)
        self._puppets.append(puppet)
        return puppet

    def log(self) -> str:
        """Return what the keeper has logged."""
        return self.logfile.read_text(errors="replace")

    def logged(self, text: str, *, within: float = 30) -> None:
        """Wait until *text* is in the log."""
        try:
            until(lambda: text in self.log(), within=within, what=f"{text!r} in the log")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from error

    def socket(self, name: str) -> Path:
        """Return the public path of an application's socket."""
        return self.runtime / f"{name}.sock"

    def bound(self) -> list[str]:
        """Return the private names of the applications' sockets in the runtime directory."""
        own = {"connector.1", "control.1", "metrics.1", "report.1"}
        return sorted(set(os.listdir(self.runtime / "private")) - own)

    def switches(self) -> int:
        """Return how often the keeper has gone to sleep so far."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                return int(line.split()[1])
        raise AssertionError(f"no such line for {self.pid}")

    def resident(self) -> int:
        """Return the keeper's resident memory in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> int:
        """End the keeper, roughly if it must be, and return its exit status."""
        # Two of the same are one where it does not come to run in between, and then it would wait for its manager.
        for number in (signal.SIGTERM, signal.SIGINT):
            if self.process.poll() is None:
                self.process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(0.05)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the keeper did not end\n{self.log()}") from None
        finally:
            for puppet in self._puppets:
                puppet.close()
            self._meeting.close()


def main(arguments: list[str]) -> int:
    """Run the keeper for `Rig`."""
    file, manager, meeting = arguments
    environ: dict[str, Any] = dict(os.environ)
    loaded = load(file, environ=environ, euid=os.geteuid())
    argv = [sys.executable, manager, meeting] if manager.endswith(".py") else [manager]
    try:
        return run(loaded, report_start=_print, environ=environ, foreground=True, manager_argv=argv)
    except StartError as error:
        print(f"cannot start: {error}", flush=True)
        return 1


def _print(outcome: object) -> None:
    print(outcome, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
