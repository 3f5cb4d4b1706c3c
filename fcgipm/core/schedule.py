"""When something about an application is due: which places are filled, and when; what ends, and what is given up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fcgipm.core.events import Instant
from fcgipm.core.instance import Audience, Instance
from fcgipm.core.note import Mode, Trouble
from fcgipm.core.rollout import Switch
from fcgipm.core.slots import Slot

if TYPE_CHECKING:
    from fcgipm.core.books import Books


def startable(books: Books) -> Iterator[tuple[int, Slot]]:
    """Yield (generation, slot) of each empty slot that is to be filled, now or later."""
    if books.mode is not Mode.RUN:
        return
    if isinstance(books.change, Switch) and books.change.is_hidden:
        yield from ((books.change.generation, slot) for slot in books.change.slots if slot.instance is None)
    if books.trouble is Trouble.FAILED or books.generation == 0:
        return
    yield from ((generation, one.slot) for generation, one in books.late.items() if one.slot.instance is None)
    if not isinstance(books.change, Switch) or books.change.is_hidden:
        yield from ((books.generation, slot) for slot in books.slots if slot.instance is None)


def audience_of(books: Books, slot: Slot) -> Audience:
    """Return who can come to an instance that is started in *slot* now."""
    if isinstance(books.change, Switch) and slot in books.change.slots:
        return Audience.NOBODY
    return Audience.VISITORS if slot in books.slots else Audience.LATE_COMERS


def start_at(books: Books, slot: Slot) -> Instant:
    """Return when an empty slot may be filled; back-off lets one start through at a time.

    A generation that is to be proved is what may end that.
    """
    not_before = max(slot.not_before, books.short.until)
    if audience_of(books, slot) is Audience.NOBODY:
        return not_before
    if books.backoff.in_force and books.last_start is not None:
        return max(not_before, books.backoff.next_start(books.last_start))
    return not_before


def heals_at(books: Books, instance: Instance) -> Instant | None:
    """Return when *instance* will have lived long enough to end a row of failures; None: no such row.

    What turns visitors away says nothing of the application's own program.
    """
    if books.backoff.failures == 0 or instance.pid is None or instance.id not in books.instances:
        return None
    if not instance.is_staying:
        return None
    return Instant(instance.started_at + books.definition.min_server_life)


def deadlines(books: Books) -> Iterator[Instant]:
    """Yield when something about it is due."""
    for instance in books.everybody():
        for due in (instance.deadline(), heals_at(books, instance)):
            if due is not None:
                yield due
    for _, slot in startable(books):
        yield start_at(books, slot)
    if books.change is not None:
        proof = books.change.proof
        yield from (due for due in (proof.lived_at, proof.answer_by) if due is not None)
    for one in books.late.values():
        if one.slot.instance is None:
            yield one.gone_at
