"""The manager's process: started, supervised, replaced, and at last ended."""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from fcgipm import wire
from fcgipm.config.schema import SECOND
from fcgipm.keeper.context import Context
from fcgipm.keeper.supervising.conversation import Calls, Conversation, Handover
from fcgipm.keeper.supervising.launch import Launched, launch
from fcgipm.keeper.supervising.reserve import Reserve
from fcgipm.linux import memory
from fcgipm.linux import pidfd as pidfds
from fcgipm.log import LineSplitter

PATIENCE: Final = 60 * SECOND
"""How long a report may be unheard."""
_PAUSES: Final = tuple(seconds * SECOND for seconds in (0, 1, 2, 4, 8, 16, 30))
_LONG_LIFE: Final = 60 * SECOND
"""A manager that lived so long is followed by another at once."""
_FAREWELL: Final = 2 * SECOND
"""How long a manager that has closed the wire may take to end."""


class Stage(enum.Enum):
    """What there is of a manager."""

    ABSENT = "absent"
    """Nothing; the next one is started when it is due."""
    TALKING = "talking"
    LEAVING = "leaving"
    """It has closed the wire; when its farewell is over it is killed."""
    KILLED = "killed"
    """Its end is waited for."""
    DISMISSED = "dismissed"
    """The daemon ends: the wire is closed, by which the manager ends, and no other follows."""


