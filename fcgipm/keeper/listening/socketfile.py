"""The file of a Unix socket, with two names: the private one that it is bound to, and the one that visitors use."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Container
from typing import Final

from fcgipm.config.schema import SECOND
from fcgipm.config.socketnames import private_directory
from fcgipm.keeper.listening import foreign
from fcgipm.keeper.listening.guard import Guard
from fcgipm.keeper.listening.place import Place, Places
from fcgipm.keeper.listening.sockets import Attributes, FileId, SocketError
from fcgipm.linux.sock_diag import Diag

_QUIET: Final = 60 * SECOND
"""Deleted again within this time, it is deleted "again and again": said once."""

Tell = Callable[[str, str, str], None]
"""Takes level, topic and text."""


class SocketFile:
    """A bound socket's file; a public name that somebody deletes is linked again while it is published."""

    def __init__(self, places: Places, place: Place, guard: Guard, *, public: str, name: str, file: FileId) -> None:
        """Use `bind`."""
        self._places, self._place, self._guard = places, place, guard
        self.public = public
        """The path that it is, was or will be published at."""
        self._name = name
        self.file = file
        self._published = False
        self._tell: Tell | None = None
        self._said = ""
        self._linked_at: int | None = None

    @property
    def private(self) -> str:
        """The path that it is bound to, by which the kernel knows it."""
        return os.path.join(self._place.private_path, self._name)

    def is_in_place(self) -> bool:
        """Return whether its directory is still found by its path."""
        return self._place.is_at(os.path.dirname(self.public))

    def publish(self) -> None:
        """Make the public path a name of it, whatever was there before; raise OSError."""
        base = os.path.basename(self.public)
        if self._place.published(base) != self.file:
            self._place.publish(self._name, base, self.file)
        self._published = True

    def refuse_others(self, own: Container[FileId | int], diag: Diag) -> None:
        """Raise `SocketError` if somebody else has the public path."""
        foreign.refuse(self._place, self.public, own, diag)

    def withdraw(self, *, keep: str | None = None) -> None:
        """Remove the public name, if it still is this socket's; the one at the path *keep* is left alone."""
        self._published = False
        if self.public != keep:
            self._place.unpublish(os.path.basename(self.public), self.file)

    def change(self, attributes: Attributes) -> None:
        """Set owner, group and mode; raise OSError."""
        self._place.change(self._name, attributes)

    def watch(self, tell: Tell) -> None:
        """Link the public name again when it is deleted, and *tell* of it; raise OSError."""
        self._tell = tell
        # By descriptor: the path may lead elsewhere by now.
        self._guard.watch(self.private, f"/proc/self/fd/{self._place.private}/{self._name}", self._look)

    def meet(self, sock: socket.socket) -> None:
        """Connect *sock* to it; raise OSError."""
        # By descriptor: who owns the directory could have the path lead to somebody who trusts us.
        sock.connect(f"/proc/self/fd/{self._place.private}/{self._name}")

    def leave(self) -> None:
        """Watch over it no more; both names stay."""
        self._guard.forget(self.private)
        self._places.give_back(self._place)

    def remove(self) -> None:
        """Remove both names."""
        self._guard.forget(self.private)
        self.withdraw()
        self._place.remove(self._name)
        self._places.give_back(self._place)

    def _look(self) -> bool:
        """Link the public name again if it is gone; return whether that was done."""
        if not self._published:
            return False
        there = self._place.published(os.path.basename(self.public))
        if there == self.file:
            return False
        if there is not None:
            text = f"{self.public} was replaced by somebody else; who comes there does not come to fcgipm any more"
            self._say("error", "socket-lost", text)
            return False
        try:
            self.publish()
        except OSError as error:
            text = f"{self.public} was deleted and cannot be linked again: {error.strerror}; a restart may"
            self._say("error", "socket-lost", text)
            return True
        now = time.monotonic_ns()
        again = self._linked_at is not None and now - self._linked_at < _QUIET
        if not again:
            self._said = ""
        self._linked_at = now
        text = f"{self.public} was deleted; linked again"
        if again:
            text = f"{self.public} is deleted again and again; it is linked again once a second, without a word more"
        self._say("warning", "socket-restored", text)
        return True

    def _say(self, level: str, topic: str, text: str) -> None:
        if text != self._said and self._tell is not None:
            self._tell(level, topic, text)
        self._said = text


def bind(
    places: Places,
    guard: Guard,
    *,
    runtime_dir: str,
    public: str,
    name: str,
    attributes: Attributes,
    depth: int | None,
    check: Callable[[Place, str], None],
) -> tuple[socket.socket, SocketFile]:
    """Return a listening socket, bound to the private *name* of the path *public*, and its file; raise `SocketError`.

    Without *depth* it takes datagrams instead.  *check* is called with the place and the private path before anything
    is done there.
    """
    private = private_directory(runtime_dir, public)
    place = places.take(os.path.dirname(public), private)
    try:
        check(place, os.path.join(private, name))
        sock = place.bind(name, attributes, depth)
        file = place.bound(name)
        if file is None:
            sock.close()
            raise SocketError(f"{public}: its private name has been removed")
    except BaseException:
        places.give_back(place)
        raise
    return sock, SocketFile(places, place, guard, public=public, name=name, file=file)


def find(places: Places, guard: Guard, *, runtime_dir: str, public: str, name: str) -> SocketFile:
    """Return the file of a socket that `bind` has bound before, for whoever has it now; raise `SocketError`."""
    place = places.take(os.path.dirname(public), private_directory(runtime_dir, public))
    file = place.bound(name)
    if file is None:
        places.give_back(place)
        raise SocketError(f"{public}: its private name has been removed")
    return SocketFile(places, place, guard, public=public, name=name, file=file)
