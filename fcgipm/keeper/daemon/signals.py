"""Signals as something that the loop can watch."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable
from typing import Final, Self

from fcgipm.keeper.dispatch import Dispatch

TAKEN: Final = (
    signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD,
)  # fmt: skip
"""What is handled."""
_LEFT: Final = frozenset({
    # nobody can change them
    signal.SIGKILL, signal.SIGSTOP,
    # our own faults: a core dump is worth more than going on
    signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS,
    # a person at a terminal who wants to stop us for a while
    signal.SIGTSTP, signal.SIGCONT,
})  # fmt: skip
_IGNORED: Final = tuple(sorted(signal.valid_signals() - _LEFT - set(TAKEN)))
"""All others mean nothing here; by default most would end the daemon, and leave its instances to nobody."""


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
        for number in TAKEN:
            self._before[number] = signal.signal(number, lambda *_: None)
        for number in _IGNORED:
            self._before[number] = signal.signal(number, signal.SIG_IGN)
        signal.siginterrupt(signal.SIGCHLD, False)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            if before is not None:  # else it was not Python's, and nobody can put it back
                signal.signal(number, before)  # type: ignore[arg-type]  # what signal.signal itself has returned
        signal.set_wakeup_fd(-1)
        self._dispatch.forget(self._read.fileno())
        self._read.close()
        self._write.close()

    def untaken(self) -> list[int]:
        """Return those that have come and were not dealt with, and forget them."""
        with contextlib.suppress(BlockingIOError):
            return sorted(set(self._read.recv(4096)))
        return []

    def _take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            numbers = self._read.recv(4096)
            # A second TERM counts even if both came at once; children are looked for in any case, and last.
            calls = [number for number in sorted(numbers) if number != signal.SIGCHLD] + [signal.SIGCHLD]
            with contextlib.ExitStack() as stack:
                for number in reversed(calls):
                    stack.callback(self._call, number)  # what one of them raises keeps no other from being called
