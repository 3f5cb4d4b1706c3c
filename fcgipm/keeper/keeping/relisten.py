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
from fcgipm.keeper.listening.listener import Listener
from fcgipm.keeper.listening.socketfile import SocketFile
from fcgipm.keeper.listening.sockets import FileId, SocketError
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

        Where it cannot be had from them it has no socket, and nobody can be started on it.  What systemd keeps and
        nobody has is not taken here.
        """
        holders, inherited = list(holders), listener_key(kept.inode) in self.heritage.inherited
        stored = kept.stored if inherited else self.stored.name(kept.inode)
        sock = self._socket(kept, holders)
        if sock is None and not holders:
            return None
        names = None
        if kept.public is not None and kept.private is not None:
            names = self._names(kept, kept.public, kept.private)
            if names is None:
                if sock is not None:
                    sock.close()
                return None
        family = socket.AF_UNIX if not kept.port else socket.AF_INET6 if ":" in kept.address else socket.AF_INET
        endpoint = Endpoint(kept.inode, kept.private, kept.port or None, family, kept.address or None)
        return Listener(
            app=kept.app,
            generation=kept.generation,
            sock=sock,
            endpoint=endpoint,
            names=names,
            where=(kept.address, kept.port) if kept.port else None,
            is_given=kept.given,
            path=kept.public if kept.given else None,
            stored=stored if sock is not None else "",
            published=sock is not None and (kept.published if names is None else is_public(names)),
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

    def _is_alive(self, file: FileId, path: str) -> bool:
        return self.context.diag.unix_listener_by_file(file.device, file.inode, path) is not None

    def _socket(self, kept: KeptListener, holders: list[Process]) -> socket.socket | None:
        known = self._taken.get(kept.inode)
        if known is not None:
            return socket.socket(fileno=os.dup(known.fileno()))  # not `dup`: that sets a flag, which is everybody's
        sock = self.stored.take(kept) if holders else None
        if sock is None:
            number = self.heritage.take(kept, holders)
            if number is None:
                return None
            sock = socket.socket(fileno=number)
        self._taken[kept.inode] = sock
        return sock

    def _names(self, kept: KeptListener, public: str, private: str) -> SocketFile | None:
        """Return the file of a Unix listener; None where its place cannot be used any more."""
        runtime_dir = self.context.loaded.config.daemon.runtime_dir
        try:
            place = self.places.take(os.path.dirname(public), private_directory(runtime_dir, public))
        except SocketError as error:
            text = f"the socket {public} of {kept.app} cannot be taken over: {error}; another one takes its place"
            self.context.tell("warning", "socket-lost", text, app=kept.app)
            return None
        file, name = FileId(kept.device, kept.file), os.path.basename(private)
        _name_again(place, public, name, file)
        return SocketFile(self.places, place, self.guard, public=public, name=name, file=file)


def _name_again(place: Place, public: str, name: str, file: FileId) -> None:
    """Give the socket its private name again, if somebody has taken it away and there is the public one."""
    base = os.path.basename(public)
    if place.bound(name) is None and place.published(base) == file:
        with contextlib.suppress(OSError):
            os.link(base, name, src_dir_fd=place.public, dst_dir_fd=place.private, follow_symlinks=False)


def is_public(names: SocketFile) -> bool:
    """Return whether visitors come to this socket by its public path."""
    try:
        found = os.stat(names.public, follow_symlinks=False)
    except OSError:
        return False
    return FileId(found.st_dev, found.st_ino) == names.file
