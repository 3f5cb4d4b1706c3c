"""Sockets that systemd has opened for declared applications: used as they are, by all generations alike."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fcgipm.keeper.listening.sockets import SocketError, family_of, host_and_port, is_internet
from fcgipm.linux.systemd import Passed

if TYPE_CHECKING:
    from fcgipm.config.loaded import Loaded
    from fcgipm.config.schema import Application

_SUFFIX: Final = ".socket"
"""A socket is called as its unit, where that gives it no name."""


class Given:
    """These sockets, held until `close`, whoever uses them meanwhile."""

    def __init__(self) -> None:
        self._socks: list[socket.socket] = []

    def take(
        self, passed: Iterable[Passed], applications: Mapping[str, Application], say: Callable[[str, str], None]
    ) -> None:
        """Take those of *passed* that are for *applications*; refuse and close the others.

        *say* takes a level and a line for the log.  Raises `SocketError`, with all problems, where a socket cannot be
        used by the application that it is for: that one would have none.
        """
        problems = []
        for one in passed:
            app = applications.get(one.name) or applications.get(one.name.removesuffix(_SUFFIX))
            try:
                sock = _listening(one, app)
            except SocketError as error:
                os.close(one.number)
                if app is None:
                    say("error", f"{error}; it is not used")
                else:
                    problems.append(str(error))
                continue
            self._socks.append(sock)
            app = app or next((each for each in applications.values() if _is_at(sock, each)), None)
            if app is None:
                self._socks.remove(sock)
                text = f"systemd passes a socket {one.name} at {_where(sock)}, where no declared application listens"
                say("error", f"{text}; it is not used")
                sock.close()
            elif not _is_at(sock, app):
                text = f"the socket that systemd passes for {app.name} listens at {_where(sock)}"
                problems.append(
                    f"{text}, but app.{app.name} at {_place_of(app)}; let one of them say what the other does"
                )
        if problems:
            self.close()
            raise SocketError("\n".join(problems))

    def of(self, app: Application) -> socket.socket | None:
        """Return the socket for *app*, which stays ours; None where there is none."""
        if app.is_dynamic:
            return None
        return next((sock for sock in self._socks if _is_at(sock, app)), None)

    def renewed(self, loaded: Loaded) -> Loaded:
        """Return *loaded* with a mark on each application whose socket is given."""
        if not self._socks:
            return loaded
        apps = loaded.config.applications
        marked = {name: replace(app, given_socket=True) for name, app in apps.items() if self.of(app) is not None}
        return replace(loaded, config=replace(loaded.config, applications={**apps, **marked}))

    def descriptors(self) -> list[int]:
        """Return what is held, and stays ours; to `take` it needs no name, because its address tells."""
        return [sock.fileno() for sock in self._socks]

    def close(self) -> None:
        """Hold them no more; systemd still does."""
        for sock in self._socks:
            sock.close()
        self._socks.clear()


def _listening(one: Passed, app: Application | None) -> socket.socket:
    """Return the socket that *one* is, *app*'s if that is known; raise `SocketError` where nobody can accept there."""
    text = f"systemd passes {one.name}" if app is None else f"systemd passes a socket for {app.name}"
    if not stat.S_ISSOCK(os.fstat(one.number).st_mode):
        raise SocketError(f"{text} that is no socket")
    # Looked at through a copy: what is refused stays as it was.
    with socket.socket(fileno=os.dup(one.number)) as sock:
        if sock.family != socket.AF_UNIX and not is_internet(sock):
            raise SocketError(f"{text} of a family that no web server speaks to; it must be a Unix or a TCP socket")
        if sock.type != socket.SOCK_STREAM:
            raise SocketError(f"{text} that takes no connections; ListenStream= makes one that does")
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise SocketError(f"{text} that does not listen; its unit must not have Accept=yes")
    return socket.socket(fileno=one.number)


def _is_at(sock: socket.socket, app: Application) -> bool:
    """Return whether *sock* listens where the definition of *app* says."""
    if is_internet(sock):
        host, port, *_ = sock.getsockname()
        if port != app.port or family_of(app.address) != sock.family:
            return False
        mine, its = (socket.inet_pton(sock.family, text) for text in (host.partition("%")[0], app.address))
        return mine == its
    path = sock.getsockname()
    if app.port is not None or app.socket is None or not isinstance(path, str) or not path:
        return False
    with contextlib.suppress(OSError):
        return path == app.socket or os.path.samestat(os.lstat(path), os.lstat(app.socket))  # /var/run is /run
    return False


def _where(sock: socket.socket) -> str:
    name = sock.getsockname()
    if is_internet(sock):
        return host_and_port(name[0], name[1])
    return name.decode(errors="replace").replace("\0", "@") if isinstance(name, bytes) else name or "no address"


def _place_of(app: Application) -> str:
    if app.port is None:
        return str(app.socket)
    return host_and_port(app.address, app.port)
