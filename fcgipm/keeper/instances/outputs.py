"""The instances' output while the manager does not read it.

The keeper has the read ends too.  It looks at a pipe only after something came (a one-shot watch), and only a second
later.  A nearly full pipe that seems not to be read may be one into which a flood is written as fast as it is read: so
the manager is asked, by an empty report.  If it does not hear that in time it reads no pipes either, and then the
keeper drains the pipe, so that the application is not blocked, and counts what it threw away, until the manager hears.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import time
from dataclasses import dataclass
from functools import partial
from typing import Final

from fcgipm import wire
from fcgipm.config.schema import MILLISECOND, SECOND
from fcgipm.keeper.context import Context
from fcgipm.keeper.instances.book import Instance

PATIENCE: Final = 5 * SECOND
"""How long data may lie unread."""
_FIRST_LOOK: Final = 1 * SECOND
"""After something came."""
_HEARING: Final = PATIENCE - _FIRST_LOOK
"""How long the manager may take to hear a question."""
_INTERVAL: Final = 20 * MILLISECOND
"""Between the looks that make sure that nobody reads."""
_LOOKS: Final = 4
_DRAIN: Final = 100 * MILLISECOND
"""Between two drains of a pipe that nobody reads."""


@dataclass(slots=True)
class _Pipe:
    descriptor: int
    capacity: int
    due: int = 0
    """When to look, once something has come."""
    lying: int = 0
    """How many bytes lay there at the last look."""
    looks: int = 0
    """How often in a row that number was the same, and large."""


@dataclass(slots=True)
class _Output:
    instance: int
    app: str
    pipes: tuple[_Pipe, ...]
    drained: int = 0
    """Bytes thrown away and not reported."""


class Outputs:
    """The pipes of all instances."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._all: dict[int, _Output] = {}
        self._due: dict[int, tuple[_Output, _Pipe]] = {}
        """By descriptor: the pipes that have something to look at; most have not."""
        self._draining: dict[int, _Output] = {}
        """Those that nobody reads, as far as is known."""
        self._asked_at: int | None = None
        """When the manager was asked whether it hears, if it has not answered."""

    def add(self, instance: Instance) -> None:
        """Watch the pipes of *instance*."""
        pipes = tuple(_Pipe(number, _capacity(number)) for number in (instance.stdout, instance.stderr))
        output = self._all[instance.number] = _Output(instance.number, instance.app, pipes)
        for pipe in output.pipes:
            self._wait(output, pipe)

    def remove(self, instance: Instance) -> None:
        """Watch them no more; to be called before they are closed."""
        output = self._all.pop(instance.number, None)
        self._draining.pop(instance.number, None)
        if output is not None:
            for pipe in output.pipes:
                self._context.dispatch.forget(pipe.descriptor)
                self._due.pop(pipe.descriptor, None)

    def heard(self) -> None:
        """The manager hears, and so it reads: tell what was thrown away."""
        self._asked_at = None
        for output in self._draining.values():
            self._tell(output)
        self._draining.clear()

    def deadline(self) -> int | None:
        """Return when the next pipe is to be looked at."""
        return min((pipe.due for _, pipe in self._due.values()), default=None)

    def expire(self, now: int) -> None:
        """Look at the pipes that are due."""
        for output, pipe in list(self._due.values()):
            if pipe.due <= now:
                self._look(output, pipe, now)

    def _wait(self, output: _Output, pipe: _Pipe) -> None:
        """Sleep until something comes."""
        self._due.pop(pipe.descriptor, None)
        pipe.looks = 0
        self._context.dispatch.watch(pipe.descriptor, partial(self._came, output, pipe), once=True)

    def _came(self, output: _Output, pipe: _Pipe) -> None:
        """Look at it soon: there is something in it."""
        pipe.due = time.monotonic_ns() + _FIRST_LOOK
        self._due[pipe.descriptor] = output, pipe

    def _look(self, output: _Output, pipe: _Pipe, now: int) -> None:
        lying = _lying(pipe.descriptor)
        if not lying:
            if _is_ended(pipe.descriptor):
                del self._due[pipe.descriptor]  # the instance has closed it: there will never be anything to see
            else:
                self._wait(output, pipe)
        elif output.instance in self._draining:
            self._drain(output, pipe)
            pipe.due = now + _DRAIN
        elif lying < pipe.capacity // 2:
            # Half full: a pipe takes no more once its pages are used, which small writes do not fill.
            pipe.due, pipe.looks = now + PATIENCE, 0
        elif lying != pipe.lying or pipe.looks < _LOOKS:
            pipe.looks = pipe.looks + 1 if lying == pipe.lying else 1
            pipe.due = now + _INTERVAL
        elif (hears_until := self._ask(output, now)) > now:
            pipe.due, pipe.looks = hears_until, 0
        else:
            self._draining[output.instance] = output
            text = f"the output of {output.app}/{output.instance} is not read; it is thrown away until it is"
            self._context.say("warning", text, app=output.app)
            self._drain(output, pipe)
            self._tell(output)
            pipe.due = now + _DRAIN
        pipe.lying = lying

    def _ask(self, output: _Output, now: int) -> int:
        """Ask the manager whether it hears, if that is not done; return until when it may answer."""
        if self._asked_at is None:
            if not self._context.reporter.report(wire.Drained(instance=output.instance, bytes=0)):
                return now  # there is none
            self._asked_at = now
        return self._asked_at + _HEARING

    @staticmethod
    def _drain(output: _Output, pipe: _Pipe) -> None:
        try:
            output.drained += len(os.read(pipe.descriptor, pipe.capacity))
        except BlockingIOError:
            return

    def _tell(self, output: _Output) -> None:
        report = wire.Drained(instance=output.instance, bytes=output.drained)
        if output.drained and self._context.reporter.report(report):
            output.drained = 0


def _capacity(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)


def _lying(descriptor: int) -> int:
    """Return how many bytes wait to be read."""
    answer = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0")
    return int(struct.unpack("i", answer)[0])


def _is_ended(descriptor: int) -> bool:
    """Return whether nobody has the write end of an empty pipe any more."""
    poller = select.poll()
    poller.register(descriptor, 0)
    return any(events & select.POLLHUP for _, events in poller.poll(0))
