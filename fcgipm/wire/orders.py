"""What the manager orders.  The keeper obeys these and nothing else: the list is closed, and a test holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, get_args

MAX_NOTE: Final = 8 * 1024
"""Bytes of one note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawn:
    """As `core.commands.Spawn`."""

    instance: int
    app: str
    generation: int
    turns_away: int | None = None
    above: int = 0
    canary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Check the script *path*, relative to the root called *root*, and publish its listener; twice is harmless."""

    root: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """As `core.commands.Watch`."""

    app: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Tell by `Unseen` whom the instances of *app* serve unseen: at once, or, where it is too early, not at all."""

    app: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire:
    """As `core.commands.Retire`."""

    instance: int
    cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """As `core.commands.Publish`."""

    app: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """Read the configuration again; answered by `Applied` with the same *request*.

    With *apps* only their definitions are taken over, those of new and of removed ones included; a *dry_run* changes
    nothing, and tells what would be changed.
    """

    request: int
    apps: tuple[str, ...] | None = None
    dry_run: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether all that the configuration says is to hold."""
        return self.apps is None and not self.dry_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """Connect to the listener of *generation*, or to that of its canary, which no visitor can reach."""

    app: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """Go on as the program that is installed by now, this very one or none; see `UpgradeFailed`."""

    request: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """As `core.commands.Note`."""

    app: str
    text: str
    wish: str = ""
    resting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown:
    """As `core.commands.Shutdown`."""

    status: int
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReopenLogs:
    """Close and open the log file, as after SIGUSR1; the new descriptor comes as `Handed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The manager has dealt with the first *count* reports since its snapshot.  Not an order: a sign of life."""

    count: int


Order: TypeAlias = (
    Spawn | Open | Watch | Count | Connect | Retire | Publish | Apply | Upgrade | Note | ReopenLogs | Shutdown | Heard
)

ORDERS: Final[Mapping[str, type[Any]]] = {kind.__name__: kind for kind in get_args(Order)}
"""By name, as it is on the wire."""
