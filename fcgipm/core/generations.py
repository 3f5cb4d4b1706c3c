"""Changing what visitors meet: a new generation in, the old one out, or everything out."""

from __future__ import annotations

from typing import Final

from fcgipm.config.schema import SECOND, Duration
from fcgipm.core.books import Books
from fcgipm.core.commands import Command, Publish, Severity, Topic
from fcgipm.core.events import Instant
from fcgipm.core.instance import Instance
from fcgipm.core.note import Mode, Trouble
from fcgipm.core.rollout import Phase, Restart, Roll, Slot, Switch

LAST_STAYS: Final[Duration] = 1 * SECOND
"""How long one instance of an unpublished generation stays: a connect may be on its way to the old listener."""


def begin(books: Books, wish: Restart, now: Instant, out: list[Command]) -> None:
    """Replace every instance by one of a new generation, the replacement first where anybody is served."""
    if isinstance(books.change, Switch) and books.change.phase is Phase.PUBLISHING:
        books.change.then = wish
        return
    if books.change is not None:
        supersede(books, f"superseded: {wish.why}", now, out)
    books.newest += 1
    if books.switches or wish.new_listener:
        if books.is_serving:
            gather(books, wish.why, now)
        else:
            switch(books, books.newest, _slots_now(books, now), wish.why, out)
    elif books.is_serving:
        books.change = Roll(generation=books.newest, why=wish.why)
    else:
        books.generation = books.newest
        retire_all(books, wish.why, now)
        books.slots = _slots_now(books, now)


def gather(books: Books, why: str, now: Instant) -> None:
    """Start the newest generation beside the published one."""
    slots = _slots_now(books, now)
    books.change = Switch(generation=books.newest, why=why, phase=Phase.GATHERING, slots=slots)


def switch(books: Books, generation: int, slots: list[Slot], why: str, out: list[Command]) -> None:
    """Publish *generation* now; *slots* are filled when it is.  0: let nobody reach the application any more."""
    books.newest = max(books.newest, generation)
    books.change = Switch(generation=generation, why=why, phase=Phase.PUBLISHING, slots=slots)
    out.append(Publish(app=books.name, generation=generation, why=why))


def completed(books: Books, now: Instant, out: list[Command]) -> None:
    """Take the change that is being published as done: the old generation drains from here on."""
    change = books.change
    assert isinstance(change, Switch)
    books.change = None
    books.generation = change.generation
    books.slots = change.slots
    books.demand.moved()
    if change.generation:
        text = f"generation {change.generation} is published: {change.why}"
        out.append(books.message(Severity.INFO, Topic.GENERATION_PUBLISHED, text))
    drain(books, change.why, now)
    _go_on(books, change, now, out)


def failed(books: Books, why: str, now: Instant, out: list[Command]) -> None:
    """Take the change that was being published as impossible: the old generation stays the public one."""
    change = books.change
    assert isinstance(change, Switch)
    abandon(books, why, now, out)
    if books.mode is not Mode.RUN:
        retire_all(books, change.why, now)
    elif books.generation == 0:
        books.trouble = Trouble.FAILED
        text = f"failed: {books.reason}; it is not tried again until `fcgipmctl start {books.name}`"
        out.append(books.message(Severity.ERROR, Topic.APP_FAILED, text, reason="publish"))
    else:
        _readmit(books, now)
        _go_on(books, change, now, out)


def abandon(books: Books, why: str, now: Instant, out: list[Command]) -> None:
    """Give up the change in progress, which has failed."""
    assert books.change is not None
    books.abandoned = max(books.abandoned, books.change.generation)
    _give_up(books, why, Severity.ERROR, now, out)


def supersede(books: Books, why: str, now: Instant, out: list[Command]) -> None:
    """Give up the change in progress because somebody wants something newer, which is no failure."""
    _give_up(books, why, Severity.INFO, now, out)


def _give_up(books: Books, why: str, severity: Severity, now: Instant, out: list[Command]) -> None:
    """Drop the change in progress; the published generation goes on.

    Nobody has met a generation with a listener of its own that is not published, so it is removed at once.
    """
    change, books.change = books.change, None
    assert change is not None
    books.reason = f"generation {change.generation} was given up: {why}"
    if books.errand is not None and books.errand.topic is Topic.APP_RESTARTED:
        books.errand = None
    text = f"{books.reason}; generation {books.generation} goes on"
    out.append(books.message(severity, Topic.GENERATION_ABANDONED, text))
    if isinstance(change, Switch):
        for instance in books.instances.values():
            if instance.generation == change.generation and instance.is_staying:
                instance.retire("its generation was given up", first_try=now, cut_at=now)
    elif change.replacement in books.instances:
        replacement = books.instances[change.replacement]
        if replacement.is_staying:
            replacement.retire("its generation was given up", first_try=now, cut_at=None)


def empty(books: Books, generation: int, why: str, now: Instant, out: list[Command]) -> None:
    """Remove every instance, visitors being kept by the listener of *generation*, or by none (0)."""
    if isinstance(books.change, Switch) and books.change.phase is Phase.PUBLISHING:
        return  # done when that is published
    if books.change is not None:
        supersede(books, why, now, out)
    books.slots = []
    if not books.instances:
        return
    if books.switches and books.generation:
        switch(books, generation, [], why, out)
    else:
        retire_all(books, why, now)


def _slots_now(books: Books, now: Instant) -> list[Slot]:
    """Return slots that are all filled at once: init-start-delay is not for a new generation."""
    return [Slot(not_before=now, why="generation") for _ in range(books.attainable)]


def _readmit(books: Books, now: Instant) -> None:
    """Give the published generation its slots back: it was to go, and stays after all."""
    held = {slot.instance for slot in books.slots}
    for instance in books.instances.values():
        if instance.is_staying and instance.generation == books.generation and instance.id not in held:
            books.slots.append(Slot(not_before=now, instance=instance.id))


def _go_on(books: Books, done: Switch, now: Instant, out: list[Command]) -> None:
    """Do what was asked for while *done* was being published."""
    if books.mode is Mode.RUN:
        if done.then is not None:
            begin(books, done.then, now, out)
    elif any(instance.is_staying for instance in books.instances.values()):
        empty(books, 0 if books.mode is Mode.LEAVE else books.newest + 1, "stopped", now, out)


def drain(books: Books, why: str, now: Instant) -> None:
    """Retire every instance that is not of the published generation; one of each generation stays a little."""
    cut_at = Instant(now + books.definition.stop_timeout)
    last: dict[int, Instance] = {}
    for instance in books.instances.values():
        if instance.generation == books.generation:
            continue
        if instance.is_staying:
            last.setdefault(instance.generation, instance)
            stays = last[instance.generation] is instance
            first_try = Instant(now + LAST_STAYS) if stays else now
            instance.retire(why, first_try=first_try, cut_at=max(cut_at, first_try))
        else:
            instance.hurry(cut_at)


def retire_all(books: Books, why: str, now: Instant) -> None:
    """Retire every instance from a listener that stays public; after stop-timeout they are cut."""
    cut_at = Instant(now + books.definition.stop_timeout)
    for instance in books.instances.values():
        if instance.is_staying:
            instance.retire(why, first_try=now, cut_at=cut_at)
        else:
            instance.hurry(cut_at)
