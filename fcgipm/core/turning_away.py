"""Turning visitors away: overload-response = 503, answered by a program of ours on the application's listener.

The program is an instance in every respect but one: it does not count.  It is started while somebody waits whom nobody
will serve, and removed like any other when that has changed.  On an old listener, for late-comers, it goes when nobody
waits there any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fcgipm.config.schema import SECOND, Duration
from fcgipm.core import late_comers, wording
from fcgipm.core.books import Books
from fcgipm.core.commands import Command, Severity, Spawn, Topic
from fcgipm.core.events import BecameReady, Exited, Instant, RemovalRefused, Removed, Spawned, SpawnFailed
from fcgipm.core.instance import Instance
from fcgipm.core.lifecycle import Input, InstanceState
from fcgipm.core.refusing import refused_now, refused_until

PAUSE: Final[Duration] = 5 * SECOND
"""After one that has ended by itself or could not be started."""
_APART: Final[Duration] = 1 * SECOND
"""Between two starts, where the queue is full again and again."""
_RETRY_AFTER: Final = (1, 120)
"""Seconds: what visitors are told at least and at most, whatever is known."""
_SOON: Final = 2
"""Seconds, where others are being served."""


@dataclass(frozen=True, slots=True)
class _Grounds:
    """Why visitors are to be turned away, and who."""

    why: str
    above: int
    """Only as long as more than so many wait."""


def turn_away(books: Books, now: Instant, out: list[Command]) -> None:
    """Start what turns visitors away, or remove it, as things are: on the public listener, and on old ones."""
    refuser = books.turning.refuser
    if refuser is not None and books.switches and refuser.generation != books.generation:
        books.turning.aside.append(refuser)  # the listener has become an old one under it
        books.turning.refuser = refuser = None
    _turn_late_comers_away(books, now, out)
    grounds = _grounds(books)
    if refuser is None:
        if grounds is not None and books.demand.wants(now):
            if now >= books.turning.not_before:
                _start(books, grounds, now, out)
            else:
                books.demand.judge_by(books.turning.not_before)
    elif refuser.is_staying and (_is_other(books, refuser, grounds) or _rests(books)):
        cut_at = books.cut_from(now)
        why = (
            "nobody has to be turned away any more" if grounds is None else "others are to be turned away than it does"
        )
        refuser.retire(why, first_try=now, cut_at=cut_at)
        books.chronicle.enter(now, "remove", "overload-response", f"overload-response: {why}")


def _grounds(books: Books) -> _Grounds | None:
    """Return why visitors are to be turned away; None: they are not."""
    sample = books.demand.sample
    refused = _refused(books)
    if refused:
        return _Grounds(refused, above=0)
    if sample is None or not _may_turn_away(books):
        return None
    if sample.is_full or (books.turning.refuser is not None and 2 * sample.queued > sample.limit):
        return _Grounds(f"its queue is full ({sample.queued} of {sample.limit})", above=sample.limit // 2)
    return None


def _may_turn_away(books: Books) -> bool:
    return books.definition.overload_response != "none" and not books.is_leaving and books.generation > 0


def _refused(books: Books) -> str:
    """Return why all who wait are to be turned away, at whichever listener; an empty text: they are not."""
    if not _may_turn_away(books) or books.ready or books.starting_now:
        return ""
    return refused_now(books)


def _turn_late_comers_away(books: Books, now: Instant, out: list[Command]) -> None:
    """Start what answers those at old listeners for whom no instance is started, and let it go when it has."""
    refused = _refused(books)
    for refuser in books.turning.aside:
        if refuser.is_ready or (refuser.is_staying and not refused):
            why = "it turns late-comers away" if refused else "nobody has to be turned away any more"
            refuser.retire(why, first_try=now, cut_at=late_comers.cut_from(books, now))
    if not refused:
        return
    served = {refuser.generation for refuser in books.turning.aside}
    for generation in [one for one, late in books.late.items() if late.slot.instance is None and one not in served]:
        if now < books.turning.not_before:
            books.demand.judge_by(books.turning.not_before)
            return
        grounds = _Grounds(refused, above=0)
        books.turning.aside.append(_spawn(books, generation, grounds, now, out))


def _is_other(books: Books, refuser: Instance, grounds: _Grounds | None) -> bool:
    """Return whether *refuser* is not what *grounds* want."""
    return grounds is None or refuser.generation != books.generation or books.turning.above != grounds.above


def _rests(books: Books) -> bool:
    return books.demand.look_at is None and books.demand.came_at is None


def _start(books: Books, grounds: _Grounds, now: Instant, out: list[Command]) -> None:
    books.turning.refuser, books.turning.above = _spawn(books, books.generation, grounds, now, out), grounds.above
    books.turning.not_before = Instant(now + _APART)


def _spawn(books: Books, generation: int, grounds: _Grounds, now: Instant, out: list[Command]) -> Instance:
    refuser = Instance(
        id=books.number(),
        generation=generation,
        started_at=now,
        why_started="overload",
        overdue_at=Instant(now + books.definition.start_timeout),
    )
    out.append(
        Spawn(
            app=books.name,
            generation=generation,
            instance=refuser.id,
            why=grounds.why,
            turns_away=_retry_after(books, grounds, now),
            above=grounds.above,
        )
    )
    who = "visitors" if generation == books.generation else "visitors who had come before"
    text = f"{who} are answered 503: {grounds.why}"
    out.append(books.message(Severity.WARNING, Topic.OVERLOADED, text, reason="overload-response"))
    books.chronicle.enter(now, "start", "overload-response", f"overload-response: {text}")
    return refuser


def _retry_after(books: Books, grounds: _Grounds, now: Instant) -> int:
    """Return in how many seconds visitors are to come again."""
    if grounds.above:
        return _SOON
    until = refused_until(books)
    least, most = _RETRY_AFTER
    return most if until is None else min(max(-(-(until - now) // SECOND), least), most)


def take(
    books: Books,
    event: Spawned | SpawnFailed | BecameReady | Exited | Removed | RemovalRefused,
    now: Instant,
    out: list[Command],
) -> None:
    """Take in what happened to the program that turns visitors away."""
    refuser = next(one for one in books.refusers() if one.id == event.instance)
    if isinstance(event, SpawnFailed | Exited):
        _ended(books, refuser, event, now, out)
    elif isinstance(event, Spawned):
        refuser.take(Input.SPAWNED)
        books.turning.shortage = ""
        refuser.pid, refuser.started_at = event.pid, event.at
        if refuser.state is InstanceState.RETIRING:
            refuser.next_try = now
    elif isinstance(event, BecameReady):
        refuser.take(Input.READIED)
        refuser.overdue_at, refuser.ready_at = None, event.at
        if refuser in books.turning.aside:
            late_comers.met(books, refuser.generation)
    elif refuser.state is InstanceState.RETIRING:
        if isinstance(event, Removed):
            refuser.removed(event.how, now)
        else:
            refuser.refused(event.why, now)


def _ended(books: Books, refuser: Instance, event: SpawnFailed | Exited, now: Instant, out: list[Command]) -> None:
    if refuser is books.turning.refuser:
        books.turning.refuser = None
    else:
        books.turning.aside.remove(refuser)
    if isinstance(event, SpawnFailed) or refuser.state is not InstanceState.RETIRING:
        books.turning.not_before = Instant(now + PAUSE)
    if isinstance(event, SpawnFailed):
        text = f"cannot turn visitors away: {event.step}: {event.error}; next try in {wording.seconds(PAUSE)}"
        is_known = event.shortage and books.turning.shortage == text
        books.turning.shortage = text if event.shortage else ""
        severity = Severity.DEBUG if is_known else Severity.ERROR
        out.append(books.message(severity, Topic.START_FAILED, text, reason="overload-response"))
    elif refuser.state is not InstanceState.RETIRING:
        how = wording.end(event.code, event.signal, dumped=event.dumped)
        text = f"what turns visitors away ended: {how}; next try in {wording.seconds(PAUSE)}"
        out.append(books.message(Severity.WARNING, Topic.INSTANCE_ENDED, text, reason="overload-response"))
