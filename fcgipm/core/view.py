"""What the core shows of itself: immutable pictures for status, metrics, outcomes and tests."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from fcgipm.config.schema import Duration
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
    turns_away: bool = False
    """Whether it is what answers 503 for the application, no instance of it."""
    outdated: bool = False
    """Whether another definition holds by now than the one it was started with."""
    canary: bool = False
    """Whether it is on a private listener of its own, where only a probe comes."""
    estranged: bool = False
    """Whether nobody has its listener any more but itself: no other instance can be started there."""


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
class Rollout:
    """A new generation on its way."""

    generation: int
    phase: str
    """``gathering`` and ``proving`` before visitors meet it, of a canary where one port is for all generations;
    ``publishing``; ``rolling``: they meet old and new; ``clearing``: its port is not free yet."""
    ready: int
    """Its instances that are ready, of the *of* that it is to have."""
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """A generation that was to replace another one, and could not."""

    generation: int
    why: str
    word: str
    """The reason for the counter: ``start-failed``, ``died``, ``probe``, ``too-slow`` or ``publish``;
    ``interrupted`` where the manager that had begun it has died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppView:
    """One application."""

    name: str
    state: AppState
    generation: int
    """The published one; 0 where none is."""
    wanted: int
    least: int
    most: int
    """Between these two *wanted* follows the demand; the same where it does not."""
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
    denied: str
    """Why the start that is wanted is not made: the word of its counter; empty where none is wanted or denied."""
    load: Fraction | None
    """The load factor, 1 = all instances busy all the time; None where nobody keeps count."""
    instances: tuple[InstanceView, ...]
    shares_listener: bool = False
    """Whether all generations have one listener: who comes may meet an old instance until that is gone."""
    rollout: Rollout | None = None
    """The generation on its way to replace the published one; None where none is."""
    given_up: GivenUp | None = None
    """The last generation that was given up because it failed, until one succeeds."""
    left: int = 0
    """How many were seen waiting behind requests that were cut, at a listener that nobody can reach any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What somebody may expect who wants an instance of an application that is ready."""

    ready: int
    refused: str
    """Why there is none, and none is being started; empty where there is one, or will be soon."""
    retry_after: Duration | None
    """When that may have changed; None where nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Something that was decided about the number of instances, and from what."""

    at: Instant
    """The last time."""
    since: Instant
    """The first of *times* that it was decided so without a change between."""
    times: int
    action: str
    """``start``, ``deny``, ``remove``, ``spare`` (all were busy), ``keep``; ``end``: one ended by itself; ``wish``:
    somebody wants it otherwise."""
    rule: str
    """The rule that fired: ``somebody-came``, ``start-delay``, ``queue-full``, ``kill-run``, ``replacement`` …"""
    inputs: Mapping[str, str]
    """What was looked at, for people: names and values."""
    text: str
    """The decision in a sentence, with what limited it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighing:
    """What the next start and the next removal depend on; None: it is not known, or nothing depends on it."""

    starting: int
    """Instances that are not ready yet."""
    seen_at: Instant | None
    """When what follows was seen."""
    waiting: int | None
    """Visitors in the queue who have not given up."""
    abandoned: int | None
    """Those who have."""
    oldest_since: Instant | None
    """When the oldest who waits was first seen."""
    busy: int | None
    """Accepted connections."""
    start_delay: Duration | None
    load_left: Fraction | None
    """The load that one instance less would leave for each; of the last one its own."""
    threshold: Fraction | None
    """What that must be below for one to go."""
    in_all: int | None
    """Instances of all dynamic applications together, for one of them."""
    in_all_at_most: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why an application has as many instances as it has."""

    view: AppView
    policy: str
    """``static``, ``classic``, or ``scaled`` by an operator."""
    summary: str
    """The state and why, in a sentence that goes on after the application's name."""
    next_start: str
    """Under which circumstances one more is started; empty where their number does not follow the demand."""
    next_removal: str
    """Under which one goes, or why none does; empty likewise."""
    weighing: Weighing
    decisions: tuple[Decision, ...]
    """The last ones, the oldest first."""
    plans: tuple[tuple[Instant, str], ...]
    """What happens next, and when, the earliest first."""
