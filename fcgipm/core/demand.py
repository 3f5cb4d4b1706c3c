"""The demand for one application: what was seen of it last, and when the next look is due.

Under pressure it is looked at ten times a second, while busy each second; after `REST_AFTER` of nothing it rests, and
whoever comes then is told of by `fcgipm.core.events.SomebodyWaits`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from fcgipm.config.schema import MILLISECOND, SECOND, Duration
from fcgipm.core.events import Instant, Sample
from fcgipm.core.policy.classic import Crowd, Load, Settings

PRESSED: Final[Duration] = 100 * MILLISECOND
"""Between two looks while somebody waits and can be helped; also the grid on which all looks lie, to be one for all."""
BUSY: Final[Duration] = 1 * SECOND
"""Between two looks while it serves, or has served lately."""
REST_AFTER: Final[Duration] = 10 * SECOND


class Obstacle(enum.Enum):
    """What keeps an instance that the demand wants from being started: the words of the counter."""

    BACKOFF = "backoff"
    MAX_PROCESSES = "max-processes"
    MAX_CLASS_PROCESSES = "max-class-processes"
    MAX_PROCESSES_OF_ALL = "max-processes-of-all"
    SHORTAGE = "shortage"
    RESTART_DELAY = "restart-delay"
    INIT_START_DELAY = "init-start-delay"
    GENERATION = "generation"

    @property
    def text(self) -> str:
        """What is said of it."""
        return _TEXTS[self]

    @property
    def passes(self) -> bool:
        """Whether it passes by itself, and soon: who asks may wait for that."""
        return self in (Obstacle.SHORTAGE, Obstacle.RESTART_DELAY, Obstacle.INIT_START_DELAY, Obstacle.GENERATION)

    @property
    def is_limit(self) -> bool:
        """Whether there are as many instances as may be."""
        return self in (Obstacle.MAX_PROCESSES, Obstacle.MAX_CLASS_PROCESSES, Obstacle.MAX_PROCESSES_OF_ALL)


_TEXTS: Final = {
    Obstacle.BACKOFF: "it is in back-off",
    Obstacle.MAX_PROCESSES: "max-processes is reached",
    Obstacle.MAX_CLASS_PROCESSES: "max-class-processes is reached",
    Obstacle.MAX_PROCESSES_OF_ALL: "max-processes of all dynamic applications is reached",
    Obstacle.SHORTAGE: "the system is short of what a start needs",
    Obstacle.RESTART_DELAY: "restart-delay has not passed",
    Obstacle.INIT_START_DELAY: "init-start-delay has not passed",
    Obstacle.GENERATION: "a generation is being published",
}


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a start that the demand wants is not made, and when that was found last.

    It is kept for a while after nobody has wanted one: who asks again for the same is no news.
    """

    obstacle: Obstacle | None
    """None: it is made, or none is wanted."""
    at: Instant


@dataclass(slots=True, kw_only=True)
class Demand:
    """What is known of those who want something of one application."""

    sample: Sample | None = None
    """The last look; None before the first one."""
    seen_at: Instant | None = None
    """When that was."""
    came_at: Instant | None = None
    """When somebody was told of who has not been seen in a look yet."""
    asked_until: Instant | None = None
    """Until when a connector waits for an instance that is ready."""
    stirred_at: Instant | None = None
    """When there was anything to be seen last."""
    look_at: Instant | None = None
    """When the next look is due; None while it rests, or nothing depends on what would be seen."""
    judge_at: Instant | None = None
    """When a look is due because something is to be decided then, even if nothing has changed."""
    missed_at: Instant | None = None
    """When it could not be looked at last."""
    load: Load | None = None
    """Its connection time, since its first start."""
    requests: int = 0
    """Requests so far, an estimate."""

    def came(self, now: Instant) -> None:
        """Somebody waits: who, is seen soon.  An instance for the first one needs no look, but the processor."""
        self.came_at = self.stirred_at = now
        self.look_by(on_grid(Instant(now + 1)))

    def has_come(self, now: Instant) -> bool:
        """Return whether somebody comes just now, or came and cannot be looked for; else a look tells who has left."""
        return self.came_at is not None and now in (self.came_at, self.missed_at)

    def moved(self) -> None:
        """Whoever came, or was seen, is at a listener that is not public any more: a late-comer, told of anew."""
        self.came_at = self.sample = self.seen_at = None

    def asked(self, until: Instant, now: Instant) -> None:
        """A connector waits for an instance, at most *until* then."""
        self.asked_until = until if self.asked_until is None else max(until, self.asked_until)
        self.stirred_at = now
        self.look_by(on_grid(now))

    def answered(self) -> None:
        """An instance is ready: that is all that connectors wait for."""
        self.asked_until = None

    def look_by(self, at: Instant) -> None:
        """Have the next look at *at* at the latest."""
        self.look_at = at if self.look_at is None else min(at, self.look_at)

    def saw(self, sample: Sample, settings: Settings, now: Instant) -> None:
        """Take in a look."""
        before = self.sample
        self.sample, self.seen_at, self.came_at, self.look_at = sample, now, None, None
        self.requests += sample.requests
        if sample.queued or sample.busy or sample.connection_time or (before is not None and before.busy):
            self.stirred_at = now
        if self.load is not None:
            self.load = self.load.plus(sample.connection_time).at(now, settings)  # it came before *now*

    def judge_by(self, at: Instant) -> None:
        """Have something decided, after a look, at *at* at the latest; not where that was tried in vain already."""
        if self.missed_at is not None and at <= self.missed_at:
            return
        self.judge_at = at if self.judge_at is None else min(at, self.judge_at)

    @property
    def due(self) -> Instant | None:
        """When a look is due, whatever for."""
        if self.look_at is None or self.judge_at is None:
            return self.judge_at if self.look_at is None else self.look_at
        return min(self.look_at, self.judge_at)

    def unseen(self, now: Instant) -> None:
        """It could not be looked at: that is tried again."""
        self.missed_at = now
        self.look_at = self.judge_at = on_grid(Instant(now + BUSY))

    def wants(self, now: Instant) -> bool:
        """Return whether somebody waits for an instance, or cannot even wait because the queue is full."""
        crowd = self.crowd
        return self.came_at is not None or crowd.waiting > 0 or crowd.full or self.is_asked(now)

    def is_asked(self, now: Instant) -> bool:
        """Return whether a connector waits for an instance."""
        return self.asked_until is not None and now < self.asked_until

    @property
    def crowd(self) -> Crowd:
        """Who was seen waiting in the queue."""
        if self.sample is None:
            return Crowd(waiting=0, oldest_since=None, full=False)
        sample = self.sample
        return Crowd(waiting=sample.waiting, oldest_since=sample.oldest_since, full=sample.is_full)

    def plan(self, now: Instant, *, pressed: bool) -> None:
        """Say when the next look is due, after one at *now*; *pressed*: whether somebody waits who can be helped."""
        if pressed:
            self.look_by(on_grid(Instant(now + PRESSED)))
        elif self.stirred_at is not None and now - self.stirred_at < REST_AFTER:
            self.look_by(on_grid(Instant(now + BUSY)))


def on_grid(at: Instant) -> Instant:
    """Return the first instant from *at* on at which looks are taken, so that one serves all applications."""
    return Instant(-(-at // PRESSED) * PRESSED)
