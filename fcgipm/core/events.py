"""What can happen: the events that go into `fcgipm.core.engine.Engine.step`.

Events are in the past tense and frozen.  What comes back is in `fcgipm.core.commands`.
Facts that the keeper observed carry the instant at which it did, because the manager may hear of them late.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NewType, TypeAlias

from fcgipm.config.schema import Application, Change, Dynamic

Instant = NewType("Instant", int)
"""A point in time: nanoseconds of the monotonic clock."""

InstanceId = NewType("InstanceId", int)
"""The number of an instance (``blog/12``), never used again while the daemon lives."""


class Readiness(enum.Enum):
    """How it was seen that an instance is ready."""

    ACCEPTING = "accepting"
    """It waits in accept, poll, select or epoll for its listener."""
    SERVING = "serving"
    """It already holds an accepted connection."""
    ASSUMED = "assumed"
    """It slept in something else for the whole ready-timeout."""


class Refusal(enum.Enum):
    """Why a verified kill was not done."""

    BUSY = "busy"
    """The instance holds an accepted connection."""
    QUEUE = "queue"
    """It is the last one on an unpublished listener where connections still wait."""
    UNSTOPPABLE = "unstoppable"
    """Its processes could not be frozen in time (a vfork in flight)."""
    LOCK = "lock"
    """One of its processes holds a file lock that others wait for."""
    GONE = "gone"
    """It ended meanwhile; its end is told by `Exited`."""


class Removal(enum.Enum):
    """How an instance was removed."""

    KILLED = "killed"
    """Verified idle, then killed."""
    ASKED = "asked"
    """Nothing can reach it any more, and it was sent its stop signal; the next order kills it."""
    CUT = "cut"
    """Killed although it may have been serving."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawned:
    """The instance was exec'd."""

    instance: InstanceId
    pid: int
    at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class SpawnFailed:
    """The instance could not be exec'd; *step* and *error* say where and why.

    A *shortage* is the system's: of descriptors, processes, memory or room.  It says nothing of the program.
    """

    instance: InstanceId
    step: str
    error: str
    at: Instant
    shortage: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BecameReady:
    """The instance accepts connections."""

    instance: InstanceId
    how: Readiness
    at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """The instance ended: by itself with *code*, or by *signal*; neither is known of one that was not our child."""

    instance: InstanceId
    code: int | None
    signal: int | None
    dumped: bool
    at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A `Retire` was carried out; `Exited` follows.  *connections* is how many were cut.

    *waiting* is how many were in the queue then, of a listener that nobody can reach any more.
    """

    instance: InstanceId
    how: Removal
    connections: int
    waiting: int = 0
    at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalRefused:
    """A `Retire` was not carried out, nothing was lost, and the instance goes on."""

    instance: InstanceId
    why: Refusal
    at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The listener of *generation* is the public one of *app* now."""

    app: str
    generation: int
    at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishFailed:
    """The listener of *generation* could not be made or published; the old one still is."""

    app: str
    generation: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """The probe of *generation*, which nobody has met yet, was answered as it should be, or not: *error* says why."""

    app: str
    generation: int
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SomebodyWaits:
    """A connection waits at a listener of *app* that has no instance, or that was to be watched once."""

    app: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was seen of one application at one instant, and how much came together since the sample before."""

    queued: int
    """Connections in the queue of its public listener, whether somebody still waits there or not."""
    limit: int
    """How many the queue takes; more *queued* than this: visitors are being refused (Unix) or delayed (TCP)."""
    abandoned: int = 0
    """Those of *queued* who have given up."""
    oldest_since: Instant | None = None
    """When the oldest of those who still wait was first seen; None where nobody does."""
    busy: int = 0
    """Accepted connections, of all its generations."""
    connection_time: int = 0
    """Nanoseconds: of reported requests, else the integral of accepted connections."""
    requests: int = 0
    """Requests that were reported, else connections that were seen for the first time: then an estimate."""
    memory: Mapping[InstanceId, int] = field(default_factory=dict)
    """Resident bytes of whole sessions, of those instances that were looked at."""

    @property
    def waiting(self) -> int:
        """How many wait and have not given up."""
        return max(self.queued - self.abandoned, 0)

    @property
    def is_full(self) -> bool:
        """Whether the queue takes nobody any more."""
        return self.queued > self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Applications were looked at, by name; one that is not among them could not be seen."""

    samples: Mapping[str, Sample]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A connector wants *app* to have an instance that is ready."""

    app: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A dynamic application exists from now on: its script may be run, and the listener of *generation* is public."""

    definition: Application
    generation: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramChanged:
    """The program file of *app*, or one that its ``auto-update`` watches, was replaced or rewritten."""

    app: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationApplied:
    """A new configuration holds; *changes* is the most far-reaching change of each app whose definition differs.

    *applications* are all that exist, the dynamic ones that were opened included.
    """

    applications: Mapping[str, Application]
    changes: Mapping[str, Change]
    dynamic: Dynamic | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequested:
    """An operator wants *app* to run."""

    app: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequested:
    """An operator wants *app* not to run."""

    app: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartRequested:
    """An operator wants every instance of *app* replaced, the replacement first."""

    app: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadRequested:
    """*app* is to run what its definition and its files are now: a new generation, proved before visitors meet it.

    *why* goes on after the application's name, ``its files have changed``; empty: an operator wants it.
    """

    app: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleRequested:
    """An operator wants *processes* instances of *app*; None: as many as configured."""

    app: str
    processes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownRequested:
    """The daemon is to end with exit *status* when its instances have.

    *keeps_sockets*: another one takes its sockets over, so visitors go on to come in, and wait for it.
    """

    status: int = 0
    keeps_sockets: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Nothing happened but time."""


Event: TypeAlias = (
    Spawned
    | SpawnFailed
    | BecameReady
    | Exited
    | Removed
    | RemovalRefused
    | Published
    | PublishFailed
    | Probed
    | SomebodyWaits
    | Observed
    | Asked
    | Opened
    | ProgramChanged
    | ConfigurationApplied
    | StartRequested
    | StopRequested
    | RestartRequested
    | ReloadRequested
    | ScaleRequested
    | ShutdownRequested
    | Tick
)