class Supervisor:
    """Keeps one manager running.  It is the `context.Reporter` of the keeper's other parts."""

    def __init__(
        self,
        context: Context,
        argv: Sequence[str],
        handover: Callable[[], Handover],
        obey: Callable[[wire.Order], None],
    ) -> None:
        self._context = context
        self._argv = argv
        self._handover = handover
        self._obey = obey
        self._stage = Stage.ABSENT
        self._due: int | None = None
        """When the stage is over by itself; that of `Stage.TALKING` depends on what is unheard."""
        self._child: Launched | None = None
        self._conversation: Conversation | None = None
        self._lines = LineSplitter()
        self._last_line = ""
        self._born = 0
        self._restarts = 0
        self._reserve = Reserve()
        self.deaf_since: int | None = time.monotonic_ns()
        """Since when there is no manager that has ordered anything; None while there is one."""
        self.ended_early: Callable[[str], None] = lambda _why: None
        """Called when a manager has ended that had not lived long."""
        self.attended: Callable[[], None] = lambda: None
        """Called when a manager begins to order, and none has done so before."""

    @property
    def is_alive(self) -> bool:
        """Whether there is a manager's process, useful or not."""
        return self._child is not None

    @property
    def pid(self) -> int | None:
        """The manager's process."""
        return None if self._child is None else self._child.pid

    # ── starting ─────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, child: Launched | None = None) -> None:
        """Start a manager, unless *child* is one that was started before, and give it what it needs."""
        with self._reserve.lent():
            self._start(child)

    def _start(self, child: Launched | None) -> None:
        self._due = None
        try:
            handover = self._handover()  # before there is a channel: what it settles is in the snapshot
            child = child or launch(self._argv, self._context.loaded.manager, self._context.nofile)
        except OSError as error:
            if child is not None:
                child.drop()
            self._plan_next(f"the manager cannot be started: {error}")
            return
        self._stage, self._child, self._born = Stage.TALKING, child, time.monotonic_ns()
        self._context.keeping.changed()
        self._lines, self._last_line = LineSplitter(), ""
        calls = Calls(obey=self._ordered, left=self._left, broken=self.replace)
        self._conversation = Conversation(self._context.dispatch, child.wire, calls)
        self._context.dispatch.watch(child.stderr, self._read_stderr)
        self._context.say("debug", f"the manager is started: pid {child.pid}")
        self._conversation.begin(handover, self._handed_over)

    def _handed_over(self) -> None:
        self._reserve.take()  # copies that waited to be sent may have been in its place
        memory.give_back()  # a snapshot of many applications is large, and rare

    def _plan_next(self, why: str) -> None:
        """Decide when the next manager is started, and say so."""
        if self._stage is Stage.DISMISSED:
            return
        now = time.monotonic_ns()
        pause = _PAUSES[min(self._restarts, len(_PAUSES) - 1)]
        self._restarts += 1
        self._stage, self._due = Stage.ABSENT, now + pause
        when = f"in {pause // SECOND} s" if pause else "now"
        text = f"{why}; instances are not touched, another is started {when}"
        self._context.say("error" if pause else "warning", text)
        if self._restarts > 1:
            self.ended_early(why)

    def hurry(self) -> None:
        """Start the next manager now instead of after its pause: there is something to do."""
        if self._stage is Stage.ABSENT and self._due is not None:
            self._due = time.monotonic_ns()

    def deadline(self) -> int | None:
        """Return when the next manager is due, or when the present one has not answered for too long."""
        if self._conversation is None:
            return self._due
        since = self._conversation.unheard_since
        return None if since is None else since + PATIENCE

    def expire(self, now: int) -> None:
        """Start a manager, or replace the one that does not answer, or kill the one that does not end."""
        match self._stage:
            case Stage.ABSENT:
                if self._due is not None and self._due <= now:
                    self.start()
            case Stage.TALKING:
                self.replace(f"it has not answered for {PATIENCE // SECOND} s")
            case Stage.LEAVING:
                self._stage, self._due = Stage.KILLED, None
                self.kill()
            case Stage.KILLED:
                pass  # nothing is due
            case Stage.DISMISSED:
                self._due = None
                self.kill()

    # ── talking ──────────────────────────────────────────────────────────────────────────────────────────────────

    def report(self, message: wire.Report, descriptors: Sequence[int] = ()) -> bool:
        """See `context.Reporter.report`."""
        return self._conversation is not None and self._conversation.report(message, descriptors)

    def hold(self, *, reading: bool) -> None:
        """Take orders (*reading*), or leave them in the wire until later."""
        if self._conversation is not None:
            self._conversation.hold(reading=reading)

    def _ordered(self, order: wire.Order) -> None:
        if order != wire.Heard(count=0) and self.deaf_since is not None:  # that it says before it can do anything
            self.deaf_since = None
            self.attended()
        self._obey(order)

    def _left(self) -> None:
        # It is about to end; how is worth knowing, so it gets the time for it.
        self._close_wire()
        self._stage, self._due = Stage.LEAVING, time.monotonic_ns() + _FAREWELL

    def _close_wire(self) -> None:
        if self._conversation is not None:
            self._conversation.close()
            self._conversation = None
            if self.deaf_since is None:
                self.deaf_since = time.monotonic_ns()

    # ── ending ───────────────────────────────────────────────────────────────────────────────────────────────────

    def replace(self, why: str) -> None:
        """Kill the manager, of which no more is expected; another one is started when it is reaped."""
        if self._child is None or self._stage is not Stage.TALKING:
            return
        if not pidfds.has_ended(self._child.pidfd):
            self._context.say("error", f"the manager (pid {self._child.pid}) is replaced: {why}")
        self._close_wire()
        self._stage = Stage.KILLED
        pidfds.send(self._child.pidfd, signal.SIGKILL)

    def ended(self, pid: int) -> bool:
        """Reap the manager if it was *pid*; return whether it was."""
        child = self._child
        if child is None or child.pid != pid:
            return False
        self._close_wire()
        self._read_stderr()
        for line in self._lines.end():
            self._say(line)
        end = pidfds.reap(child.pidfd, block=True)
        assert end is not None, "a child that has ended"
        self._context.dispatch.forget(child.stderr)
        os.close(child.stderr)
        os.close(child.pidfd)
        self._child = self._due = None
        # Here and nowhere else: a launch that fails is no long life, whenever the last birth was.
        if time.monotonic_ns() - self._born >= _LONG_LIFE:
            self._restarts = 0
        how = f"exit status {end.code}" if end.signal is None else f"signal {end.signal}"
        said = f" ({self._last_line})" if self._last_line else ""
        self._plan_next(f"the manager (pid {pid}) has ended: {how}{said}")
        return True

    def end(self) -> None:
        """Close the wire, by which the manager ends, and start no other."""
        if self._stage is Stage.ABSENT:
            self._due = None  # else it is the farewell, which goes on
        self._stage = Stage.DISMISSED
        self._close_wire()
        self._reserve.end()

    def make_room(self) -> None:
        """Set nothing aside any more: from now on instances only end, and to look at them takes descriptors."""
        self._reserve.end()

    def kill(self) -> None:
        """Kill the manager that has not ended by itself."""
        if self._child is not None:
            pidfds.send(self._child.pidfd, signal.SIGKILL)

    def _read_stderr(self) -> None:
        if self._child is None:
            return
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._child.stderr, 64 * 1024)
            if not data:
                self._context.dispatch.forget(self._child.stderr)
            for line in self._lines.feed(data):
                self._say(line)

    def _say(self, line: str) -> None:
        """Log what the manager wrote to its standard error: it has no other use for it than to complain."""
        if line.strip():
            self._last_line = line.strip()
            self._context.say("error", f"manager: {line}")
