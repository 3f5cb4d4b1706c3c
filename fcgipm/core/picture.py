"""What an application looks like to people: `fcgipm.core.view.AppView`, made from its books."""

from __future__ import annotations

from fractions import Fraction

from fcgipm.core import late_comers
from fcgipm.core.books import Books
from fcgipm.core.events import Instant
from fcgipm.core.note import Mode, Trouble
from fcgipm.core.policy.classic import load_factor
from fcgipm.core.rollout import Roll, Switch
from fcgipm.core.schedule import start_at, startable
from fcgipm.core.view import AppState, AppView, Rollout


def picture(books: Books, now: Instant) -> AppView:
    """Return the application as a picture."""
    next_at = min((start_at(books, slot) for _, slot in startable(books)), default=None)
    if next_at is not None and next_at <= now:
        next_at = None
    held_back = books.backoff.in_force and books.last_start is not None
    return AppView(
        name=books.name,
        state=_state(books),
        generation=books.generation,
        wanted=books.wanted,
        least=books.definition.least,
        most=books.definition.most,
        ready=books.ready,
        restarts=books.restarts,
        reason=books.reason,
        next_at=next_at,
        backoff_until=books.backoff.next_start(books.last_start) if held_back and books.last_start else None,
        abandoned=books.abandoned,
        cut=books.cut,
        denied="" if books.denied is None else books.denied.value,
        load=None if books.demand.load is None or not books.follows_demand else _load_factor(books, now),
        instances=tuple(instance.view() for instance in books.instances.values()),
        shares_listener=not books.switches,
        rollout=_rollout(books),
        given_up=books.given_up,
        left=late_comers.waiting(books),
    )


def _rollout(books: Books) -> Rollout | None:
    """Return the generation that is on its way."""
    change = books.change
    if change is None or not change.generation:
        return None
    places = len(change.slots) if isinstance(change, Switch) else len(books.slots)
    mine = [one for one in books.instances.values() if one.generation == change.generation and one.is_ready]
    is_canary = isinstance(change, Roll) and change.is_hidden
    return Rollout(
        generation=change.generation, phase=change.phase.value, ready=len(mine), of=1 if is_canary else places
    )


def _state(books: Books) -> AppState:
    if books.mode is not Mode.RUN:
        return AppState.STOPPED
    if books.is_serving:
        return AppState.RUNNING
    if books.trouble is Trouble.FAILED:
        return AppState.FAILED
    if books.backoff.in_force:
        return AppState.BACKOFF
    return AppState.STARTING if books.wanted or books.starting else AppState.IDLE


def _load_factor(books: Books, now: Instant) -> Fraction:
    return load_factor(books.load_at(now), books.ready, books.concurrency, books.world.terms.settings)
