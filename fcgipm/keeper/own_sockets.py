"""fcgipm's own listening sockets: the keeper binds them, the manager serves them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fcgipm.config.socketnames import private_path
from fcgipm.keeper import foreign, sockets
from fcgipm.keeper.sockets import Attributes, FileId, SocketError
from fcgipm.linux.sock_diag import Diag

if TYPE_CHECKING:
    from fcgipm.config.loaded import Loaded

_DEPTH: Final = 128
_EVERYBODY: Final = 0o666
"""Who may do what is decided by who it is, not by the file's mode."""


@dataclass(frozen=True, slots=True)
class _Bound:
    sock: socket.socket
    public: str | None = None
    file: FileId | None = None


class OwnSockets:
    """The control socket, and the metrics listener where there is one."""

    def __init__(self, loaded: Loaded, diag: Diag, say: Callable[[str, str], None]) -> None:
        """Bind both; raise `SocketError`.

        A default metrics address that is taken is only a warning, given to *say* (level, text).
        """
        self._runtime_dir = loaded.config.daemon.runtime_dir
        self._diag = diag
        self._bound: dict[str, _Bound] = {}
        try:
            # The lock of the directory is ours: who still listens there is the manager of a keeper that was killed.
            self._bound["control"] = self._unix(os.path.join(self._runtime_dir, "control.sock"), "control")
            self._bind_metrics(loaded, say)
        except SocketError:
            self.close()
            raise

    def handed(self) -> list[tuple[str, int]]:
        """Return what is handed to the manager: names (``control``, ``metrics``) and descriptors."""
        return [(name, bound.sock.fileno()) for name, bound in self._bound.items()]

    def close(self) -> None:
        """Close them and remove their names."""
        for bound in self._bound.values():
            if bound.public is not None and bound.file is not None:
                sockets.unpublish(bound.public, bound.file)
            bound.sock.close()
        self._bound.clear()

    def _bind_metrics(self, loaded: Loaded, say: Callable[[str, str], None]) -> None:
        where = loaded.config.daemon.metrics_listen
        if not where:
            return
        try:
            self._bound["metrics"] = self._unix(where[5:], "metrics") if where.startswith("unix:") else self._tcp(where)
        except SocketError as error:
            if "metrics_listen" in loaded.written:
                raise SocketError(f"metrics-listen: {error}") from error
            say("warning", f"metrics-listen: {error}; metrics are on the control socket only")

    def _unix(self, public: str, name: str) -> _Bound:
        if name != "control":
            foreign.refuse(public, (), self._diag)
        private = private_path(self._runtime_dir, public, name, 1)
        attributes = Attributes(os.geteuid(), os.getegid(), _EVERYBODY)
        sock = sockets.bind_unix(private, attributes, _DEPTH)
        try:
            sockets.publish(private, public)
        except OSError as error:
            sock.close()
            raise SocketError(f"{public}: {error.strerror}") from error
        finally:
            file = sockets.file_id(private)
            sockets.remove_private(private)
        return _Bound(sock, public, file)

    def _tcp(self, where: str) -> _Bound:
        address, _, port = where.rpartition(":")
        address = address.strip("[]")
        try:
            return _Bound(sockets.bind_tcp(address, int(port), _DEPTH))
        except OSError as error:
            why = foreign.who_listens(address, int(port), self._diag) if sockets.is_taken(error) else ""
            raise SocketError(f"{where}: {why or error.strerror}") from error
