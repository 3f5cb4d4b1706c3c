"""Signals as something that the loop can watch."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable
from typing import Final, Self

from fcgipm.keeper.dispatch import Dispatch

_SIGNALS: Final = (
    signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD,
)  # fmt: skip


class Signals:
    """Signals as numbers in a pipe that the loop watches; undone on leaving."""

    def __init__(self, dispatch: Dispatch, call: Callable[[int], None]) -> None:
        self._dispatch = dispatch
        self._call = call
        self._read, self._write = socket.socketpair()
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        self._read.setblocking(False)
        self._write.setblocking(False)
        self._dispatch.watch(self._read.fileno(), self._take)
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, lambda *_: None)
        signal.siginterrupt(signal.SIGCHLD, False)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]  # what signal.signal itself has returned
        signal.set_wakeup_fd(-1)
        self._dispatch.forget(self._read.fileno())
        self._read.close()
        self._write.close()

    def _take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            numbers = self._read.recv(4096)
            for number in sorted(set(numbers) - {signal.SIGCHLD}) if numbers else ():
                # A second TERM counts even if both came at once.
                for _ in range(numbers.count(number)):
                    self._call(number)
            if signal.SIGCHLD in numbers:
                self._call(signal.SIGCHLD)
