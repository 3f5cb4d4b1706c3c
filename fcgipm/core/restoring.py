"""Taking up what a manager before this one has left: its instances, and the places that they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcgipm.core.events import Instant
from fcgipm.core.instance import Audience, Instance
from fcgipm.core.lifecycle import InstanceState
from fcgipm.core.note import Memory, Mode
from fcgipm.core.slots import Slot, in_a_row
from fcgipm.core.view import LiveInstance

if TYPE_CHECKING:
    from fcgipm.core.books import Books


def generation_of(books: Books, published: int, living: Sequence[LiveInstance], memory: Memory) -> int:
    """Return the generation that visitors meet; 0 where they meet none.

    Where all generations share one listener that is remembered; else it is the oldest that visitors meet an instance
    of.  A listener that only its instances have is none to start others on.
    """
    if books.switches or not published:
        return published
    if any(alive.estranged for alive in living):
        return 0
    return memory.generation or min(
        (one.generation for one in living if not (one.canary or one.turns_away)), default=published
    )


def adopt(books: Books, alive: LiveInstance, now: Instant) -> None:
    """Take up an instance that a manager before this one has ordered."""
    is_starting = alive.ready_at is None
    is_late = books.switches and alive.generation != books.generation
    instance = Instance(
        id=alive.instance,
        generation=alive.generation,
        audience=_audience_of(books, alive),
        estranged=alive.estranged,
        pid=alive.pid,
        started_at=alive.started_at,
        ready_at=alive.ready_at,
        state=InstanceState.STARTING if is_starting else InstanceState.READY,
        overdue_at=Instant(alive.started_at + books.definition.start_timeout) if is_starting else None,
    )
    if alive.turns_away and not is_late and books.turning.refuser is None:
        books.turning.refuser = instance
    elif alive.turns_away:
        books.turning.aside.append(instance)
    else:
        books.instances[alive.instance] = instance
        if alive.ready_at is not None:
            books.last_ready_at = max(alive.ready_at, books.last_ready_at or alive.ready_at)
    if instance.audience is Audience.NOBODY:
        instance.retire("its generation was given up", first_try=now, cut_at=now)
        return
    if alive.estranged and not books.generation:
        is_late = False  # visitors still come to it: a new listener takes its place first
    was_replaced = not books.switches and not alive.turns_away and alive.generation < books.generation
    if alive.asked or is_late or was_replaced or books.mode is not Mode.RUN:
        cut_at = books.cut_from(now)
        instance.retire("its removal was under way", first_try=now, cut_at=cut_at)


def _audience_of(books: Books, alive: LiveInstance) -> Audience:
    """Return who can come to it: nobody to a generation that was begun and is not published, nor to a canary."""
    is_newer = books.switches and 0 < books.generation < alive.generation and not alive.turns_away
    return Audience.NOBODY if alive.canary or is_newer else Audience.VISITORS


def level_of(books: Books, memory: Memory) -> int:
    """Return how many instances the demand had led to; who has died since is started again when somebody comes."""
    living = sum(one.is_staying for one in books.instances.values())
    meant = living if memory.level is None else min(memory.level, living)
    return max(books.definition.least, min(meant, books.definition.most))


def slots_of_the_living(books: Books, now: Instant) -> list[Slot]:
    """Return slots for the living, and for those still to be started.

    A slot is empty because it was never filled, or because of a death that no manager saw: no start comes
    before both delays have passed.
    """
    if books.mode is not Mode.RUN:
        return []
    slots = [Slot(not_before=now, instance=instance.id) for instance in books.instances.values() if instance.is_staying]
    missing = in_a_row(books.wanted, books.definition.init_start_delay, now)[len(slots) :]
    if books.last_start is None:
        return slots + missing
    for index, slot in enumerate(missing):
        delay = max(books.restart_pause, (index + 1) * books.definition.init_start_delay)
        slot.not_before = max(now, Instant(books.last_start + delay))
    return slots + missing
