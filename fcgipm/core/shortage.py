"""Starts that fail because the system is short of what each of them needs: descriptors, processes, memory, room.

That says nothing of the program, and is no step towards back-off.  It is said once, tried again now and then, and is
over with the first start that works.
"""

from __future__ import annotations

from typing import Final

from fcgipm.config.schema import SECOND, Duration
from fcgipm.core import ends, generations, wording
from fcgipm.core.books import Books
from fcgipm.core.commands import Command, Severity, Topic
from fcgipm.core.events import Instant
from fcgipm.core.instance import Instance

FIRST_PAUSE: Final[Duration] = 1 * SECOND
LONGEST_PAUSE: Final[Duration] = 10 * SECOND


def met(books: Books, instance: Instance, why: str, now: Instant, out: list[Command]) -> None:
    """Take an instance out of the books that could not be started for a shortage, and plan the next try."""
    short, proving = books.short, ends.is_proving(books, instance)
    is_news = short.why != why
    if now >= short.until:  # else it is another one of the same try
        short.pause = min(2 * short.pause, LONGEST_PAUSE) if short.pause else FIRST_PAUSE
        short.until = Instant(now + short.pause)
    short.why = why
    slot = books.slot_of(instance)
    books.forget(instance)
    if slot is not None and not (proving and slot not in books.slots):
        ends.leave_place(books, slot, short.until, now)
    if is_news:
        books.reason = short.reason = f"{books.name}/{instance.id}: {why}"
        what_next = "its generation is given up" if proving else f"next try in {wording.seconds(short.pause)}"
        text = f"cannot spawn {books.name}/{instance.id}: {why}, a shortage of the system; {what_next}"
        severity = Severity.INFO if proving else Severity.ERROR  # else the end of the generation tells of it
        out.append(books.message(severity, Topic.START_DENIED, text, reason="shortage"))
        books.chronicle.enter(now, "deny", "shortage", text)
    if proving:
        generations.lost(books, f"an instance cannot be started: {why}", "start-failed", now, out)
        short.again_at = short.until


def over(books: Books, ordered_at: Instant, out: list[Command]) -> None:
    """Take note of a start that has worked; one that was *ordered_at* a time before the shortage says nothing of it."""
    short = books.short
    if not short.why or ordered_at <= short.until - short.pause:
        return
    if books.reason == short.reason:
        books.reason = ""
    short.why = short.reason = ""
    short.pause, short.until = 0, Instant(0)
    out.append(books.message(Severity.INFO, Topic.START_DENIED, "instances can be started again"))
