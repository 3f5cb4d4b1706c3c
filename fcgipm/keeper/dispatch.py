"""The loop's engine: descriptors with what to call, and deadlines that others hold as data.

`selectors` cannot do one-shot watches, which are the only ones that may look at a descriptor which somebody else
reads: hence epoll itself.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Protocol

from fcgipm.log import Logger

_MAX_FAILURES = 1_000
"""Failures of our own code in a row after which going on makes no sense."""


class Holder(Protocol):
    """Something that can time out."""

    def deadline(self) -> int | None:
        """Return when `expire` is to be called, in monotonic nanoseconds; None: not for now."""

    def expire(self, now: int) -> None:
        """Do what is due; the next `deadline` is later than *now*."""


class Dispatch:
    """Call who is concerned when a descriptor is ready or a deadline has come; sleep otherwise."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._epoll = select.epoll()
        self._calls: dict[int, Callable[[], None]] = {}
        self._holders: list[Holder] = []
        self._failures = 0
        self.ended = False

    def hold(self, holder: Holder) -> None:
        """Ask *holder* for its deadline each time before sleeping."""
        self._holders.append(holder)

    def watch(
        self,
        descriptor: int,
        call: Callable[[], None],
        *,
        read: bool = True,
        write: bool = False,
        once: bool = False,
    ) -> None:
        """Call *call* when *descriptor* is readable, or with *write* writable.

        With *once* the first time only; watch it again to go on.  A descriptor that is watched already is changed.
        """
        mask = (select.EPOLLIN if read else 0) | (select.EPOLLOUT if write else 0)
        mask |= select.EPOLLONESHOT if once else 0
        if descriptor in self._calls:
            self._epoll.modify(descriptor, mask)
        else:
            self._epoll.register(descriptor, mask)
        self._calls[descriptor] = call

    def forget(self, descriptor: int) -> None:
        """Watch *descriptor* no more; to be called before it is closed.  One that is not watched is no matter."""
        if self._calls.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def run(self) -> None:
        """Go round until `ended`."""
        while not self.ended:
            self.step()

    def step(self) -> None:
        """Sleep until something happens, and deal with it."""
        due = min((when for holder in self._holders if (when := holder.deadline()) is not None), default=None)
        # epoll rounds up to milliseconds, so a deadline has come when it returns: the loop does not spin.
        timeout = None if due is None else max(0, due - time.monotonic_ns()) / 1e9
        happened = [(descriptor, self._calls.get(descriptor)) for descriptor, _ in self._epoll.poll(timeout)]
        for descriptor, call in happened:
            # What was called before may have closed this one, and its number may be another's by now.
            if call is not None and self._calls.get(descriptor) is call:
                self._guarded(call)
        for holder in self._holders:
            now = time.monotonic_ns()
            when = holder.deadline()
            if when is not None and when <= now:
                self._guarded(lambda holder=holder, now=now: holder.expire(now))  # type: ignore[misc]

    def close(self) -> None:
        """Close epoll; the descriptors stay their owners'."""
        self._epoll.close()

    def _guarded(self, call: Callable[[], None]) -> None:
        """Call *call*; a mistake of ours in one place must not end everything else."""
        try:
            call()
        except Exception as error:
            self._failures += 1
            if self._failures > _MAX_FAILURES:
                raise
            place = error.__traceback__
            while place is not None and place.tb_next is not None:
                place = place.tb_next
            where = f"{place.tb_frame.f_code.co_qualname}:{place.tb_lineno}" if place is not None else "?"
            self._log.log("error", f"internal error in {where}: {error!r}; going on")
        else:
            self._failures = 0
