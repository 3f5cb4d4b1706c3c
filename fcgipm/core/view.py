"""What the core shows of itself: immutable pictures for status, metrics, outcomes and tests."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from fcgipm.core.events import InstanceId, Instant


class AppState(enum.Enum):
    """The state of an application, derived from its instances and what is wanted of it."""

    STOPPED = "stopped"
    """Not wanted: by an operator, or not started yet (autostart = false)."""
    IDLE = "idle"
    """None runs, none is needed; a visitor starts one."""
    STARTING = "starting"
    """None is ready yet."""
    RUNNING = "running"
    """At least one instance is ready."""
    BACKOFF = "backoff"
    """None is ready, and the next try waits because the last ones failed."""
    FAILED = "failed"
    """The definition cannot work; nothing is tried until somebody says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveInstance:
    """An instance that a new engine finds alive."""

    instance: InstanceId
    app: str
    generation: int
    pid: int
    started_at: Instant
    ready_at: Instant | None
    asked: bool
    """Whether it was sent its stop signal."""
    outdated: bool = False
    """Whether another definition holds by now than the one it was started with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceView:
    """One instance."""

    instance: InstanceId
    pid: int | None
    """None until it is exec'd."""
    state: str
    """``starting``, ``ready`` or ``retiring``."""
    started_at: Instant | None
    ready_at: Instant | None
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AppView:
    """One application."""

    name: str
    state: AppState
    generation: int
    """The published one; 0 where none is."""
    wanted: int
    ready: int
    """Instances that are ready and not being retired."""
    restarts: int
    """How many instances ended unasked."""
    reason: str
    """Why it is as it is; empty where nothing needs a word."""
    next_at: Instant | None
    """When the next instance is started; None: at once, or not at all."""
    backoff_until: Instant | None
    abandoned: int
    """The newest generation that was given up, 0 where none was."""
    cut: int
    """Connections that were cut by removals so far."""
    instances: tuple[InstanceView, ...]
