"""One listening socket of an application."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from fcgipm import wire
from fcgipm.keeper.sockets import FileId
from fcgipm.linux.sock_diag import Endpoint


@dataclass(slots=True, kw_only=True, eq=False)
class Listener:
    """A listening socket of an application."""

    app: str
    generation: int
    """For TCP the latest one whose instances use it."""
    sock: socket.socket
    endpoint: Endpoint
    public: str | None
    """The path that it is, was or will be published at; None for TCP."""
    private: str | None
    file: FileId | None
    where: tuple[str, int] | None
    """Address and port of a TCP listener."""
    published: bool
    instances: int = 0
    closes_at: int | None = None
    """While it is watched for late-comers."""

    @property
    def address(self) -> str:
        """``unix:PATH`` or ``tcp:HOST:PORT``."""
        if self.where is None:
            return f"unix:{self.public}"
        host, port = self.where
        return f"tcp:[{host}]:{port}" if ":" in host else f"tcp:{host}:{port}"

    def fact(self) -> wire.ListenerFact:
        """Return what the manager must know of it."""
        return wire.ListenerFact(
            app=self.app,
            generation=self.generation,
            address=self.address,
            bound=self.address if self.private is None else self.private,
            published=self.published,
        )
