"""Listeners in systemd's keeping: there they outlive the keeper, with everybody who waits in them.

Each is stored under a name that tells whose it is, ``listener/GENERATION/APP``, and taken out when it is closed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from fcgipm.counting import counted
from fcgipm.keeper.keeping.state import checksums
from fcgipm.linux.systemd import LONGEST_NAME, Passed

if TYPE_CHECKING:
    from fcgipm.keeper.listening.listener import Listener

_PREFIX: Final = "listener/"


def name_of(app: str, generation: int) -> str:
    """Return the name of a listener: no colon, and not too long; the end of *app* is cut where it has to be."""
    name = f"{_PREFIX}{generation}/{app}"
    if len(name) <= LONGEST_NAME:
        return name
    digest = checksums(app.encode(errors="surrogateescape"))
    return f"{name[: LONGEST_NAME - len(digest) - 1]}~{digest}"


def is_stored(passed: Passed) -> bool:
    """Return whether *passed* comes from the store; names of applications have no slash."""
    return passed.name.startswith(_PREFIX)


def told_by(name: str) -> tuple[str, int] | None:
    """Return application and generation that *name* tells; None for one that was cut, or is none of ours."""
    generation, _, app = name.removeprefix(_PREFIX).partition("/")
    if not name.startswith(_PREFIX) or not generation.isdecimal() or name_of(app, int(generation)) != name:
        return None
    return (app, int(generation)) if "~" not in app else None


class Store:
    """What systemd keeps for us; where it keeps nothing, nothing is done."""

    def __init__(
        self,
        tell: Callable[[str, Sequence[int]], None] = lambda _state, _descriptors: None,
        *,
        room: int = 0,
        say: Callable[[str, str], None] = lambda _level, _text: None,
    ) -> None:
        """*tell* tells systemd, *room* is how many descriptors it takes, *say* takes a level and a line for the log."""
        self._tell = tell
        self._room = room
        self._say = say
        self._users: dict[int, set[Listener]] = {}
        """By the inode of the socket: a TCP socket may be handed from one application to another."""
        self._is_full = False

    @property
    def keeps(self) -> bool:
        """Whether sockets outlive the daemon."""
        return self._room > 0

    def put(self, listener: Listener) -> None:
        """Store *listener*, or know of it, where it comes from the store; what systemd has itself needs none."""
        if not self.keeps or listener.is_given or listener.sock is None:
            return
        users = self._users.setdefault(listener.endpoint.inode, set())
        listener.stored = listener.stored or next((other.stored for other in users), "")
        users.add(listener)
        if listener.stored:
            return
        if len(self._users) > self._room:
            self._complain(listener)
            return
        self._is_full = False
        taken = {other.stored for users in self._users.values() for other in users if other.app == listener.app}
        numbers = itertools.count(listener.generation)
        listener.stored = next(free for number in numbers if (free := name_of(listener.app, number)) not in taken)
        # Not watched by systemd: an application may shut its listener down, and that is ours to notice.
        self._tell(f"FDSTORE=1\nFDNAME={listener.stored}\nFDPOLL=0", [listener.fileno()])

    def take_out(self, listener: Listener) -> None:
        """Store *listener* no longer: it is about to be closed."""
        users = self._users.get(listener.endpoint.inode, set())
        users.discard(listener)
        if users:
            return
        self._users.pop(listener.endpoint.inode, None)
        if listener.stored:
            self.drop(listener.stored)

    def drop(self, name: str) -> None:
        """Take out what is stored under *name*."""
        self._tell(f"FDSTOREREMOVE=1\nFDNAME={name}", [])

    def _complain(self, listener: Listener) -> None:
        if not self._is_full:
            text = f"systemd keeps {counted(self._room, 'socket')} for fcgipm (FileDescriptorStoreMax=), and no more"
            self._say("warning", f"{text}; who waits at {listener.app} is lost in a restart of fcgipm")
        self._is_full = True
