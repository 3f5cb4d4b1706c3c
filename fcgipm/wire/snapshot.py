"""What a new manager is told first: what there is, and by which descriptors it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFact:
    """An instance that lives while a manager is started; *pid* and *state* as the keeper knows them."""

    instance: int
    app: str
    generation: int
    pid: int
    ready: str | None
    """How it was seen to be ready (`Readiness`), None while it is starting."""
    asked: bool
    """Whether it was already sent its stop signal."""
    outdated: bool
    """Whether another definition holds by now than the one it was started with."""
    started_at: int
    ready_at: int | None
    turns_away: bool = False
    """Whether it is what answers 503 for the application, no instance of it."""
    canary: bool = False
    """Whether it is on a private listener of its own, where only a probe comes."""
    estranged: bool = False
    """Whether nobody has its listener any more but itself: no other instance can be started there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerFact:
    """A listener that the keeper holds."""

    app: str
    generation: int
    address: str
    """``unix:/public/path`` or ``tcp:HOST:PORT``."""
    bound: str
    """The name that it was bound to: the private path, or the same as *address* for TCP."""
    published: bool
    inode: int = 0
    """Of the socket, which tells it from others of the same name; 0 where there is none any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definitions:
    """The configuration without the values of the environment, as JSON of the classes in `config.schema`."""

    daemon: Mapping[str, Any]
    applications: tuple[Mapping[str, Any], ...]
    """The declared ones, and the dynamic ones that were opened."""
    externals: tuple[Mapping[str, Any], ...]
    dynamic: Mapping[str, Any] | None
    access: Mapping[str, str]
    """Who may use the control socket: str(uid) or ``%GID`` -> ``admin`` or ``read``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgraded:
    """The daemon's program was replaced by the one that is installed, in the same process."""

    count: int
    """How often that was done in all."""
    before: str
    """The version until then."""
    at: int
    """Monotonic nanoseconds when the old program stopped."""
    at_unix: float
    """The same as seconds since 1970."""
    instances: int
    """How many were there, and are not touched by it."""
    pause: int | None
    """Nanoseconds in which nothing was started or reaped; None while it lasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that a new manager needs; `Handed` messages with the descriptors follow, then `Begun`."""

    version: str
    pid: int
    uid: int
    """As whom the keeper runs."""
    started_at: int
    """Monotonic nanoseconds."""
    started_unix: float
    """Seconds since 1970, for people."""
    definitions: Definitions
    instances: tuple[InstanceFact, ...]
    listeners: tuple[ListenerFact, ...]
    notes: Mapping[str, str]
    next_instance: int
    ending: int | None
    """The exit status with which the daemon is to end, where that is decided."""
    keeps_sockets: bool = False
    """Whether its sockets outlive the daemon, so that visitors can wait there for the next one."""
    upgraded: Upgraded | None = None
    """The last time that was done; None: this process has always run this program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """Descriptors: ``control``, ``connector``, ``report``, ``metrics``, ``log`` (one each), or ``pipes``.

    Pipes are two, the stdout and stderr of an instance.
    """

    what: str
    instance: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """The snapshot is complete."""
