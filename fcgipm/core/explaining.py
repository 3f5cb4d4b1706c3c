"""Why an application has as many instances as it has: for `fcgipmctl explain`."""

from __future__ import annotations

from collections.abc import Iterator

from fcgipm.core import recycling, wording
from fcgipm.core.books import Books
from fcgipm.core.events import Instant
from fcgipm.core.policy import classic
from fcgipm.core.view import Explanation


def explanation(books: Books, now: Instant) -> Explanation:
    """Return the explanation for *books*."""
    return Explanation(
        view=books.view(now),
        policy=_policy(books),
        decisions=tuple(books.chronicle),
        plans=tuple(sorted(_plans(books, now))),
    )


def _policy(books: Books) -> str:
    if books.scale is not None:
        return "scaled"
    return books.definition.policy if books.definition.is_flexible else "static"


def _plans(books: Books, now: Instant) -> Iterator[tuple[Instant, str]]:
    for _, slot in books.startable():
        yield max(now, books.start_at(slot)), f"an instance is started ({slot.why})"
    if books.follows_demand:
        yield from _plans_by_demand(books, now)
    for due in recycling.deadlines(books):
        yield max(now, due), "an instance reaches max-lifetime and is replaced"


def _plans_by_demand(books: Books, now: Instant) -> Iterator[tuple[Instant, str]]:
    demand, settings = books.demand, books.world.terms.settings
    if demand.look_at is not None and books.is_observed:
        yield max(now, demand.look_at), "who waits and what is served is looked at"
    due = classic.start_due(
        demand.crowd, settings, ready=books.ready, starting=books.starting, last_ready_at=books.last_ready_at, now=now
    )
    if due is not None:
        limited = f", unless {books.denied} forbids it" if books.denied else ""
        yield max(now, due), f"one more is started if somebody still waits{limited}"
    if demand.load is not None:
        share = wording.percent(classic.load_factor(books.load_at(now), books.ready, books.concurrency, settings))
        yield books.load_at(now).next_update(settings), f"connection time is smoothed; the load is {share} now"
    if books.world.due is not None:
        yield max(now, books.world.due), "idle instances may be taken (kill run)"
