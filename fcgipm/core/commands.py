"""What is to be done: the commands that come out of `fcgipm.core.engine.Engine.step`.

Commands are imperative, frozen, and each says why.  Whoever carries one out answers with an event of
`fcgipm.core.events`, also when it failed.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TypeAlias

from fcgipm.core.events import InstanceId


class Severity(enum.IntEnum):
    """How much a message matters; the words are those of log-level."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Topic(enum.Enum):
    """What a `Tell` is about: the stable names of `fcgipmctl events` and of the counters' reasons."""

    APP_STARTED = "app-started"
    APP_STOPPING = "app-stopping"
    APP_STOPPED = "app-stopped"
    APP_RESTARTING = "app-restarting"
    APP_RESTARTED = "app-restarted"
    APP_RELOADING = "app-reloading"
    APP_RELOADED = "app-reloaded"
    APP_SCALED = "app-scaled"
    APP_ADDED = "app-added"
    APP_REMOVED = "app-removed"
    APP_GONE = "app-gone"
    APP_CHANGED = "app-changed"
    APP_OPENED = "app-opened"
    APP_FORGOTTEN = "app-forgotten"
    INSTANCE_STARTED = "instance-started"
    INSTANCE_READY = "instance-ready"
    INSTANCE_ENDED = "instance-ended"
    INSTANCE_REMOVED = "instance-removed"
    INSTANCE_SPARED = "instance-spared"
    OVERLOADED = "overloaded"
    START_FAILED = "start-failed"
    START_DENIED = "start-denied"
    BACKOFF_ENTERED = "backoff-entered"
    BACKOFF_HEALED = "backoff-healed"
    APP_FAILED = "app-failed"
    GENERATION_PUBLISHED = "generation-published"
    GENERATION_ABANDONED = "generation-abandoned"
    REQUESTS_CUT = "requests-cut"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawn:
    """Start an instance on the listener of *generation*; answered by `Spawned` or `SpawnFailed`."""

    app: str
    generation: int
    instance: InstanceId
    why: str
    turns_away: int | None = None
    """Not the application's own program but fcgipm's, which answers 503 with this Retry-After, in seconds."""
    above: int = 0
    """That program takes nobody from the queue unless more than so many wait in it."""
    canary: bool = False
    """On a private listener of its own, where no visitor comes and only a probe does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Say once, by `SomebodyWaits`, when a connection comes to the public listener of *app*, which is at rest."""

    app: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire:
    """Try once to remove an instance; answered by `Removed` or `RemovalRefused`.

    Without *cut* nothing is lost by it: the instance is frozen and looked at, and goes on if it serves anybody.
    """

    instance: InstanceId
    cut: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Make the listener of *generation* the public one, made first where it is missing.

    Answered by `Published` or `PublishFailed`.  Only for Unix sockets: a TCP listener has no generations.
    """

    app: str
    generation: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Send the application's probe to the listener of *generation* that nobody meets yet; answered by `Probed`."""

    app: str
    generation: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Keep *text* for *app*: what must outlive the manager; handed back to a new `Engine`."""

    app: str
    text: str
    wish: str = ""
    """What of it outlives a graceful end of the daemon, too, and is handed back after that: what people have asked for.

    Empty where that is nothing.
    """
    resting: bool = False
    """Whether no instance is to be expected soon: nobody has to wait for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown:
    """End the daemon with exit *status*: first said when that is decided, then *finished* when nothing runs any more.

    The first one lets the keeper remember it over the death of a manager.
    """

    status: int
    finished: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Let people know: one line of log, and one event for `fcgipmctl events`."""

    severity: Severity
    topic: Topic
    app: str | None
    text: str
    """The whole message: what, to which object, why, what happens next."""
    instance: InstanceId | None = None
    reason: str = field(default="")
    """A short word for counters: the reason of a spawn, an exit, a denial, the result of a removal."""


Command: TypeAlias = Spawn | Watch | Retire | Publish | Probe | Note | Shutdown | Tell
