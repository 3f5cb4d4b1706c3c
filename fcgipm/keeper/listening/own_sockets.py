"""fcgipm's own listening sockets: the keeper binds them, the manager serves them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from fcgipm.keeper.keeping.heritage import Heritage, own_key
from fcgipm.keeper.listening import foreign, socketfile, sockets
from fcgipm.keeper.listening.guard import Guard
from fcgipm.keeper.listening.place import Places
from fcgipm.keeper.listening.socketfile import SocketFile
from fcgipm.keeper.listening.sockets import Attributes, SocketError
from fcgipm.linux.sock_diag import Diag

if TYPE_CHECKING:
    from fcgipm.config.loaded import Loaded

_DEPTH: Final = 128
_CONNECTOR_DEPTH: Final = 1024
"""nginx does not wait for room in a queue, and each visitor of an application that has to be started asks once."""
_EVERYBODY: Final = 0o666
"""Who may do what is decided by who it is, not by the file's mode."""
_WEB_SERVER: Final = 0o660


class OwnSockets:
    """The control socket, those of connectors, and the metrics listener where there is one."""

    def __init__(
        self,
        loaded: Loaded,
        diag: Diag,
        guard: Guard,
        places: Places,
        tell: Callable[[str, str, str], None],
        *,
        heritage: Heritage | None = None,
    ) -> None:
        """Bind them all, but for those that are in *heritage*, whose queues go on; raise `SocketError`.

        What is only a pity, such as a default metrics address that is taken, is given to *tell* (level, topic, text).
        """
        self._heritage = Heritage() if heritage is None else heritage
        self._runtime_dir = loaded.config.daemon.runtime_dir
        self._diag, self._guard, self._places, self._tell = diag, guard, places, tell
        self._socks: dict[str, socket.socket] = {}
        self._files: list[SocketFile] = []
        try:
            everybody = Attributes(os.geteuid(), os.getegid(), _EVERYBODY)
            web_server = Attributes(os.geteuid(), loaded.web.gid, _WEB_SERVER)
            self._unix("control", everybody, _DEPTH)
            self._unix("connector", web_server, _CONNECTOR_DEPTH)
            self._unix("report", web_server, None)
            self._bind_metrics(loaded, everybody)
        except SocketError:
            self.close()
            raise

    def handed(self) -> list[tuple[str, int]]:
        """Return what is handed to the manager: names as in `wire.Handed`, and descriptors."""
        return [(name, sock.fileno()) for name, sock in self._socks.items()]

    def close(self) -> None:
        """Close them and remove their names."""
        for file in self._files:
            file.remove()
        for sock in self._socks.values():
            sock.close()
        self._files.clear()
        self._socks.clear()

    def _bind_metrics(self, loaded: Loaded, everybody: Attributes) -> None:
        where = loaded.config.daemon.metrics_listen
        if not where:
            return
        try:
            if where.startswith("unix:"):
                self._unix("metrics", everybody, _DEPTH, where[5:])
            else:
                self._socks["metrics"] = self._tcp(where)
        except SocketError as error:
            if "metrics_listen" in loaded.written:
                raise SocketError(f"metrics-listen: {error}") from error
            self._tell("warning", "metrics", f"metrics-listen: {error}; metrics are on the control socket only")

    def _unix(self, name: str, attributes: Attributes, depth: int | None, public: str = "") -> None:
        """Bind *name* in the runtime directory, or at the path *public*; without *depth* for datagrams."""
        path = public or os.path.join(self._runtime_dir, f"{name}.sock")
        sock, file = self._inherited(name, path) or socketfile.bind(
            self._places, self._guard, runtime_dir=self._runtime_dir, public=path, name=f"{name}.1",
            attributes=attributes, depth=depth, check=lambda *_: None,
        )  # fmt: skip
        self._socks[name] = sock
        self._files.append(file)
        try:
            # The runtime directory is locked: who still listens there is the manager of a keeper that was killed.
            if public:
                file.refuse_others(set(), self._diag)
            file.watch(self._tell)
            file.publish()
        except OSError as error:
            raise SocketError(f"{path}: {error.strerror}") from error

    def _inherited(self, name: str, path: str) -> tuple[socket.socket, SocketFile] | None:
        """Return the socket *name* and its file, where it is inherited and can still be reached."""
        number = self._heritage.take_key(own_key(name))
        if number is None:
            return None
        sock = socket.socket(fileno=number)
        try:
            file = socketfile.find(
                self._places, self._guard, runtime_dir=self._runtime_dir, public=path, name=f"{name}.1"
            )
        except SocketError as error:
            sock.close()
            self._tell("warning", "socket-lost", f"{error}; a new socket is bound, and who waits there is not answered")
            return None
        return sock, file

    def _tcp(self, where: str) -> socket.socket:
        number = self._heritage.take_key(own_key("metrics"))
        if number is not None:
            return socket.socket(fileno=number)
        address, _, port = where.rpartition(":")
        address = address.strip("[]")
        try:
            return sockets.bind_tcp(address, int(port), _DEPTH)
        except OSError as error:
            why = foreign.who_listens(address, int(port), self._diag) if sockets.is_taken(error) else ""
            raise SocketError(f"{where}: {why or error.strerror}") from error
