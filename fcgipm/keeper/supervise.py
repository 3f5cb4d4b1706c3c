"""The manager's process: started, given a snapshot, listened to, replaced."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fcgipm import wire
from fcgipm.config.schema import MILLISECOND, SECOND
from fcgipm.keeper.context import Context
from fcgipm.keeper.launch import Launched, launch
from fcgipm.keeper.reserve import Reserve
from fcgipm.linux import memory
from fcgipm.linux import pidfd as pidfds
from fcgipm.log import LineSplitter

PATIENCE: Final = 60 * SECOND
"""How long a report may be unheard."""
_PAUSES: Final = tuple(seconds * SECOND for seconds in (0, 1, 2, 4, 8, 16, 30))
_TURN: Final = 20 * MILLISECOND
"""How long orders may be carried out until others have their turn: one that meets a stubborn process takes 250 ms."""
_LONG_LIFE: Final = 60 * SECOND
"""A manager that lived so long is followed by another at once."""


_FAREWELL: Final = 2 * SECOND
"""How long a manager that has closed the wire may take to end."""


@dataclass(frozen=True, slots=True)
class Handover:
    """What a new manager is given before it begins."""

    snapshot: wire.Snapshot
    handed: Sequence[tuple[wire.Handed, tuple[int, ...]]]
    missed: Sequence[wire.Report] = ()
    """What no manager before has dealt with, told when it has begun."""


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
        self._child: Launched | None = None
        self._channel: wire.Channel[wire.Order] | None = None
        self._lines = LineSplitter()
        self._last_line = ""
        self._born = 0
        self._restarts = 0
        self._next_start: int | None = None
        self._kill_at: int | None = None
        self._sent = 0
        """Reports since the snapshot."""
        self._unheard: deque[tuple[int, int]] = deque()
        """Reports that were not heard: their number and when they were sent; one entry for many sent together."""
        self._is_fat = False
        """Whether a snapshot is being sent."""
        self._ending = False
        self._reading = True
        self._reserve = Reserve()
        self.deaf_since: int | None = time.monotonic_ns()
        """Since when there is no manager that has ordered anything; None while there is one."""
        self.ended_early: Callable[[str], None] = lambda _why: None
        """Called when a manager has ended that had not lived long."""

    @property
    def is_alive(self) -> bool:
        """Whether there is a manager's process, useful or not."""
        return self._child is not None

    @property
    def pid(self) -> int | None:
        """The manager's process."""
        return None if self._child is None else self._child.pid

    # ── starting ─────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Start a manager and give it what it needs."""
        with self._reserve.lent():
            self._start()

    def _start(self) -> None:
        self._next_start = None
        try:
            handover = self._handover()  # before there is a channel: what it settles is in the snapshot
            child = launch(self._argv, self._context.loaded.manager, self._context.nofile)
        except OSError as error:
            self._plan_next(f"the manager cannot be started: {error}")
            return
        self._child, self._born = child, time.monotonic_ns()
        self._channel = wire.keeper_end(child.wire)
        self._lines, self._last_line, self._reading = LineSplitter(), "", True
        self._unheard.clear()
        self._context.dispatch.watch(child.stderr, self._read_stderr)
        self._watch_wire()
        self._context.say("debug", f"the manager is started: pid {child.pid}")
        self.report(handover.snapshot)
        self._sent = 0  # they are counted after the snapshot
        self._unheard.clear()
        for message, descriptors in handover.handed:
            self.report(message, descriptors)
        self.report(wire.Begun())
        for report in handover.missed:
            self.report(report)
        self._is_fat = True
        self._flush()

    def _plan_next(self, why: str) -> None:
        """Decide when the next manager is started, and say so."""
        if self._ending:
            return
        now = time.monotonic_ns()
        pause = _PAUSES[min(self._restarts, len(_PAUSES) - 1)]
        self._restarts += 1
        self._next_start = now + pause
        when = f"in {pause // SECOND} s" if pause else "now"
        text = f"{why}; instances are not touched, another is started {when}"
        self._context.say("error" if pause else "warning", text)
        if self._restarts > 1:
            self.ended_early(why)

    def hurry(self) -> None:
        """Start the next manager now instead of after its pause: there is something to do."""
        if self._next_start is not None:
            self._next_start = time.monotonic_ns()

    def deadline(self) -> int | None:
        """Return when the next manager is due, or when the present one has not answered for too long."""
        if self._next_start is not None:
            return self._next_start
        if self._kill_at is not None:
            return self._kill_at
        return self._unheard[0][1] + PATIENCE if self._unheard else None

    def expire(self, now: int) -> None:
        """Start a manager, or replace the one that does not answer."""
        if self._next_start is not None and self._next_start <= now:
            self.start()
        elif self._kill_at is not None:
            self._kill_at = None
            self.kill()
        elif self._unheard:
            self.replace(f"it has not answered for {PATIENCE // SECOND} s")

    # ── the wire ─────────────────────────────────────────────────────────────────────────────────────────────────

    def report(self, message: wire.Report, descriptors: Sequence[int] = ()) -> bool:
        """See `context.Reporter.report`."""
        if self._channel is None:
            return False
        try:
            self._channel.send(message, descriptors)
        except (wire.WireError, OSError) as error:  # OSError: no descriptors left for copies
            self.replace(f"it cannot be told anything: {error}")
            return False
        self._sent += 1
        now = time.monotonic_ns()
        if self._unheard and now - self._unheard[-1][1] < SECOND:
            self._unheard[-1] = (self._sent, self._unheard[-1][1])
        else:
            self._unheard.append((self._sent, now))
        self._watch_wire()
        return True

    def hold(self, *, reading: bool) -> None:
        """Take orders (*reading*), or leave them in the wire until later."""
        if reading != self._reading:
            self._reading = reading
            self._watch_wire()

    def _watch_wire(self) -> None:
        """Watch the wire for what matters now: orders, and room where something waits to be sent."""
        if self._channel is None:
            return
        writing = self._channel.backlog > 0
        if self._reading or writing:
            call = self._serve_wire if self._reading else self._flush
            self._context.dispatch.watch(self._channel.fileno(), call, read=self._reading, write=writing)
        else:
            self._context.dispatch.forget(self._channel.fileno())

    def _flush(self) -> None:
        if self._channel is not None:
            try:
                self._channel.flush()
            except wire.WireError as error:
                self.replace(f"it cannot be told anything: {error}")
                return
            self._watch_wire()
            if self._is_fat and not self._channel.backlog:
                self._is_fat = False
                self._reserve.take()  # copies that waited to be sent may have been in its place
                memory.give_back()  # a snapshot of many applications is large, and rare

    def _serve_wire(self) -> None:
        self._flush()
        channel = self._channel
        if channel is None:
            return
        try:
            for order, descriptors in self._orders(channel):
                for descriptor in descriptors:
                    os.close(descriptor)  # nobody orders anything with descriptors
                if isinstance(order, wire.Heard):
                    self._heard(order.count)
                self.deaf_since = None
                self._obey(order)
        except wire.WireClosed:
            # It is about to end; how is worth knowing, so it gets the time for it.
            self._close_wire()
            self._kill_at = time.monotonic_ns() + _FAREWELL
        except wire.WireError as error:
            self.replace(f"it sent what is no order: {error}")

    def _orders(self, channel: wire.Channel[wire.Order]) -> Iterator[tuple[wire.Order, list[int]]]:
        """Yield what has come, one at a time: an order may end the reading, or the manager."""
        end = time.monotonic_ns() + _TURN
        while channel is self._channel and self._reading and time.monotonic_ns() < end:
            received = list(channel.receive(1))
            if not received:
                return
            yield from received

    def _heard(self, count: int) -> None:
        while self._unheard and self._unheard[0][0] <= count:
            self._unheard.popleft()

    # ── ending ───────────────────────────────────────────────────────────────────────────────────────────────────

    def replace(self, why: str) -> None:
        """Kill the manager, of which no more is expected; another one is started when it is reaped."""
        if self._child is None or self._channel is None:
            return
        if not self._ending and not pidfds.has_ended(self._child.pidfd):
            self._context.say("error", f"the manager (pid {self._child.pid}) is replaced: {why}")
        self._close_wire()
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
        self._child = self._kill_at = None
        # Here and nowhere else: a launch that fails is no long life, whenever the last birth was.
        if time.monotonic_ns() - self._born >= _LONG_LIFE:
            self._restarts = 0
        how = f"exit status {end.code}" if end.signal is None else f"signal {end.signal}"
        said = f" ({self._last_line})" if self._last_line else ""
        self._plan_next(f"the manager (pid {pid}) has ended: {how}{said}")
        return True

    def end(self) -> None:
        """Close the wire, by which the manager ends, and start no other."""
        self._ending = True
        self._next_start = None
        self._close_wire()
        self._reserve.end()

    def make_room(self) -> None:
        """Set nothing aside any more: from now on instances only end, and to look at them takes descriptors."""
        self._reserve.end()

    def kill(self) -> None:
        """Kill the manager that has not ended by itself."""
        if self._child is not None:
            pidfds.send(self._child.pidfd, signal.SIGKILL)

    def _close_wire(self) -> None:
        if self._channel is not None:
            self._context.dispatch.forget(self._channel.fileno())
            self._channel.close()
            self._channel = None
            self._unheard.clear()
            if self.deaf_since is None:
                self.deaf_since = time.monotonic_ns()

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
