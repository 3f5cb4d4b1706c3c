"""A world: the applications that share limits and the clock of the kill runs.

A declared application is one by itself; all dynamic applications are one together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from fcgipm.config.schema import SECOND, Application, Duration, Dynamic
from fcgipm.core import wording
from fcgipm.core.events import Instant
from fcgipm.core.policy import classic
from fcgipm.core.policy.classic import Candidate, Load, Settings, settings_of
from fcgipm.core.under_way import Attempt

if TYPE_CHECKING:
    from fcgipm.core.books import Books

BETWEEN_SLACK_RUNS: Final[Duration] = 1 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds in a world."""

    settings: Settings
    least: int
    """Instances in all that the policy leaves."""
    limit: int
    """Instances in all."""
    class_limit: int
    """Instances of any one application."""
    slack: int
    restarts: bool
    """Whether an instance that died is started again whoever needs it."""


def terms_of_application(definition: Application) -> Terms:
    """Return the terms of a declared application, a world of its own."""
    return Terms(
        settings=settings_of(definition),
        least=definition.least,
        limit=definition.most,
        class_limit=definition.most,
        slack=0,
        restarts=False,
    )


def terms_of_dynamic(dynamic: Dynamic) -> Terms:
    """Return the terms of all dynamic applications."""
    return Terms(
        settings=settings_of(dynamic),
        least=dynamic.min_processes,
        limit=dynamic.max_processes,
        class_limit=dynamic.max_class_processes,
        slack=dynamic.process_slack,
        restarts=dynamic.restart,
    )


