"""Why who comes to an application now will not be served soon, and when that may change."""

from __future__ import annotations

from typing import Final

from fcgipm.config.schema import SECOND, Duration
from fcgipm.core.books import Books
from fcgipm.core.events import Instant
from fcgipm.core.note import Mode, Trouble

LIMIT_HOLDS: Final[Duration] = 1 * SECOND
"""For how long who asks is told that a limit is reached, without another look."""


def refused_now(books: Books) -> str:
    """Return why nobody who comes now will be served soon; an empty text: he will."""
    if books.mode is Mode.STOP:
        return f"{books.name} is stopped by an operator"
    if books.is_leaving:
        return f"{books.name} is being removed"
    if books.trouble is Trouble.FAILED:
        return f"{books.name} has failed: {books.reason}"
    if not books.generation:
        return f"{books.name} has no public socket yet"
    if books.backoff.in_force and not books.starting_now:
        return f"{books.name} is in back-off: {books.reason}"
    if _is_at_limit(books):
        return f"{books.name} gets no instance: as many as allowed are running"
    return ""


def refused_at(books: Books, now: Instant) -> str:
    """Return the same; not that a limit was reached a while ago, because others may have gone since."""
    is_old = _is_at_limit(books) and now - books.denial.at >= LIMIT_HOLDS
    return "" if is_old and books.mode is Mode.RUN and not books.backoff.in_force else refused_now(books)


def refused_until(books: Books) -> Instant | None:
    """Return when that may have changed; None where nobody knows."""
    if books.mode is Mode.RUN and books.backoff.in_force and books.last_start is not None:
        return books.backoff.next_start(books.last_start)
    return None


def _is_at_limit(books: Books) -> bool:
    """Return whether the last start that was wanted was not made because there are as many as may be."""
    return books.denied is not None and books.denied.is_limit
