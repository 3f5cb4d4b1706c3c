"""The end of the daemon: asked for, helped along, and at last enforced."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import Final

from fcgipm import wire
from fcgipm.config.schema import SECOND
from fcgipm.counting import counted
from fcgipm.keeper.context import Context
from fcgipm.keeper.daemon.emptying import Emptying
from fcgipm.keeper.instances.book import Book
from fcgipm.keeper.instances.cutting import cut_all
from fcgipm.keeper.instances.strays import Strays
from fcgipm.keeper.supervising.supervise import Supervisor

GRACE: Final = 15 * SECOND
"""What the manager has beyond the longest stop-timeout."""
ALONE: Final = 10 * SECOND
"""How long a manager is waited for, when there is none, before the keeper stops the applications by itself."""
_MANAGER: Final = 3 * SECOND
"""How long the manager may take to end after the wire was closed."""
_REAPING: Final = 5 * SECOND
"""How long processes may take to die after SIGKILL."""


class Stage(enum.Enum):
    """How far the end is; it never goes back."""

    SERVING = "serving"
    EMPTYING = "emptying"
    """The end is decided; the applications finish their requests."""
    CUTTING = "cutting"
    """The manager's wire is closed, and nothing may be left."""
    KILLING = "killing"
    """The manager was killed, too; only the kernel is waited for."""


class Ending:
    """From the first TERM to the last process.

    The manager is asked first: it empties the applications and orders the end.  Where none can be started, the keeper
    empties them as well as it can.  If that is not done in time, or somebody asks twice, the keeper cuts what still
    runs.  Who asks again after that does not want to wait for that either.
    """

    def __init__(
        self, context: Context, book: Book, strays: Strays, supervisor: Supervisor, emptying: Emptying
    ) -> None:
        self._context = context
        self._book = book
        self._strays = strays
        self._supervisor = supervisor
        self._emptying = emptying
        self._stage = Stage.SERVING
        self._asks = 0
        """How often somebody has sent a signal that asks for the end."""
        self.decided: int | None = None
        """The exit status with which the daemon is to end; None while it is not to."""
        self._decided_at = 0
        self._due: int | None = None
        self.announce: Callable[[int], None] = lambda _patience: None
        """Called when the end begins, and when it comes sooner, with the nanoseconds that it takes at most."""
        self.status = 0
        """The daemon's exit status."""

    def asked(self, signal_name: str) -> None:
        """Somebody has sent *signal_name*: end gracefully, or at once if that is asked for again."""
        self._asks += 1
        if self._asks > 2:
            self._context.say("warning", f"signal {signal_name} once more: what is still there is left behind")
            self._leave()
        elif self._asks == 2 or self._is_closing:
            self._context.say("warning", f"signal {signal_name} again: ending at once")
            self.begin(1)
            self._due = time.monotonic_ns()
        else:
            self.decide(0)
            self._context.say("info", f"signal {signal_name}: every application is stopped, then fcgipm ends")
            if not self._context.reporter.report(wire.Signalled(name="TERM")):
                self._supervisor.hurry()

    def decide(self, status: int) -> None:
        """Let the daemon end with *status* when the manager has emptied the applications; that may not take for ever.

        Over the death of the manager this is remembered here: the next one goes on with it.
        """
        if self._stage is Stage.SERVING:
            self._stage = Stage.EMPTYING
            self.decided = status
            self._context.keeping.changed()
            apps = self._context.loaded.config.applications.values()
            patience = max((app.stop_timeout for app in apps), default=0)
            self._decided_at = time.monotonic_ns()
            self._due = self._decided_at + patience + GRACE
            self._supervisor.make_room()
            self.announce(patience + GRACE + _MANAGER + _REAPING)

    def begin(self, status: int) -> None:
        """End now: cut what still runs, let the manager go, then end the loop with *status*."""
        if self._is_closing:
            return
        self._stage, self.status = Stage.CUTTING, status
        self.announce(_MANAGER + _REAPING)
        connections = cut_all(list(self._book), self._context.diag)
        for app in dict.fromkeys(instance.app for instance in self._book):
            number, lost = self._book.count(app), connections.get(app, 0)
            text = f"{counted(number, 'instance')} killed because fcgipm ends; {counted(lost, 'connection')} cut"
            self._context.say("warning", f"{app}: {text}", app=app)
        self._strays.kill_all()
        self._supervisor.end()
        self._due = time.monotonic_ns() + _MANAGER
        self.look()

    def look(self) -> None:
        """End the loop if nothing is left to wait for."""
        if self._is_closing and not len(self._book) and not self._supervisor.is_alive:
            self._context.dispatch.ended = True

    def deadline(self) -> int | None:
        """Return when waiting ends, or when something is to be done without a manager."""
        alone = self._alone_from()
        return self._due if self._due is None or alone is None else min(self._due, max(alone, self._emptying.due))

    def expire(self, now: int) -> None:
        """Stop waiting: for the manager's order, for its end, for the last processes."""
        match self._stage:
            case Stage.SERVING:
                pass  # nothing is due
            case Stage.EMPTYING if self._due is not None and now < self._due:
                self._empty()
            case Stage.EMPTYING:
                self._context.say("error", "the applications were not stopped in time; what still runs is killed")
                self.begin(1)
            case Stage.CUTTING:
                self._stage = Stage.KILLING
                self._supervisor.kill()
                self._due = now + _REAPING
            case Stage.KILLING:
                self._leave()

    @property
    def _is_closing(self) -> bool:
        return self._stage in (Stage.CUTTING, Stage.KILLING)

    def _alone_from(self) -> int | None:
        """Return from when on the keeper stops the applications by itself; None where a manager does, or none need."""
        since = self._supervisor.deaf_since
        if self._stage is not Stage.EMPTYING or since is None:
            return None
        return max(since, self._decided_at) + ALONE

    def _empty(self) -> None:
        assert self.decided is not None, "only then there is something due"
        if not self._emptying.has_begun:
            self._context.say("error", "there is no manager to stop the applications; the keeper does it by itself")
        self._emptying.step()
        if not len(self._book):
            self.begin(self.decided)

    def _leave(self) -> None:
        """End the loop, whatever is still there."""
        left = ", ".join(f"{instance.name} (pid {instance.pid})" for instance in self._book)
        if left:
            self._context.say("error", f"still there after SIGKILL, left behind: {left}")
        self._context.dispatch.ended = True
