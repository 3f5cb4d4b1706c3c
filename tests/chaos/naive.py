"""A supervisor as one writes it in an afternoon, to prove that the proofs notice what it loses.

``naive.py SOCKET COUNT COMMAND…`` runs COUNT instances on SOCKET, whose command may name variables (NAME=VALUE) first.
It has no other way to remove an instance than to ask it and then to kill it, and no other way to a new socket than to
bind one where the old one was. It does on

    USR1  what it calls a rolling restart: one after another is ended and started, on the same socket
    HUP   what it calls a reload: all end, the socket is closed and bound anew, all are started
    USR2  what it calls an upgrade: it executes itself, with nothing that it had
    TERM  its end
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import FrameType

PATIENCE = 0.1
"""Seconds until who was asked to end is killed."""


class Supervisor:
    """Its whole state."""

    def __init__(self, path: str, count: int, command: list[str]) -> None:
        self.path, self.count = path, count
        variables = list(itertools.takewhile(lambda word: "=" in word, command))
        self.environment = dict(word.split("=", 1) for word in variables)
        self.command = command[len(variables) :]
        self.orders: list[int] = []
        for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._ordered)
        self.listener = self._bound()
        self.instances: list[subprocess.Popen[bytes]] = []

    def _ordered(self, number: int, _: FrameType | None) -> None:
        self.orders.append(number)

    def _bound(self) -> socket.socket:
        with contextlib.suppress(FileNotFoundError):
            Path(self.path).unlink()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        Path(self.path).chmod(0o666)
        listener.listen(511)
        return listener

    def start(self) -> None:
        """Start as many as are missing."""
        while len(self.instances) < self.count:
            self.instances.append(
                subprocess.Popen(
                    self.command,
                    stdin=self.listener.fileno(),
                    env=self.environment,
                    start_new_session=True,
                    preexec_fn=end_with_me,
                )
            )

    def end(self, instance: subprocess.Popen[bytes]) -> None:
        """End one instance, whatever it does."""
        instance.terminate()
        try:
            instance.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(instance.pid, signal.SIGKILL)
            instance.wait()
        self.instances.remove(instance)

    def obey(self, number: int) -> None:
        """Do what a signal asks for."""
        if number == signal.SIGUSR1:
            for instance in list(self.instances):
                self.end(instance)
                self.start()
            return
        for instance in list(self.instances):
            self.end(instance)
        self.listener.close()
        if number == signal.SIGTERM:
            Path(self.path).unlink()
            sys.exit(0)
        if number == signal.SIGUSR2:
            os.execv(sys.executable, [sys.executable, *sys.argv])
        self.listener = self._bound()
        self.start()

    def run(self) -> None:
        """Supervise."""
        while True:
            while self.orders:
                self.obey(self.orders.pop(0))
            self.instances = [instance for instance in self.instances if instance.poll() is None]
            self.start()
            select.select([], [], [], 0.02)  # polling: nobody said that it is good


def end_with_me() -> None:
    """Have this child killed when its parent ends, if the supervisor was told so by END_WITH_ME: as some do."""
    if os.environ.get("END_WITH_ME"):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    Supervisor(sys.argv[1], int(sys.argv[2]), sys.argv[3:]).run()
