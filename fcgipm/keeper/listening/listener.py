"""One listening socket of an application."""

from __future__ import annotations

import enum
import socket
from dataclasses import dataclass

from fcgipm import wire
from fcgipm.config.schema import Application
from fcgipm.keeper.listening.socketfile import SocketFile
from fcgipm.keeper.listening.sockets import host_and_port
from fcgipm.linux.sock_diag import Endpoint


class Reach(enum.Enum):
    """Whether visitors come to a listener."""

    HIDDEN = "hidden"
    """None ever did."""
    PUBLIC = "public"
    WITHDRAWN = "withdrawn"
    """None find it any more; one may have been on the way to it."""


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
    """Of one that all generations share the latest whose instances use it."""
    sock: socket.socket | None
    """None where its instances alone have it, who were adopted, and we may not take it: it ends with them."""
    endpoint: Endpoint
    names: SocketFile | None
    """None for TCP, and for what is given."""
    where: tuple[str, int] | None
    """Address and port of a TCP listener."""
    reach: Reach = Reach.HIDDEN
    instances: int = 0
    closes_at: int | None = None
    """While it is watched for late-comers."""
    vigil: Vigil = Vigil.OFF
    canary: bool = False
    """Whether it is for one instance that is tried, and never public."""
    is_given: bool = False
    """Whether systemd has opened it, and holds it, too."""
    path: str | None = None
    """Of a Unix socket that is given: where the application's definition has it."""
    stored: str = ""
    """The name under which systemd keeps it while there is no keeper; empty where it does not."""

    def fileno(self) -> int:
        """Return its descriptor; of a listener that we have."""
        assert self.sock is not None, self.address
        return self.sock.fileno()

    def close(self) -> None:
        """Close it, if we have it."""
        if self.sock is not None:
            self.sock.close()

    @property
    def public(self) -> str | None:
        """The path that it is, was or will be published at; None for TCP."""
        return self.path if self.names is None else self.names.public

    @property
    def published(self) -> bool:
        """Whether visitors come to it."""
        return self.reach is Reach.PUBLIC

    @property
    def is_shared(self) -> bool:
        """Whether all generations use it, and nothing has to be done to make it public."""
        return self.names is None

    @property
    def is_unused(self) -> bool:
        """Whether an apply has made it and nobody has used it yet."""
        return not self.published and not self.instances and self.closes_at is None

    @property
    def outlives(self) -> bool:
        """Whether visitors can go on to come to it when the daemon has ended."""
        return self.published and bool(self.stored)

    def is_at(self, app: Application) -> bool:
        """Return whether it is where the definition of *app* has its socket."""
        if self.where is not None:
            return self.where == (app.address, app.port)
        return app.port is None and self.public == app.socket

    @property
    def address(self) -> str:
        """``unix:PATH`` or ``tcp:HOST:PORT``."""
        if self.where is None:
            return f"unix:{self.public}"
        return f"tcp:{host_and_port(*self.where)}"

    @property
    def bound(self) -> str:
        """The path by which the kernel knows it, or its address where it is a TCP listener."""
        if self.names is not None:
            return self.names.private
        return self.address if self.where is not None else str(self.endpoint.name)

    def fact(self) -> wire.ListenerFact:
        """Return what the manager must know of it."""
        return wire.ListenerFact(
            app=self.app,
            generation=self.generation,
            address=self.address,
            bound=self.bound,
            published=self.published,
            inode=self.endpoint.inode,
        )
