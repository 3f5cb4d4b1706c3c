"""systemd's part, played for one service: it is told, keeps descriptors, and gives them to the next process."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.daemon import FCGIPM, Daemon
from harness.waiting import until

_MOST: Final = 253
"""Descriptors of one message."""
_LAUNCHER: Final = """
import fcntl, json, os, socket, sys
meeting = socket.socket(socket.AF_UNIX)
meeting.connect(sys.argv[1])
data, numbers, _, _ = socket.recv_fds(meeting, 1 << 20, 253)
meeting.close()
for target, number in enumerate([fcntl.fcntl(number, fcntl.F_DUPFD, 600) for number in numbers], 3):
    os.dup2(number, target)
os.environ.update(json.loads(data))
if numbers:
    os.environ["LISTEN_PID"] = str(os.getpid())
os.closerange(3 + len(numbers), 1000)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass
class Systemd:
    """The service manager of one service, from a thread; see the fixture ``systemd``.

    *room* is FileDescriptorStoreMax=; *given* are sockets that it has opened itself, by name.
    """

    directory: Path
    start_daemon: Callable[..., Daemon]
    room: int = 512
    given: dict[str, socket.socket] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    """More that the service is given."""
    messages: list[dict[str, str]] = field(default_factory=list)
    """What it was told, as fields."""
    stored: list[tuple[str, int]] = field(default_factory=list)
    """What it keeps: names and descriptors."""

    def __post_init__(self) -> None:
        self._faults: list[str] = []
        self._over = threading.Event()
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(self.directory / "notify"))
        self._launch = socket.socket(socket.AF_UNIX)
        self._launch.bind(str(self.directory / "launch"))
        self._launch.listen()
        self._threads = [threading.Thread(target=call, daemon=True) for call in (self._listen, self._serve)]
        for thread in self._threads:
            thread.start()

    def start(self, apps: str, **more: Any) -> Daemon:
        """Start fcgipm as a service (see ``start_daemon``), with all that is stored and given."""
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(self.directory / "launch"), FCGIPM]
        return self.start_daemon(apps, program=launcher, environ={"PATH": "/usr/bin:/bin"}, **more)

    def again(self, daemon: Daemon, apps: str, **more: Any) -> Daemon:
        """Start the service again where *daemon* was."""
        return self.start(apps, directory=daemon.directory, **more)

    def names(self) -> list[str]:
        """Return the names of what is stored."""
        return sorted(name for name, _ in self.stored)

    def told(self, field_name: str) -> list[str]:
        """Return all values of one field, in order."""
        return [message[field_name] for message in list(self.messages) if field_name in message]

    def wait_stored(self, *names: str) -> None:
        """Wait until exactly *names* are stored."""
        until(lambda: self.names() == sorted(names), what=f"stored are {names}, not {self.names()}")

    def forget(self) -> None:
        """Close all that is stored, as after `systemctl stop`."""
        while self.stored:
            os.close(self.stored.pop()[1])

    def close(self) -> None:
        """End it; raise AssertionError where it was told what systemd would not have understood."""
        self._over.set()
        for name, kind in (("notify", socket.SOCK_DGRAM), ("launch", socket.SOCK_STREAM)):
            with socket.socket(socket.AF_UNIX, kind) as end:
                end.connect(str(self.directory / name))
                if name == "notify":
                    end.send(b"END=1")
        for thread in self._threads:
            thread.join(10)
        self.forget()
        for sock in (self._notify, self._launch, *self.given.values()):
            sock.close()
        assert not self._faults, self._faults

    # ── the threads ──────────────────────────────────────────────────────────────────────────────────────────────

    def _listen(self) -> None:
        while True:
            data, numbers, _, _ = socket.recv_fds(self._notify, 8192, _MOST)
            message = dict(line.split("=", 1) for line in data.decode().splitlines())
            if "END" in message:
                return
            self._take(message, numbers)
            self.messages.append(message)

    def _take(self, message: Mapping[str, str], numbers: Sequence[int]) -> None:
        name = message.get("FDNAME", "stored")
        if ":" in name or not name.isascii() or not name.isprintable() or len(name) > 255:
            self._faults.append(f"no name for a descriptor: {name!r}")
        if "FDSTOREREMOVE" in message:
            gone = [one for one in self.stored if one[0] == name]
            if not gone:
                self._faults.append(f"{name} is not stored")
            self.stored = [one for one in self.stored if one[0] != name]
            for _, number in gone:
                os.close(number)
        elif "FDSTORE" in message:
            for number in numbers:
                self._store(name, number)
        else:
            for number in numbers:
                os.close(number)

    def _store(self, name: str, number: int) -> None:
        known = any(os.path.samestat(os.fstat(number), os.fstat(other)) for _, other in self.stored)
        if known or len(self.stored) >= self.room:
            if not known:
                self._faults.append(f"there is no room for {name}")
            os.close(number)
        else:
            self.stored.append((name, number))

    def _serve(self) -> None:
        while True:
            meeting, _ = self._launch.accept()
            with meeting, contextlib.suppress(OSError):
                passed = [(name, sock.fileno()) for name, sock in self.given.items()] + list(self.stored)
                variables = {"NOTIFY_SOCKET": str(self.directory / "notify"), **self.variables}
                if self.room:
                    variables["FDSTORE"] = str(self.room)
                if passed:
                    variables["LISTEN_FDS"] = str(len(passed))
                    variables["LISTEN_FDNAMES"] = ":".join(name for name, _ in passed)
                socket.send_fds(meeting, [json.dumps(variables).encode()], [number for _, number in passed])
            if self._over.is_set():
                return
