"""One listening socket of an application."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from fcgipm import wire
from fcgipm.keeper.socketfile import SocketFile
from fcgipm.linux.sock_diag import Endpoint


@dataclass(slots=True, kw_only=True, eq=False)
class Listener:
    """A listening socket of an application."""

    app: str
    generation: int
    """For TCP the latest one whose instances use it."""
    sock: socket.socket
    endpoint: Endpoint
    names: SocketFile | None
    """None for TCP."""
    where: tuple[str, int] | None
    """Address and port of a TCP listener."""
    published: bool
    instances: int = 0
    closes_at: int | None = None
    """While it is watched for late-comers."""
    awaited: bool = False
    """Whether somebody has come meanwhile, and there is no instance for him yet."""

    @property
    def public(self) -> str | None:
        """The path that it is, was or will be published at; None for TCP."""
        return None if self.names is None else self.names.public

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
            bound=self.address if self.names is None else self.names.private,
            published=self.published,
        )
