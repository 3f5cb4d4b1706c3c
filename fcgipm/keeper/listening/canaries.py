"""Listeners of canaries: one instance is tried on a socket of its own before it may share the one of visitors."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

from fcgipm.keeper.listening import foreign, rights, socketfile
from fcgipm.keeper.listening.listener import Listener
from fcgipm.keeper.listening.sockets import SocketError, family_of
from fcgipm.linux.sock_diag import endpoint_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fcgipm.config.schema import Application
    from fcgipm.keeper.context import Context
    from fcgipm.keeper.listening.guard import Guard
    from fcgipm.keeper.listening.place import Places


def name_of(instance: int) -> str:
    """Return the private name of the canary *instance*.

    No application's name begins with a dot, and this is shorter than most: it fits wherever theirs do.
    """
    return f".c{instance}"


class Canaries:
    """The listeners of all canaries.  Each has a private name only, and goes with its instance."""

    def __init__(self, context: Context, guard: Guard, places: Places) -> None:
        self._context = context
        self._guard = guard
        self._places = places
        self._all: list[Listener] = []

    def make(self, app: Application, generation: int, instance: int) -> Listener:
        """Return a listener for the canary *instance* of *app*; raise `SocketError`, LookupError or OSError."""
        runtime_dir = self._context.loaded.config.daemon.runtime_dir
        name = name_of(instance)
        sock, names = socketfile.bind(
            self._places,
            self._guard,
            runtime_dir=runtime_dir,
            public=os.path.join(runtime_dir, name),
            name=name,
            attributes=rights.attributes_of(app),
            depth=app.listen_queue_depth,
            check=lambda place, private: foreign.refuse_private(place, private, (), self._context.diag),
        )
        listener = Listener(
            app=app.name, generation=generation, sock=sock, endpoint=endpoint_of(sock), names=names, where=None,
            canary=True,
        )  # fmt: skip
        self._all.append(listener)
        return listener

    def of(self, app: str, generation: int) -> Iterator[Listener]:
        """Yield those of this generation of *app*, the latest first."""
        return (one for one in reversed(self._all) if (one.app, one.generation) == (app, generation))

    def count(self, app: str) -> int:
        """Return how many *app* has."""
        return sum(one.app == app for one in self._all)

    def close(self, listener: Listener) -> None:
        """Close *listener*, whose instance has gone."""
        self._all.remove(listener)
        if listener.names is not None:
            listener.names.remove()
        listener.close()

    def close_all(self) -> None:
        """Close everything, at the end of the daemon."""
        for listener in list(self._all):
            self.close(listener)


def connection_to(listener: Listener) -> socket.socket:
    """Return a connection to *listener*, one that does not block; raise OSError, `SocketError`.

    A Unix socket is met by its private name.  At a port it may still be on its way.
    """
    if listener.where is not None:
        return _connection_to_port(*listener.where)
    if listener.names is None:
        raise SocketError(f"{listener.address} is no Unix socket")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.names.meet(sock)
    except BlockingIOError:
        sock.close()
        raise SocketError("its queue is full") from None
    except BaseException:
        sock.close()
        raise
    return sock


def _connection_to_port(address: str, port: int) -> socket.socket:
    sock = socket.socket(family_of(address), socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return sock
