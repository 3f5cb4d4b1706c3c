"""Learn when somebody removes or renames the public name of a socket.

What is watched is the socket's own inode, not its directory: whatever else goes on in /tmp wakes nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fcgipm.config.schema import SECOND
from fcgipm.keeper.dispatch import Dispatch
from fcgipm.linux import inotify

_PAUSE: Final = SECOND
"""Between two repairs of one socket: somebody who deletes it in a loop must not keep us busy."""


@dataclass(slots=True)
class _Watch:
    number: int
    call: Callable[[], bool]
    rests_until: int = 0
    again: bool = False
    """Something has happened while it rested."""


class Guard:
    """Watches sockets by their private names."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._inotify = inotify.Inotify()
        self._watches: dict[str, _Watch] = {}
        dispatch.watch(self._inotify.fileno(), self._read)

    def watch(self, name: str, path: str, call: Callable[[], bool]) -> None:
        """Call *call* when the socket at *path* gained or lost a name; raise OSError where it cannot be watched.

        *name* is what `forget` is given.  *call* returns whether it had to repair something: then it is left alone for
        a second.
        """
        number = self._inotify.add(path, inotify.ATTRIB | inotify.MOVE_SELF)
        self._watches[name] = _Watch(number, call)

    def forget(self, name: str) -> None:
        """Watch *name* no more."""
        watch = self._watches.pop(name, None)
        if watch is not None:
            self._inotify.remove(watch.number)

    def close(self) -> None:
        """Watch nothing more."""
        self._inotify.close()

    def deadline(self) -> int | None:
        """Return when a socket to which something happened may be looked at again."""
        return min((watch.rests_until for watch in self._watches.values() if watch.again), default=None)

    def expire(self, now: int) -> None:
        """Look at what happened while nobody looked."""
        for watch in list(self._watches.values()):
            if watch.again and watch.rests_until <= now:
                self._look(watch, now)

    def _read(self) -> None:
        happened = self._inotify.read()
        lost = any(event.mask & inotify.OVERFLOW for event in happened)
        numbers = {event.watch for event in happened}
        now = time.monotonic_ns()
        for watch in list(self._watches.values()):
            if not lost and watch.number not in numbers:
                continue
            if now < watch.rests_until:
                watch.again = True
            else:
                self._look(watch, now)

    @staticmethod
    def _look(watch: _Watch, now: int) -> None:
        watch.again = False
        if watch.call():
            watch.rests_until = now + _PAUSE
