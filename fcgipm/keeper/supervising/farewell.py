"""The end of the manager that an upgrade has left without its keeper."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Final

from fcgipm.config.schema import SECOND
from fcgipm.keeper.instances import session
from fcgipm.linux import pidfd as pidfds

if TYPE_CHECKING:
    from fcgipm.keeper.context import Context
    from fcgipm.keeper.keeping.state import KeptProcess

_PATIENCE: Final = 2 * SECOND
"""How long it may take to see that its wire is closed."""


class Farewell:
    """Kills the manager of the program before if it does not end: it has shares of all sockets, and nobody's orders."""

    def __init__(self, context: Context, manager: KeptProcess | None) -> None:
        """*manager* is a child of this process, which has left it behind in another program; None: there was none."""
        self._context = context
        self._pid = 0 if manager is None else manager.pid
        self._pidfd = None if manager is None else _held(manager)
        self._due = None if self._pidfd is None else time.monotonic_ns() + _PATIENCE

    def deadline(self) -> int | None:
        """Return when it must have ended."""
        return self._due

    def expire(self, now: int) -> None:  # noqa: ARG002  whenever that is
        """Kill it, unless it has ended."""
        if self._pidfd is not None and not pidfds.has_ended(self._pidfd):
            text = f"the manager of before the upgrade (pid {self._pid}) does not end; it is killed"
            self._context.say("warning", text)
            pidfds.send(self._pidfd, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Wait for it no more."""
        if self._pidfd is not None:
            os.close(self._pidfd)
        self._pidfd = self._due = None


def _held(manager: KeptProcess) -> int | None:
    """Return a descriptor of the process *manager*; None where it has ended."""
    with contextlib.suppress(OSError):
        process = session.hold_started(manager.pid, manager.start_time)
        return None if process is None else process.pidfd
    return None
