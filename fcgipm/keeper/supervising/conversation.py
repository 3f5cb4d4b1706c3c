"""The conversation with one manager over its wire: reports, counted until they are heard, and orders."""

from __future__ import annotations

import enum
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fcgipm import wire
from fcgipm.config.schema import MILLISECOND, SECOND
from fcgipm.keeper.dispatch import Dispatch

_TURN: Final = 20 * MILLISECOND
"""How long orders may be carried out until others have their turn: one that meets a stubborn process takes 250 ms."""


@dataclass(frozen=True, slots=True)
class Handover:
    """What a new manager is given before it begins."""

    snapshot: wire.Snapshot
    handed: Sequence[tuple[wire.Handed, tuple[int, ...]]]
    missed: Sequence[wire.Report] = ()
    """What no manager before has dealt with, told when it has begun."""


class Stage(enum.Enum):
    """Whether the manager is listened to."""

    LISTENING = "listening"
    HOLDING = "holding"
    """Its orders stay in the wire until later; it is told everything all the same."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Calls:
    """What the conversation calls."""

    obey: Callable[[wire.Order], None]
    left: Callable[[], None]
    """The manager has closed the wire."""
    broken: Callable[[str], None]
    """The conversation cannot go on, and why; whoever is called closes it."""


class Conversation:
    """What is said between the keeper and one manager, until the wire is closed."""

    def __init__(self, dispatch: Dispatch, sock: socket.socket, calls: Calls) -> None:
        self._dispatch = dispatch
        self._calls = calls
        self._channel = wire.keeper_end(sock)
        self._stage = Stage.LISTENING
        self._sent = 0
        """Reports since the snapshot."""
        self._unheard: deque[tuple[int, int]] = deque()
        """Reports that were not heard: their number and when they were sent; one entry for many sent together."""
        self._delivered: Callable[[], None] | None = None
        """To be called when the handover has been sent; None when it was."""

    @property
    def unheard_since(self) -> int | None:
        """When the oldest report was sent that was not heard; None while there is none."""
        return self._unheard[0][1] if self._unheard else None

    def begin(self, handover: Handover, delivered: Callable[[], None]) -> None:
        """Tell everything that a new manager needs; *delivered* is called when nothing of it waits to be sent."""
        self.report(handover.snapshot)
        self._sent = 0  # they are counted after the snapshot
        self._unheard.clear()
        for message, descriptors in handover.handed:
            self.report(message, descriptors)
        self.report(wire.Begun())
        for report in handover.missed:
            self.report(report)
        self._delivered = delivered
        self._flush()

    def report(self, message: wire.Report, descriptors: Sequence[int] = ()) -> bool:
        """See `context.Reporter.report`."""
        if self._stage is Stage.CLOSED:
            return False
        try:
            self._channel.send(message, descriptors)
        except (wire.WireError, OSError) as error:  # OSError: no descriptors left for copies
            self._calls.broken(f"it cannot be told anything: {error}")
            return False
        self._sent += 1
        now = time.monotonic_ns()
        if self._unheard and now - self._unheard[-1][1] < SECOND:
            self._unheard[-1] = (self._sent, self._unheard[-1][1])
        else:
            self._unheard.append((self._sent, now))
        self._watch()
        return True

    def hold(self, *, reading: bool) -> None:
        """Take orders (*reading*), or leave them in the wire until later."""
        stage = Stage.LISTENING if reading else Stage.HOLDING
        if self._stage not in (stage, Stage.CLOSED):
            self._stage = stage
            self._watch()

    def close(self) -> None:
        """Close the wire, by which the manager ends."""
        if self._stage is not Stage.CLOSED:
            self._stage = Stage.CLOSED
            self._dispatch.forget(self._channel.fileno())
            self._channel.close()
            self._unheard.clear()

    def _watch(self) -> None:
        """Watch the wire for what matters now: orders, and room where something waits to be sent."""
        reading, writing = self._stage is Stage.LISTENING, self._channel.backlog > 0
        if reading or writing:
            call = self._serve if reading else self._flush
            self._dispatch.watch(self._channel.fileno(), call, read=reading, write=writing)
        else:
            self._dispatch.forget(self._channel.fileno())

    def _flush(self) -> None:
        if self._stage is Stage.CLOSED:
            return
        try:
            self._channel.flush()
        except wire.WireError as error:
            self._calls.broken(f"it cannot be told anything: {error}")
            return
        self._watch()
        if self._delivered is not None and not self._channel.backlog:
            delivered, self._delivered = self._delivered, None
            delivered()

    def _serve(self) -> None:
        self._flush()
        try:
            for order, descriptors in self._orders():
                for descriptor in descriptors:
                    os.close(descriptor)  # nobody orders anything with descriptors
                if isinstance(order, wire.Heard):
                    self._heard(order.count)
                self._calls.obey(order)
        except wire.WireClosed:
            self._calls.left()
        except wire.WireError as error:
            self._calls.broken(f"it sent what is no order: {error}")

    def _orders(self) -> Iterator[tuple[wire.Order, list[int]]]:
        """Yield what has come, one at a time: an order may end the reading, or the manager."""
        end = time.monotonic_ns() + _TURN
        while self._stage is Stage.LISTENING and time.monotonic_ns() < end:
            received = list(self._channel.receive(1))
            if not received:
                return
            yield from received

    def _heard(self, count: int) -> None:
        while self._unheard and self._unheard[0][0] <= count:
            self._unheard.popleft()
