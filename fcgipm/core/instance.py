"""One instance as the core sees it, with the deadlines of its start and of its removal."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from fcgipm.config.schema import MILLISECOND, SECOND, Duration
from fcgipm.core.events import InstanceId, Instant, Refusal, Removal
from fcgipm.core.lifecycle import Input, InstanceState, advance
from fcgipm.core.view import InstanceView

ASK_GRACE: Final[Duration] = 5 * SECOND
"""How long an instance that nothing can reach any more may take to obey its stop signal, before it is killed."""

_PAUSES: Final = ((10 * SECOND, 20 * MILLISECOND), (60 * SECOND, 100 * MILLISECOND))
_LONG_PAUSE: Final[Duration] = 500 * MILLISECOND
_UNSTOPPABLE_PAUSE: Final[Duration] = 1 * SECOND
"""Freezing it took the keeper a quarter of a second in vain; that is not repeated at once."""


class Audience(enum.Enum):
    """Who can come to an instance."""

    VISITORS = "visitors"
    LATE_COMERS = "late-comers"
    """Those in the queue of an old listener, for whom it was started."""
    NOBODY = "nobody"
    """Its generation is not published, or it is a canary: only a probe comes."""


@dataclass(slots=True, kw_only=True)
class Instance:
    """An instance from the order to spawn it until its process is gone."""

    id: InstanceId
    generation: int
    started_at: Instant
    """When it was exec'd; until then, when that was ordered."""
    audience: Audience = Audience.VISITORS
    estranged: bool = False
    """Whether nobody else has its listener: no other instance can be started there."""
    pid: int | None = None
    ready_at: Instant | None = None
    state: InstanceState = InstanceState.STARTING
    overdue_at: Instant | None = None
    """When a start that is not ready counts as failed."""
    next_try: Instant | None = None
    """When its removal is to be ordered (again); None while an order is under way."""
    cut_at: Instant | None = None
    """When it is removed whatever it does; None: never."""
    refused_since: Instant | None = None
    served: int = 0
    """Millionths of requests: its share of those that its application served, an estimate."""
    memory: int = 0
    """Resident bytes of its session when that was looked at last, 0 before."""
    why_started: str = "initial"
    """A word for the counters."""
    why_retiring: str = ""
    waiting: int = 0
    """How many waited in the queue of its listener, an old one, when it was cut."""
    failure: str = ""
    """Why it is removed as a failed start; empty where it is not."""

    def take(self, given: Input) -> None:
        """Let *given* happen."""
        self.state = advance(self.state, given)

    @property
    def is_staying(self) -> bool:
        """Whether it counts: starting or ready, and not to be removed."""
        return self.state in (InstanceState.STARTING, InstanceState.READY)

    @property
    def is_ready(self) -> bool:
        """Whether it accepts connections and is not to be removed."""
        return self.state is InstanceState.READY

    @property
    def serves(self) -> bool:
        """Whether it is ready for visitors."""
        return self.is_ready and self.audience is Audience.VISITORS

    def retire(self, why: str, *, first_try: Instant, cut_at: Instant | None) -> None:
        """Let it go: from *first_try* on where nobody loses by it, at *cut_at* in any case."""
        self.take(Input.RETIRED)
        self.why_retiring = why
        self.overdue_at = None
        if self.pid is not None:
            self.next_try = first_try
        self.hurry(cut_at)

    def spare(self) -> None:
        """Let it stay after all: it serves somebody, and was to go only if it did not."""
        self.take(Input.SPARED)
        self.why_retiring = ""
        self.next_try = self.refused_since = None

    def hurry(self, cut_at: Instant | None) -> None:
        """Bring the time of the cut forward, never back."""
        if cut_at is not None and (self.cut_at is None or cut_at < self.cut_at):
            self.cut_at = cut_at

    def refused(self, why: Refusal, now: Instant) -> None:
        """Plan the next try after the keeper refused one."""
        self.take(Input.REFUSED)
        if self.refused_since is None:
            self.refused_since = now
        if why is Refusal.GONE:
            self.next_try = None
        elif why is Refusal.UNSTOPPABLE:
            self.next_try = Instant(now + _UNSTOPPABLE_PAUSE)
        else:
            self.next_try = Instant(now + self._pause(now))

    def removed(self, how: Removal, now: Instant) -> None:
        """Plan what follows a removal: the end of the process, or a kill where it was only asked."""
        self.take(Input.REMOVED)
        self.next_try = Instant(now + ASK_GRACE) if how is Removal.ASKED else None

    def _pause(self, now: Instant) -> Duration:
        assert self.refused_since is not None
        for age, pause in _PAUSES:
            if now - self.refused_since < age:
                return pause
        return _LONG_PAUSE

    def deadline(self) -> Instant | None:
        """Return when something about it is due."""
        due = [at for at in (self.overdue_at, self.next_try, self.cut_at) if at is not None]
        return min(due, default=None)

    def view(self) -> InstanceView:
        """Return it as a picture."""
        return InstanceView(
            instance=self.id,
            pid=self.pid,
            state=self.state.value,
            started_at=None if self.pid is None else self.started_at,
            ready_at=self.ready_at,
            generation=self.generation,
        )
