"""What the keeper tells the manager: what has happened, and what became of its orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

from fcgipm.wire.snapshot import Begun, Definitions, Handed, ListenerFact, Snapshot

MAX_UNSEEN: Final = 1_000
"""Connections in one `Unseen`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawned:
    """As `core.events.Spawned`; carries the read ends of stdout and stderr."""

    instance: int
    pid: int
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpawnFailed:
    """As `core.events.SpawnFailed`."""

    instance: int
    step: str
    error: str
    at: int
    shortage: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BecameReady:
    """As `core.events.BecameReady`."""

    instance: int
    how: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """As `core.events.Exited`."""

    instance: int
    code: int | None
    signal: int | None
    dumped: bool
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """As `core.events.Removed`."""

    instance: int
    how: str
    connections: int
    waiting: int = 0
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalRefused:
    """As `core.events.RemovalRefused`."""

    instance: int
    why: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """As `core.events.Published`, with the listener as it is now."""

    listener: ListenerFact
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishFailed:
    """As `core.events.PublishFailed`."""

    app: str
    generation: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """The answer to `Connect`; carries the connection, a stream that does not block.  Its owner speaks at once."""

    app: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectFailed:
    """The answer to `Connect` where there is no such listener, or nobody takes connections there."""

    app: str
    generation: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SomebodyWaits:
    """As `core.events.SomebodyWaits`."""

    app: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """The answer to `Count`: connections that the kernel does not show to who asks it here.

    Their clients are in another network name space; *connections* are the inodes of the sockets that instances hold.
    """

    app: str
    connections: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The answer to `Open` where the script may be run: its definition and its listener, which is published."""

    root: str
    path: str
    definition: Mapping[str, Any]
    listener: ListenerFact


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFailed:
    """The answer to `Open` where no application can be made of it."""

    root: str
    path: str
    error: str
    obstacle: Literal["missing", "directory", "forbidden"]
    """Nothing is there; a directory, in which a script may be; or what may not be run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramChanged:
    """As `core.events.ProgramChanged`."""

    app: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signalled:
    """The daemon got a signal: ``TERM`` (stop), ``HUP`` (apply) or ``USR1`` (re-open logs)."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedKey:
    """One difference that an apply found; *effect* is a `config.schema.Change`, or ``added`` / ``removed``."""

    app: str | None
    key: str
    effect: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The answer to `Apply`: *problems* (then nothing was changed), or what changed and the new definitions.

    After a dry run *changes* are those that would be, and there are no *definitions*.
    """

    request: int
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    changes: tuple[ChangedKey, ...]
    definitions: Definitions | None
    listeners: tuple[ListenerFact, ...]
    pending: tuple[ChangedKey, ...] = ()
    """Differences of applications, and of the daemon, that were not asked for: they are in the file only."""
    unknown: tuple[str, ...] = ()
    """With *problems*: names that were asked for and that nobody defines, neither before nor in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeFailed:
    """The answer to `Upgrade` where the old program goes on; where the new one does, it is in the next snapshot."""

    request: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """An order was refused by the keeper's own checks: a bug in the manager, or somebody who has captured it."""

    order: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """The manager did not read an instance's output, so the keeper threw away *bytes* of it."""

    instance: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Something that the keeper noticed and has logged; *level* is a word of log-level."""

    level: str
    topic: str
    app: str | None
    text: str


Report: TypeAlias = (
    Snapshot
    | Handed
    | Begun
    | Spawned
    | SpawnFailed
    | BecameReady
    | Exited
    | Removed
    | RemovalRefused
    | Published
    | PublishFailed
    | Connected
    | ConnectFailed
    | SomebodyWaits
    | Unseen
    | Opened
    | OpenFailed
    | ProgramChanged
    | Signalled
    | Applied
    | UpgradeFailed
    | Denied
    | Drained
    | Told
)

REPORTS: Final[Mapping[str, type[Any]]] = {kind.__name__: kind for kind in get_args(Report)}
"""By name, as it is on the wire."""
