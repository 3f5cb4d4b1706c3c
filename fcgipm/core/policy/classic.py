"""The classic policy, mod_fastcgi's: what is smoothed, who may lose an instance, and when one more is due.

A pure function of what is given: connection time and instants are integer nanoseconds, gain is an exact fraction, and
no threshold is met by rounding.  A declared application is a world of its own; the dynamic ones are one world together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from fcgipm.config.schema import SECOND, Duration, InstanceOptions
from fcgipm.core.events import Instant

SHORTEST: Final[Duration] = 1 * SECOND
"""What the current window counts as at least: the first request in it must not look like a load of 100 %."""

_BITS: Final = 128
_ONE: Final = 1 << _BITS
"""Powers are computed in parts of this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The policy's options; all applications of one world share them."""

    gain: Fraction
    update_interval: Duration
    kill_interval: Duration
    single_threshold: int
    multi_threshold: int
    start_delay: Duration


def settings_of(options: InstanceOptions) -> Settings:
    """Return the settings of an application, or of [dynamic]; gain is exactly the decimal that was written."""
    return Settings(
        gain=Fraction(str(options.gain_value)),
        update_interval=options.update_interval,
        kill_interval=options.kill_interval,
        single_threshold=options.single_threshold,
        multi_threshold=options.multi_threshold,
        start_delay=options.start_delay,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The connection time of one application, smoothed: plain integers, because it outlives the manager in a note.

    The updates that fell due since it was written down are made when it is read, by `at`.  Each reading rounds once,
    down, so that what is not used any more comes to 0.
    """

    began_at: int
    """When its first window began: the first start."""
    interval: int
    """How long its windows are: update-interval, as it was when this was written down."""
    updates: int = 0
    """How many were made."""
    smooth: int = 0
    """Connection time of a whole window, smoothed."""
    total: int = 0
    """Connection time since the last update."""

    @classmethod
    def begun(cls, now: Instant, settings: Settings) -> Load:
        """Return the load of an application whose first instance is started *now*."""
        return cls(began_at=now, interval=settings.update_interval)

    @property
    def updated_at(self) -> Instant:
        """When the last update fell due, or the first window began."""
        return Instant(self.began_at + self.updates * self.interval)

    def at(self, now: Instant, settings: Settings) -> Load:
        """Return it with all updates made that are due *now*: the first with the total, the others with nothing."""
        load = self._with_windows_of(settings)
        due = (now - load.updated_at) // load.interval
        if due <= 0:
            return load
        return replace(
            load,
            updates=load.updates + due,
            smooth=_smoothed(load.smooth, load.total, settings.gain, due),
            total=0,
        )

    def plus(self, connection_time: Duration) -> Load:
        """Return it with so much more in the current window; `at` comes first."""
        return replace(self, total=self.total + connection_time)

    def next_update(self, settings: Settings) -> Instant:
        """Return when the next update falls due."""
        return Instant(self.updated_at + settings.update_interval)

    def since_update(self, now: Instant, settings: Settings) -> Duration:
        """Return how long the current window is so far."""
        return max(now - self.at(now, settings).updated_at, 0)

    def _with_windows_of(self, settings: Settings) -> Load:
        """Return it as if its windows had always been as long as they are now: the ratio stays, and the last update."""
        interval = settings.update_interval
        if interval == self.interval:
            return self
        return replace(
            self,
            began_at=self.updated_at - self.updates * interval,
            interval=interval,
            smooth=self.smooth * interval // self.interval,
        )


def _smoothed(smooth: int, total: int, gain: Fraction, updates: int) -> int:
    """Return *smooth* after *updates*, in closed form and rounded down once; the work does not grow with their number.

    smooth := (1 - gain) * smooth + gain * total, then (1 - gain) * smooth for each further one.
    """
    kept, whole = gain.denominator - gain.numerator, gain.denominator
    first = kept * smooth + gain.numerator * total
    return first * _power(-(-kept * _ONE // whole), updates - 1) // (whole * _ONE)


def _power(base: int, exponent: int) -> int:
    """Return *base* to the *exponent*, both in parts of _ONE, rounded up: less than a nanosecond of any load is added.

    Rounded down, 10 ns that keep nine tenths would become 8.
    """
    result = _ONE
    while exponent:
        if exponent & 1:
            result = -(-result * base >> _BITS)
        base = -(-base * base >> _BITS)
        exponent >>= 1
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An application that a run looks at."""

    name: str
    load: Load
    ready: int
    """Instances that are ready and not being retired."""
    concurrency: int
    requests: int
    """How many it served lately."""
    in_motion: bool
    """Whether an instance of it is starting or being retired."""
    least: int
    """How many instances it keeps by itself, whatever the world has."""


def load_factor(load: Load, ready: int, concurrency: int, settings: Settings) -> Fraction:
    """Return how much of the time its instances are busy, by the smoothed windows: 1 is always.  `at` comes first."""
    return Fraction(load.smooth, ready * concurrency * settings.update_interval) if ready else Fraction(0)


def load_factor_now(load: Load, ready: int, concurrency: int, settings: Settings, now: Instant) -> Fraction:
    """Return the load factor, or that of the current window where it is greater."""
    if not ready:
        return Fraction(0)
    load = load.at(now, settings)
    window = max(load.since_update(now, settings), SHORTEST)
    return max(
        load_factor(load, ready, concurrency, settings),
        Fraction(load.total, ready * concurrency * window),
    )


def may_lose_one(candidate: Candidate, settings: Settings, *, now: Instant, slack: bool) -> bool:
    """Return whether an instance of *candidate* may go; *slack*: in a run that makes room, which looks at now, too."""
    return not why_kept(candidate, settings, now=now, slack=slack)


def why_kept(candidate: Candidate, settings: Settings, *, now: Instant, slack: bool) -> str:
    """Return why no instance of *candidate* may go; an empty text: one may."""
    load = candidate.load.at(now, settings)
    if candidate.ready <= max(candidate.least, 0):
        return "no more than min-processes are ready" if candidate.ready > 0 else "none is ready"
    if candidate.in_motion:
        return "an instance is starting or being removed"
    alone = candidate.ready == 1
    if alone and not settings.single_threshold:
        return "single-threshold = 0 keeps the last one"
    if not (slack or load.updates):
        return "its first update-interval is not over"
    # The last one is judged by its own load, one of several by the load that would be left for the others.
    bearable = settings.single_threshold if alone else settings.multi_threshold * (candidate.ready - 1)
    bearable *= candidate.concurrency
    loaded = 100 * load.smooth >= bearable * settings.update_interval
    if not loaded and slack:
        loaded = 100 * load.total >= bearable * max(load.since_update(now, settings), SHORTEST)
    if not loaded:
        return ""
    return "its load is not below single-threshold" if alone else "the others would have multi-threshold or more each"


def periodic_run(
    candidates: Sequence[Candidate], settings: Settings, *, total: int, least: int, now: Instant
) -> tuple[str, ...]:
    """Return who loses one instance, in order; *total* instances live in this world, which keeps *least*."""
    return _round(candidates, settings, now=now, slack=False, room=total - least)


def slack_run(
    candidates: Sequence[Candidate],
    settings: Settings,
    *,
    total: int,
    least: int,
    limit: int,
    slack: int,
    now: Instant,
) -> tuple[str, ...]:
    """Return who loses an instance so that *slack* more would be within *limit*; a name is there once for each."""
    taken: list[str] = []
    remaining = {one.name: one for one in candidates}
    while True:
        room = min(total - least, total + slack - limit) - len(taken)
        losers = _round(list(remaining.values()), settings, now=now, slack=True, room=room)
        if not losers:
            return tuple(taken)
        taken += losers
        for name in losers:
            remaining[name] = replace(remaining[name], ready=remaining[name].ready - 1)


def _round(
    candidates: Sequence[Candidate], settings: Settings, *, now: Instant, slack: bool, room: int
) -> tuple[str, ...]:
    """Return who loses one, the least loaded first, *room* of them at most."""

    def rank(one: Candidate) -> tuple[Fraction, int, str]:
        load = one.load.at(now, settings)
        if slack:
            factor = load_factor_now(load, one.ready, one.concurrency, settings, now)
        else:
            factor = load_factor(load, one.ready, one.concurrency, settings)
        return factor, one.requests, one.name

    losers = [one for one in candidates if may_lose_one(one, settings, now=now, slack=slack)]
    return tuple(one.name for one in sorted(losers, key=rank)[: max(room, 0)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Who waits at an application, those who gave up not counted."""

    waiting: int
    oldest_since: Instant | None
    """When the oldest of them was first seen; None where nobody waits, or nobody knows."""
    full: bool
    """Whether the queue takes nobody any more."""


def start_due(
    crowd: Crowd, settings: Settings, *, ready: int, starting: int, last_ready_at: Instant | None, now: Instant
) -> Instant | None:
    """Return when one more instance is due, which may be past; None: as it is now, never.

    *last_ready_at* is when the application's last instance became ready, None where that is not known.
    """
    if starting > 0:
        return None
    if crowd.full or (crowd.waiting > 0 and ready <= 0):
        return now
    if crowd.waiting <= 0 or crowd.oldest_since is None:
        return None
    since = crowd.oldest_since if last_ready_at is None else max(crowd.oldest_since, last_ready_at)
    return Instant(since + settings.start_delay)


STARTS: Final = frozenset({"somebody-came", "start-delay", "queue-full"})
"""The rules by which one more is due."""


def why_start(crowd: Crowd, *, ready: int) -> str:
    """Return the rule by which one more is due: ``somebody-came``, ``queue-full`` or ``start-delay``."""
    if crowd.waiting > 0 and ready <= 0:
        return "somebody-came"
    return "queue-full" if crowd.full else "start-delay"
