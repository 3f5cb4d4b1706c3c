"""Take the listeners back that systemd has kept while there was no keeper, with whoever waits in them."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from fcgipm.keeper.keeping.state import KeptListener
from fcgipm.keeper.keeping.store import told_by
from fcgipm.keeper.listening.listener import Reach
from fcgipm.keeper.listening.sockets import SocketError, is_internet
from fcgipm.linux.systemd import Passed

if TYPE_CHECKING:
    from fcgipm.config.schema import Application
    from fcgipm.keeper.context import Context
    from fcgipm.keeper.listening.listener import Listener
    from fcgipm.keeper.listening.listeners import Listeners


class Stored:
    """What the store has given us, until somebody takes it."""

    def __init__(self, context: Context, passed: Iterable[Passed]) -> None:
        """*passed* are descriptors from the store; what is no socket that listens is dropped."""
        self._context = context
        self._held: dict[int, Passed] = {}
        """By the inode of the socket."""
        for one in passed:
            inode = os.fstat(one.number).st_ino
            if not _listens(one.number):
                self._drop(one)
            elif inode not in self._held:
                self._held[inode] = one
            else:  # the same socket once more, which its first name stands for
                os.close(one.number)
                if one.name != self._held[inode].name:
                    context.store.drop(one.name)

    def numbers(self) -> list[int]:
        """Return the descriptors."""
        return [one.number for one in self._held.values()]

    def name(self, inode: int) -> str:
        """Return the name under which the socket *inode* is stored; empty where it is not."""
        return self._held[inode].name if inode in self._held else ""

    def take(self, kept: KeptListener) -> socket.socket | None:
        """Return the socket of *kept*, which is the caller's; None where it is not here."""
        one = self._held.pop(kept.inode, None)
        return None if one is None else socket.socket(fileno=one.number)

    def unknown(self, known: Iterable[KeptListener]) -> list[KeptListener]:
        """Return what can be seen of those that are not *known*: no state was left, or not by who stored them."""
        inodes = {kept.inode for kept in known}
        applications = self._context.loaded.config.applications
        found = []
        for inode, one in self._held.items():
            if inode not in inodes and (kept := _seen(one, inode, applications)) is not None:
                found.append(kept)
        return sorted(found, key=lambda kept: kept.generation)

    def close(self) -> None:
        """Drop what nobody has taken: nobody will."""
        for one in self._held.values():
            self._drop(one)
        self._held.clear()

    def _drop(self, one: Passed) -> None:
        os.close(one.number)
        self._context.store.drop(one.name)
        self._context.say("warning", f"systemd has kept {one.name}, which is of no use any more; it is closed")


def take_back(
    context: Context, listeners: Listeners, stored: Stored, kept_listeners: Sequence[KeptListener]
) -> Iterator[Listener]:
    """Enter those of *kept_listeners* that are *stored* and can still be used; yield them, the public ones published.

    Who cannot be used is closed, and that is said.
    """
    for kept in [*kept_listeners, *stored.unknown(kept_listeners)]:
        name = stored.name(kept.inode)
        sock = stored.take(kept)
        if sock is None:
            continue
        app = context.application(kept.app)
        try:
            listener = listeners.take_back(kept, sock, stored=name)
        except (SocketError, OSError) as error:
            sock.close()
            context.store.drop(name)
            _say(context, kept, str(error))
            continue
        try:
            if app is not None and not listener.is_at(app):
                raise SocketError(f"the application listens at {app.socket or app.port} now")
            if kept.published:
                listeners.publish(listener)
        except (SocketError, OSError) as error:
            listeners.close(listener)
            _say(context, kept, str(error))
        else:
            yield listener


def _say(context: Context, kept: KeptListener, why: str) -> None:
    text = f"a socket of {kept.app} that systemd has kept cannot be used: {why}; who waited there is lost"
    context.say("warning", text, app=kept.app)


def _listens(number: int) -> bool:
    if not stat.S_ISSOCK(os.fstat(number).st_mode):
        return False
    with socket.socket(fileno=os.dup(number)) as sock:
        return sock.type == socket.SOCK_STREAM and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _seen(one: Passed, inode: int, applications: Mapping[str, Application]) -> KeptListener | None:
    """Return what its name and its address tell of *one*; None where it is of no declared application."""
    told = told_by(one.name)
    app = None if told is None else applications.get(told[0])
    if told is None or app is None:
        return None
    with socket.socket(fileno=os.dup(one.number)) as sock:
        where = sock.getsockname()
        if is_internet(sock):
            return KeptListener(
                app=app.name, generation=told[1], inode=inode, reach=Reach.PUBLIC, address=where[0], port=where[1]
            )
    try:
        found = os.lstat(where)
    except (OSError, ValueError):
        return None
    reach = Reach.PUBLIC if _is(app.socket, found) else Reach.WITHDRAWN
    return KeptListener(
        app=app.name, generation=told[1], inode=inode, reach=reach, public=app.socket,
        private=where, device=found.st_dev, file=found.st_ino,
    )  # fmt: skip


def _is(path: str | None, found: os.stat_result) -> bool:
    try:
        return path is not None and os.path.samestat(os.lstat(path), found)
    except OSError:
        return False
