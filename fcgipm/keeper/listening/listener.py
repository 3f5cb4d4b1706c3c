"""One listening socket of an application."""

from __future__ import annotations

import enum
import socket
from dataclasses import dataclass

from fcgipm import wire
from fcgipm.keeper.listening.socketfile import SocketFile
from fcgipm.linux.sock_diag import Endpoint


class Vigil(enum.Enum):
    """Whether a listener is watched for somebody who comes, by a watch that tells once and costs one event."""

    OFF = enum.auto()
    EMPTY = enum.auto()
    """It has no instances; the first one ends the watch."""
    ORDERED = enum.auto()
    """The manager wants to hear of the next one who comes, instances or not."""
    AWAITED = enum.auto()
    """Somebody has come, and no instance since."""

    @property
    def is_armed(self) -> bool:
        """Whether it still has to tell."""
        return self in {Vigil.EMPTY, Vigil.ORDERED}


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
    vigil: Vigil = Vigil.OFF
    canary: bool = False
    """Whether it is for one instance that is tried, and never public."""

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
            inode=self.endpoint.inode,
        )