class World:
    """Who shares limits, and when instances are taken from them."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.members: dict[str, Books] = {}
        self._began_at: Instant | None = None
        """When the first instance of all was started."""
        self._ran_at: Instant | None = None
        self._slack_ran_at: Instant | None = None
        self._slack_saw: object = None
        """What the last slack run found: the same again is not worth another."""
        self.due: Instant | None = None
        """When instances may be taken next, as of the last `plan`."""

    @property
    def total(self) -> int:
        """How many instances count against the limits: published ones, or about to be, that are not retired."""
        return sum(books.held for books in self._inhabited())

    @property
    def lasting(self) -> int:
        """How many are there and will be when all that are to be taken have gone."""
        return sum(books.lasting for books in self._inhabited())

    @property
    def has_room(self) -> bool:
        """Whether the limit for all allows one more."""
        return self.total < self.terms.limit

    def short(self) -> list[Books]:
        """Return who is to have more, by an operator, than there was room for until now."""
        if not self.has_room:
            return []
        return sorted(
            (one for one in self.members.values() if one.scale is not None and one.lacks), key=lambda one: one.name
        )

    def begin(self, at: Instant) -> None:
        """Take note of a start, which the first of all makes the beginning of the clock."""
        self._began_at = at if self._began_at is None else min(at, self._began_at)

    def go_on(self, began_at: Instant, now: Instant) -> None:
        """Take note of a start under a manager that has died: the clock goes on, and no run is made up for."""
        self.begin(began_at)
        self._ran_at = now

    def plan(self) -> None:
        """Say when instances may be taken next: from nobody, if nobody could lose one."""
        dues = (self._next_run(), self._slack_due()) if self._can_take() else ()
        self.due = min((due for due in dues if due is not None), default=None)

    def concerned(self) -> list[str]:
        """Return who must be looked at before a run."""
        return [books.name for books in self._following() if books.instances]

    def run(self, now: Instant) -> None:
        """Have instances taken from the applications that can do without, where a run of either kind is due."""
        if self.due is None or self.due > now or not self._can_take():
            return
        settings, least = self.terms.settings, self.terms.least
        due = self._next_run()
        if due is not None and due <= now:
            self._ran_at = now
            losers = classic.periodic_run(self._candidates(now), settings, total=self.lasting, least=least, now=now)
            self._take(losers, now, slack=False)
        due = self._slack_due()
        if due is not None and due <= now:
            self._slack_ran_at, self._slack_saw = now, self._marker()
            losers = classic.slack_run(
                self._candidates(now), settings, total=self.lasting, least=least, limit=self.terms.limit,
                slack=self.terms.slack, now=now,
            )  # fmt: skip
            self._take(losers, now, slack=True)

    def why_kept(self, books: Books, now: Instant, *, slack: bool = False) -> str:
        """Return why a run takes no instance of *books*, as things are *now*; an empty text: one goes if it is idle."""
        if books.definition.is_dynamic and self.lasting <= self.terms.least:
            return "no more than min-processes of all dynamic applications are there"
        return classic.why_kept(_candidate(books, books.load_at(now)), self.terms.settings, now=now, slack=slack)

    def load_left(self, books: Books, now: Instant) -> Fraction | None:
        """Return the load of each that one instance less would leave: for the last one its own; None: none is ready."""
        left = max(books.ready - 1, 1)
        if not books.ready:
            return None
        return classic.load_factor(books.load_at(now), left, books.concurrency, self.terms.settings)

    def _take(self, losers: tuple[str, ...], now: Instant, *, slack: bool) -> None:
        rule = "slack-run" if slack else "kill-run"
        for books in self._following():
            count = losers.count(books.name)
            if not books.instances:
                continue
            left = self.load_left(books, now)
            if count:
                text = f"{count} of {books.ready} may go, if idle"
            elif books.demand.seen_at != now:
                text = "nobody goes: it could not be looked at"
            else:
                why = self.why_kept(books, now, slack=slack)
                text = f"nobody goes: {why or 'others have less load, and enough of them go'}"
            books.chronicle.enter(
                now, "remove" if count else "keep", rule, f"{rule}: {text}", ready=books.ready,
                load_with_one_less=None if left is None else wording.percent(left), requests=books.demand.requests,
                in_all=self.total if books.definition.is_dynamic else None,
            )  # fmt: skip
            books.demand.requests = 0
            if count:
                books.attempt = Attempt(rule=rule, left=count)

    def _next_run(self) -> Instant | None:
        """Return when the next periodic run is due, on the clock that began with the first start."""
        began, interval = self._began_at, self.terms.settings.kill_interval
        if began is None:
            return None
        ran = began if self._ran_at is None else max(self._ran_at, began)
        return Instant(began + ((ran - began) // interval + 1) * interval)

    def _inhabited(self) -> Iterator[Books]:
        """Yield those that have instances, or are about to: a thousand others may be known, and cost nothing here."""
        return (books for books in self.members.values() if books.slots or books.instances)

    def _following(self) -> Iterator[Books]:
        """Yield those that a run can concern."""
        return (books for books in self._inhabited() if books.follows_demand)

    def _slack_due(self) -> Instant | None:
        """Return when a run is due because too little room is left for somebody who comes."""
        if not self.terms.slack or self.lasting + self.terms.slack <= self.terms.limit:
            return None
        if self._slack_saw == self._marker():
            return None
        return Instant(0 if self._slack_ran_at is None else self._slack_ran_at + BETWEEN_SLACK_RUNS)

    def _can_take(self) -> bool:
        """Return whether a run could take an instance from anybody, whatever the load."""
        return self.lasting > self.terms.least and any(self._could_lose(books) for books in self._following())

    def _could_lose(self, books: Books) -> bool:
        settings, ready = self.terms.settings, books.ready
        if ready <= books.definition.least:
            return False
        return settings.multi_threshold > 0 if ready > 1 else settings.single_threshold > 0

    def _candidates(self, now: Instant) -> list[Candidate]:
        """Return who could be seen just now and has instances that are ready."""
        return [
            _candidate(books, books.demand.load)
            for books in self._following()
            if books.demand.load is not None and books.demand.seen_at == now and books.ready
        ]

    def _marker(self) -> object:
        return tuple(
            (books.name, books.ready, books.in_motion, books.demand.sample.busy if books.demand.sample else 0)
            for books in self._following()
            if books.instances
        )


def _candidate(books: Books, load: Load) -> Candidate:
    return Candidate(
        name=books.name,
        load=load,
        ready=books.ready,
        concurrency=books.concurrency,
        requests=books.demand.requests,
        in_motion=books.in_motion,
        least=books.definition.least,
    )
