"""Listeners that another keeper has made: taken over with whoever waits in them, or known of where they cannot be."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fcgipm.config.socketnames import private_directory
from fcgipm.keeper.keeping.heritage import Heritage, listener_key
from fcgipm.keeper.keeping.state import KeptListener
from fcgipm.keeper.keeping.takeback import Stored
from fcgipm.keeper.listening import canaries
from fcgipm.keeper.listening.listener import Listener, Reach
from fcgipm.keeper.listening.socketfile import SocketFile
from fcgipm.keeper.listening.sockets import FileId, SocketError, copy_of, family_of
from fcgipm.linux.sock_diag import Endpoint

if TYPE_CHECKING:
    from fcgipm.keeper.context import Context
    from fcgipm.keeper.instances.session import Process
    from fcgipm.keeper.listening.guard import Guard
    from fcgipm.keeper.listening.place import Place, Places


@dataclass(slots=True)
class Relistening:
    """Makes listeners of what is known of them; the same socket may be several applications' on one port."""

    context: Context
    places: Places
    guard: Guard
    heritage: Heritage
    stored: Stored
    _taken: dict[int, socket.socket] = field(default_factory=dict)
    """By inode."""

    def take(self, kept: KeptListener, holders: Iterable[Process]) -> Listener | None:
        """Return the listener *kept*, which *holders* have; None where nobody has it any more.

        Where it cannot be had from them, or is of no use any more, it has no socket, and nobody can be started on it:
        others take the place of its instances.  What systemd keeps and nobody has is not taken here.
        """
        holders, why = list(holders), self._why_no_more(kept)
        inherited = listener_key(kept.inode) in self.heritage.inherited
        stored = kept.stored if inherited else self.stored.name(kept.inode)
        sock = None if why else self._socket(kept, holders)
        if sock is None and not holders:
            return None
        names = None
        if kept.public is not None and kept.private is not None:
            try:
                names = self._names(kept, kept.public, kept.private)
            except SocketError as error:
                why = str(error)
                if sock is not None:
                    sock.close()
                if not holders:
                    self._lost(kept, why)
                    return None
        if why or sock is None:
            return self._estranged(kept, names, why or "no right to")
        return self._listener(kept, sock, names, stored)

    def _why_no_more(self, kept: KeptListener) -> str:
        """Return why the socket of *kept* is not the application's any more; empty where it still can be."""
        app = self.context.application(kept.app)
        if kept.given:
            return "systemd does not give it any more"
        if app is None or self.context.given.of(app) is None:
            return ""
        at = (kept.address, kept.port) == (app.address, app.port) if kept.port else kept.public == app.socket
        return "systemd gives another one for its place" if at else ""

    def _estranged(self, kept: KeptListener, names: SocketFile | None, why: str) -> Listener:
        """Return a listener that only its instances have, and say *why*."""
        listener = self._listener(kept, None, names, "")
        app = self.context.application(kept.app)
        if listener.where:
            what = "they are removed before it is bound anew"
        elif app is not None and self.context.given.of(app) is not None:
            what = "they are removed before others are started"
        else:
            what = "they finish at the old one"
        text = f"the socket of {listener.address} cannot be taken from its instances ({why}); {what}"
        self.context.tell("warning", "socket-lost", text, app=kept.app)
        return listener

    def _listener(
        self, kept: KeptListener, sock: socket.socket | None, names: SocketFile | None, stored: str
    ) -> Listener:
        family = family_of(kept.address) if kept.port else socket.AF_UNIX
        endpoint = Endpoint(kept.inode, kept.private or kept.public, kept.port or None, family, kept.address or None)
        return Listener(
            app=kept.app,
            generation=kept.generation,
            sock=sock,
            endpoint=endpoint,
            names=names,
            where=(kept.address, kept.port) if kept.port else None,
            is_given=kept.given,
            path=None if kept.port else kept.public,
            stored=stored,
            reach=_reach(kept, sock, names),
        )

    def sweep(self, listeners: Iterable[KeptListener], spared: Container[FileId]) -> None:
        """Remove the names that are left in the private directories of *listeners*, and that nobody needs."""
        runtime_dir = self.context.loaded.config.daemon.runtime_dir
        around = {(os.path.dirname(one.public), os.path.dirname(one.private)) for one in listeners
                  if one.public is not None and one.private is not None}  # fmt: skip
        for public, private in sorted(around | {(runtime_dir, os.path.join(runtime_dir, "private"))}):
            with contextlib.suppress(OSError, SocketError):
                place = self.places.take(public, private)
                try:
                    place.sweep(spared, self._is_alive)
                finally:
                    self.places.give_back(place)

    def remove_canaries(self, numbers: Iterable[int]) -> None:
        """Remove the names of the canaries *numbers*, which have ended."""
        names = [canaries.name_of(number) for number in numbers]
        if not names:
            return
        runtime_dir = self.context.loaded.config.daemon.runtime_dir
        with contextlib.suppress(SocketError):
            place = self.places.take(runtime_dir, private_directory(runtime_dir, os.path.join(runtime_dir, names[0])))
            for name in names:
                place.remove(name)
            self.places.give_back(place)

    def _is_alive(self, file: FileId, path: str) -> bool:
        return self.context.diag.unix_listener_by_file(file.device, file.inode, path) is not None

    def _socket(self, kept: KeptListener, holders: list[Process]) -> socket.socket | None:
        known = self._taken.get(kept.inode)
        if known is not None:
            return copy_of(known)
        sock = self.stored.take(kept) if holders else None
        if sock is None:
            number = self.heritage.take(kept, holders)
            if number is None:
                return None
            sock = socket.socket(fileno=number)
        self._taken[kept.inode] = sock
        return sock

    def _lost(self, kept: KeptListener, why: str) -> None:
        text = f"the socket {kept.public} of {kept.app} cannot be taken over: {why}; another one takes its place"
        self.context.tell("warning", "socket-lost", text, app=kept.app)

    def _names(self, kept: KeptListener, public: str, private: str) -> SocketFile:
        """Return the file of a Unix listener; raise `SocketError` where its place cannot be used any more."""
        runtime_dir = self.context.loaded.config.daemon.runtime_dir
        place = self.places.take(os.path.dirname(public), private_directory(runtime_dir, public))
        file, name = FileId(kept.device, kept.file), os.path.basename(private)
        _name_again(place, public, name, file)
        return SocketFile(self.places, place, self.guard, public=public, name=name, file=file)


def _name_again(place: Place, public: str, name: str, file: FileId) -> None:
    """Give the socket its private name again, if somebody has taken it away and there is the public one."""
    base = os.path.basename(public)
    if place.bound(name) is None and place.published(base) == file:
        with contextlib.suppress(OSError):
            os.link(base, name, src_dir_fd=place.public, dst_dir_fd=place.private, follow_symlinks=False)


def _reach(kept: KeptListener, sock: socket.socket | None, names: SocketFile | None) -> Reach:
    """Return whether visitors come to it: the path itself says so, since a publish may have been cut short."""
    if sock is not None and (kept.published if names is None else is_reached(names)):
        return Reach.PUBLIC
    return Reach.HIDDEN if kept.reach is Reach.HIDDEN else Reach.WITHDRAWN


def is_reached(names: SocketFile) -> bool:
    """Return whether visitors come to this socket by its public path."""
    try:
        found = os.stat(names.public, follow_symlinks=False)
    except OSError:
        return False
    return FileId(found.st_dev, found.st_ino) == names.file
