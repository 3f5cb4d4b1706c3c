"""Taking up what a manager before this one has left: its instances, and the places that they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fcgipm.core.events import Instant
from fcgipm.core.instance import Instance
from fcgipm.core.lifecycle import InstanceState
from fcgipm.core.note import Memory, Mode
from fcgipm.core.rollout import Slot, in_a_row
from fcgipm.core.view import LiveInstance

if TYPE_CHECKING:
    from fcgipm.core.books import Books


def adopt(books: Books, alive: LiveInstance, now: Instant) -> None:
    """Take up an instance that a manager before this one has ordered."""
    is_starting = alive.ready_at is None
    instance = Instance(
        id=alive.instance,
        generation=alive.generation,
        pid=alive.pid,
        started_at=alive.started_at,
        ready_at=alive.ready_at,
        state=InstanceState.STARTING if is_starting else InstanceState.READY,
        overdue_at=Instant(alive.started_at + books.definition.start_timeout) if is_starting else None,
    )
    if alive.turns_away:
        books.turning.refuser = instance
    else:
        books.instances[alive.instance] = instance
        if alive.ready_at is not None:
            books.last_ready_at = max(alive.ready_at, books.last_ready_at or alive.ready_at)
    is_old = books.switches and alive.generation != books.generation
    if alive.asked or is_old or books.mode is not Mode.RUN:
        cut_at = Instant(now + books.definition.stop_timeout)
        instance.retire("its removal was under way", first_try=now, cut_at=cut_at)


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
