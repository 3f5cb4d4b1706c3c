"""Make the listening socket of an application, unless somebody else is there."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fcgipm.config.schema import Application
from fcgipm.config.socketnames import LARGEST_NUMBER
from fcgipm.keeper.context import Context
from fcgipm.keeper.keeping.state import KeptListener
from fcgipm.keeper.listening import foreign, rights, socketfile, sockets
from fcgipm.keeper.listening.guard import Guard
from fcgipm.keeper.listening.listener import Listener, Reach
from fcgipm.keeper.listening.place import Place, Places
from fcgipm.keeper.listening.socketfile import SocketFile
from fcgipm.keeper.listening.sockets import FileId, SocketError
from fcgipm.linux.sock_diag import Diag, endpoint_of


class Making:
    """Binds sockets, and keeps the numbers by which dynamic applications are called in private names."""

    def __init__(self, context: Context, guard: Guard, places: Places) -> None:
        self._context = context
        self._guard = guard
        self._places = places
        self._numbers: dict[str, int] = {}
        """Of dynamic applications; one is used again only when all others have been."""
        self._last_number = 0
        self._said: set[str] = set()
        """What was said of instances that another keeper has left."""

    def make(self, app: Application, generation: int, others: Sequence[Listener]) -> Listener:
        """Return a new listener of *app*, bound, not yet published, beside *others*; raise `SocketError`."""
        given = self._context.given.of(app)
        if given is not None:
            return _given(app, generation, given)
        if app.port is not None:
            return _tcp(app, app.port, generation, others, self._context.diag)
        try:
            return self._unix(app, generation, others)
        except BaseException:
            self.forget(app.name, others)
            raise

    def take_back(self, kept: KeptListener, sock: socket.socket) -> Listener:
        """Return the listener that *kept* tells of and *sock* is, not yet published; raise `SocketError`."""
        names = None if kept.private is None or kept.public is None else self._found(kept, sock)
        return Listener(
            app=kept.app, generation=kept.generation, sock=sock, endpoint=endpoint_of(sock), names=names,
            where=(kept.address, kept.port) if kept.public is None else None,
            reach=Reach.HIDDEN if kept.reach is Reach.HIDDEN else Reach.WITHDRAWN,
            is_given=kept.given, path=kept.public if names is None else None,
        )  # fmt: skip

    def _found(self, kept: KeptListener, sock: socket.socket) -> SocketFile:
        """Return the file of *sock*, where it still is where it was bound."""
        assert kept.private is not None, kept
        assert kept.public is not None, kept
        runtime_dir, name = self._context.loaded.config.daemon.runtime_dir, os.path.basename(kept.private)
        names = socketfile.find(self._places, self._guard, runtime_dir=runtime_dir, public=kept.public, name=name)
        if not names.private == kept.private == sock.getsockname() or names.file != FileId(kept.device, kept.file):
            names.leave()
            raise SocketError(f"{kept.private} is another by now")
        return names

    def _unix(self, app: Application, generation: int, others: Sequence[Listener]) -> Listener:
        sock, names = self._bound_free(app, generation, others)
        return Listener(
            app=app.name, generation=generation, sock=sock, endpoint=endpoint_of(sock), names=names, where=None,
        )  # fmt: skip

    def _bound_free(
        self, app: Application, generation: int, others: Sequence[Listener]
    ) -> tuple[socket.socket, SocketFile]:
        """Bind a free name; one at which somebody serves whom nobody has adopted is not."""
        names = self._free_names(app, generation, others)
        while True:
            try:
                return self._bound(app, next(names), others)
            except foreign.LeftOver as left_over:
                self._say_left_over(app, str(left_over))

    def _bound(self, app: Application, name: str, others: Sequence[Listener]) -> tuple[socket.socket, SocketFile]:
        assert app.socket is not None, app.name
        return socketfile.bind(
            self._places,
            self._guard,
            runtime_dir=self._context.loaded.config.daemon.runtime_dir,
            public=app.socket,
            name=name,
            attributes=rights.attributes_of(app),
            depth=app.listen_queue_depth,
            check=lambda place, private: self._refuse(app, place, private, others),
        )

    def _refuse(self, app: Application, place: Place, private: str, others: Sequence[Listener]) -> None:
        own, diag = Files(others), self._context.diag
        left_over = foreign.refuse(place, app.socket or "", own, diag)
        foreign.refuse_private(place, private, own, diag)
        if left_over:
            self._say_left_over(app, left_over)

    def _say_left_over(self, app: Application, text: str) -> None:
        """Say it once: each name that is tried finds the same ones."""
        if text not in self._said:
            self._said.add(text)
            self._context.tell("warning", "left-over", text, app=app.name)

    def _free_names(self, app: Application, generation: int, others: Sequence[Listener]) -> Iterator[str]:
        """Yield private names, of *generation* and the next ones, by which no listener is bound.

        One may be renumbered.
        """
        mine = [one.names for one in others if one.app == app.name and one.names is not None]
        taken = {os.path.basename(names.private) for names in mine}
        name = f"{self._number_of(app.name)}" if app.is_dynamic else app.name
        return (free for number in itertools.count(generation) if (free := f"{name}.{number}") not in taken)

    def _number_of(self, app: str) -> int:
        """Return the number that stands for a dynamic application in private names, where its own is too long."""
        if app not in self._numbers:
            used = set(self._numbers.values())
            numbers = itertools.chain(range(self._last_number + 1, LARGEST_NUMBER + 1), itertools.count(1))
            self._numbers[app] = self._last_number = next(number for number in numbers if number not in used)
        return self._numbers[app]

    def learn(self, listener: Listener) -> None:
        """Take note of by what number a dynamic application is called in the private name of *listener*."""
        if listener.names is None or "/" not in listener.app:
            return
        number = os.path.basename(listener.names.private).partition(".")[0]
        if number.isdecimal():
            self._numbers[listener.app] = int(number)
            self._last_number = max(self._last_number, int(number))

    def forget(self, app: str, others: Sequence[Listener]) -> None:
        """Give the number of *app* back, unless one of its listeners is among those that are left."""
        if all(other.app != app for other in others):
            self._numbers.pop(app, None)


@dataclass(frozen=True, slots=True)
class Files:
    """The files of *listeners*: seldom asked for, and never all at once.

    Of one that instances alone have, and whose file nobody knows, it is the inode of the socket.
    """

    listeners: Sequence[Listener]

    def __contains__(self, file: object) -> bool:
        return any(file == (one.endpoint.inode if one.names is None else one.names.file) for one in self.listeners)


def _given(app: Application, generation: int, given: socket.socket) -> Listener:
    sock = sockets.copy_of(given)
    return Listener(
        app=app.name, generation=generation, sock=sock, endpoint=endpoint_of(sock), names=None,
        where=None if app.port is None else (app.address, app.port),
        is_given=True, path=app.socket if app.port is None else None,
    )  # fmt: skip


def _tcp(app: Application, port: int, generation: int, others: Sequence[Listener], diag: Diag) -> Listener:
    before = next((one for one in others if one.where == (app.address, port)), None)
    if before is not None:
        # The socket belongs to the address, and goes with it from one application to another.
        if before.sock is None:
            raise SocketError(f"{before.address}: instances that were adopted still have it, and end first")
        sock = sockets.copy_of(before.sock)
        sock.listen(app.listen_queue_depth)
    else:
        try:
            sock = sockets.bind_tcp(app.address, port, app.listen_queue_depth)
        except OSError as error:
            why = foreign.who_listens(app.address, port, diag) if sockets.is_taken(error) else ""
            raise SocketError(f"{app.address} port {port}: {why or error.strerror}") from error
    return Listener(
        app=app.name, generation=generation, sock=sock, endpoint=endpoint_of(sock), names=None,
        where=(app.address, port),
    )  # fmt: skip
