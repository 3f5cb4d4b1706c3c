"""Learn when somebody removes or renames the public name of a socket.

What is watched is the socket's own inode, not its directory: whatever else goes on in /tmp wakes nobody.
"""

from __future__ import annotations

from collections.abc import Callable

from fcgipm.keeper.dispatch import Dispatch
from fcgipm.linux import inotify


class Guard:
    """Watches sockets by their private names."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._inotify = inotify.Inotify()
        self._calls: dict[int, Callable[[], None]] = {}
        self._watches: dict[str, int] = {}
        dispatch.watch(self._inotify.fileno(), self._read)

    def watch(self, private: str, call: Callable[[], None]) -> None:
        """Call *call* when the socket *private* gained or lost a name; raise OSError where it cannot be watched."""
        number = self._inotify.add(private, inotify.ATTRIB | inotify.MOVE_SELF)
        self._watches[private] = number
        self._calls[number] = call

    def forget(self, private: str) -> None:
        """Watch *private* no more."""
        number = self._watches.pop(private, None)
        if number is not None:
            self._calls.pop(number, None)
            self._inotify.remove(number)

    def close(self) -> None:
        """Watch nothing more."""
        self._inotify.close()

    def _read(self) -> None:
        happened = self._inotify.read()
        lost = any(event.mask & inotify.OVERFLOW for event in happened)
        for number in list(self._calls) if lost else dict.fromkeys(event.watch for event in happened):
            call = self._calls.get(number)
            if call is not None:
                call()
