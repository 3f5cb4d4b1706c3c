"""The loop's engine: descriptors with what to call, and deadlines that others hold as data.

`selectors` cannot do one-shot watches, which are the only ones that may look at a descriptor which somebody else
reads: hence epoll itself.
"""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from fcgipm.config.schema import MILLISECOND, SECOND
from fcgipm.log import Logger

_FIRST_REST: Final = 100 * MILLISECOND
_LONGEST_REST: Final = 5 * SECOND
_MEMORY: Final = 60 * SECOND
"""How long a failure that is over is remembered: one that comes back sooner is not logged again."""


class Holder(Protocol):
    """Something that can time out."""

    def deadline(self) -> int | None:
        """Return when `expire` is to be called, in monotonic nanoseconds; None: not for now."""

    def expire(self, now: int) -> None:
        """Do what is due; the next `deadline` is later than *now*."""


@dataclass(slots=True)
class _Trouble:
    """What somebody's call has raised: who it is is left alone until *until*."""

    text: str
    pause: int
    until: int
    over: bool = False

    def fits(self, now: int) -> bool:
        """Return whether it still says something."""
        return not self.over or now - self.until < _MEMORY


class Dispatch:
    """Call who is concerned when a descriptor is ready or a deadline has come; sleep otherwise.

    Whose call raises is left alone for a while, which grows from 0.1 to 5 s, and then called again, however often: a
    full table of files heals, and the rest of the daemon has nothing to do with it.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._epoll = select.epoll()
        self._calls: dict[int, Callable[[], None]] = {}
        self._holders: list[Holder] = []
        self._masks: dict[int, int] = {}
        self._troubles: dict[object, _Trouble] = {}
        """By holder, or by descriptor."""
        self._resting: set[int] = set()
        """Descriptors that are not watched until their trouble has had its time."""
        self.ended = False
        self.before_sleep: Callable[[], None] = lambda: None
        """Called when all that has happened is dealt with, and again before each sleep."""

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
        if descriptor in self._resting:
            pass  # `_wake` does it
        elif descriptor in self._calls:
            self._epoll.modify(descriptor, mask)
        else:
            self._epoll.register(descriptor, mask)
        self._calls[descriptor], self._masks[descriptor] = call, mask

    def forget(self, descriptor: int) -> None:
        """Watch *descriptor* no more; to be called before it is closed.  One that is not watched is no matter."""
        known = self._calls.pop(descriptor, None) is not None
        self._masks.pop(descriptor, None)
        self._troubles.pop(descriptor, None)
        if descriptor in self._resting:
            self._resting.discard(descriptor)
        elif known:
            self._epoll.unregister(descriptor)

    def run(self) -> None:
        """Go round until `ended`."""
        while not self.ended:
            self.step()

    def step(self) -> None:
        """Sleep until something happens, and deal with it."""
        self._guarded("before sleep", self.before_sleep)
        due = self._next_deadline()
        # epoll rounds up to milliseconds, so a deadline has come when it returns: the loop does not spin.
        timeout = None if due is None else max(0, due - time.monotonic_ns()) / 1e9
        happened = [(descriptor, self._calls.get(descriptor)) for descriptor, _ in self._epoll.poll(timeout)]
        for descriptor, call in happened:
            # What was called before may have closed this one, and its number may be another's by now.
            if call is not None and self._calls.get(descriptor) is call:
                self._guarded(descriptor, call)
        self._guarded("before sleep", self.before_sleep)  # those who wait for it have waited for nothing else
        if self._resting:
            self._wake()
        for holder in self._holders:
            now = time.monotonic_ns()
            when = self._deadline_of(holder)
            if when is not None and when <= now:
                self._guarded(holder, lambda holder=holder, now=now: holder.expire(now))  # type: ignore[misc]

    def _next_deadline(self) -> int | None:
        deadlines = [when for holder in self._holders if (when := self._deadline_of(holder)) is not None]
        deadlines += [self._troubles[descriptor].until for descriptor in self._resting]
        return min(deadlines, default=None)

    def _deadline_of(self, holder: Holder) -> int | None:
        when, trouble = holder.deadline(), self._troubles.get(holder)
        return when if when is None or trouble is None else max(when, trouble.until)

    def _wake(self) -> None:
        """Watch again the descriptors that were left alone for long enough."""
        now = time.monotonic_ns()
        for descriptor in [each for each in self._resting if self._troubles[each].until <= now]:
            try:
                self._epoll.register(descriptor, self._masks[descriptor])
            except OSError:
                self._troubles[descriptor].until = now + _LONGEST_REST
            else:
                self._resting.discard(descriptor)

    def close(self) -> None:
        """Close epoll; the descriptors stay their owners'."""
        self._epoll.close()

    def _guarded(self, whose: object, call: Callable[[], None]) -> None:
        """Call *call*; a failure in one place must not end everything else, nor keep the loop busy."""
        try:
            call()
        except Exception as error:  # noqa: BLE001  whatever it is
            self._fail(whose, error)
        else:
            trouble = self._troubles.get(whose) if self._troubles else None
            if trouble is not None:
                trouble.over = True
                trouble.pause = 0
                if not trouble.fits(time.monotonic_ns()):
                    del self._troubles[whose]

    def _fail(self, whose: object, error: Exception) -> None:
        now = time.monotonic_ns()
        text = described(error)
        last = self._troubles.get(whose)
        if last is not None and not last.fits(now):
            last = None
        pause = min(2 * last.pause, _LONGEST_REST) if last is not None and last.pause else _FIRST_REST
        self._troubles[whose] = _Trouble(text, pause, now + pause)
        if isinstance(whose, int) and whose in self._calls and whose not in self._resting:
            with contextlib.suppress(OSError):  # it may be closed already
                self._epoll.unregister(whose)
            self._resting.add(whose)
        if last is None or last.text != text:
            self._log.log("error", f"{text}; next try in {pause / SECOND:g} s, then less and less often")


def described(error: BaseException) -> str:
    """Return where *error* comes from and what it is; an error of the system is no mistake of ours."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_qualname}:{place.tb_lineno}" if place is not None else "?"
    if isinstance(error, MemoryError):
        return f"{where}: no memory"
    return f"{where}: {error}" if isinstance(error, OSError) else f"internal error in {where}: {error!r}"
