"""What the daemon does on each signal."""

from __future__ import annotations

import signal
from collections.abc import Callable

from fcgipm import wire
from fcgipm.keeper.context import Context
from fcgipm.keeper.daemon.ending import Ending
from fcgipm.keeper.daemon.logfile import reopen_log


class Answers:
    """Answers signals; most of it is the manager's to decide, and one that it has missed is told to the next."""

    def __init__(
        self,
        context: Context,
        ending: Ending,
        *,
        reap: Callable[[], None],
        reloading: Callable[[], None],
        upgrade: Callable[[], None],
    ) -> None:
        """*reap* takes the ends of all children that have ended; *reloading* tells systemd what SIGHUP leads to."""
        self._context = context
        self._ending = ending
        self._reap = reap
        self._reloading = reloading
        self._upgrade = upgrade
        self._hung_up = False
        """Whether SIGHUP has come, and nothing was applied since."""

    def answer(self, number: int) -> None:
        """Do what the signal *number* asks for."""
        match number:
            case signal.SIGCHLD:
                self._reap()
                self._ending.look()
            case signal.SIGHUP:
                self._hung_up = True
                self._reloading()
                heard = self._context.reporter.report(wire.Signalled(name="HUP"))
                when = "" if heard else " when there is a manager again"
                self._context.say("info", f"signal HUP: the configuration is read again{when}")
            case signal.SIGUSR1:
                reopen_log(self._context)
                self._context.reporter.report(wire.Signalled(name="USR1"))
            case signal.SIGUSR2:
                self._context.say("info", "signal USR2: upgrade")
                self._upgrade()
            case _:
                self._ending.asked(signal.Signals(number).name)

    def applying(self) -> None:
        """The configuration is applied: what SIGHUP has asked for is done."""
        self._hung_up = False

    def untaken(self) -> list[int]:
        """Return the signals upon which nothing was done."""
        return [signal.SIGHUP] if self._hung_up else []

    def missed(self) -> list[wire.Signalled]:
        """Return what a new manager must be told again: the signal upon which nothing was done."""
        return [wire.Signalled(name="HUP")] if self._hung_up else []
