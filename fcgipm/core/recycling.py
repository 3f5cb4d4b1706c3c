"""Recycling: an instance that is old, large or has served much is replaced, the replacement first, one at a time.

So is who came to the listener of all for a generation that was given up then: by one of the generation that goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fcgipm.config.schema import SECOND, Duration
from fcgipm.core import generations, wording
from fcgipm.core.books import Books
from fcgipm.core.commands import Command
from fcgipm.core.events import InstanceId, Instant, Sample
from fcgipm.core.instance import Audience, Instance
from fcgipm.core.note import Mode
from fcgipm.core.starting import spawn
from fcgipm.core.under_way import Swap
from fcgipm.counting import counted

PAUSE: Final[Duration] = 60 * SECOND
"""After a replacement that did not become ready, until the next one."""
_PARTS: Final = 1_000_000
"""Of a request: an instance's share of what its application served."""
_SPREAD: Final = 10
"""Limits are lowered by up to this many percent, each instance's by another: they do not all go together."""


def weigh(books: Books, sample: Sample) -> None:
    """Give each instance its share of the requests that were seen, and its size."""
    serving = _settled(books)
    for instance in serving:
        instance.served += sample.requests * _PARTS // len(serving)
    for number, size in sample.memory.items():
        if (instance_of := books.instances.get(number)) is not None:
            instance_of.memory = size


def recycle(books: Books, now: Instant, out: list[Command]) -> None:
    """Begin or go on to replace an instance that has reached one of its limits."""
    if books.recycling.swap is not None:
        _go_on(books, books.recycling.swap, now)
    if not _may_begin(books):
        return
    rolled_back_at = _rolled_back_at(books)
    if rolled_back_at is not None and rolled_back_at <= now:
        outgoing = next(one for one in generations.left_over(books) if one.is_ready)
        rule, why = "generation", "its generation was given up"
    elif now >= books.recycling.not_before and (worn := _first_worn(books, now)) is not None:
        outgoing, rule, why = worn[0], "recycle", f"recycled: {worn[1]}"
    else:
        return
    replacement = spawn(books, books.generation, rule, now, out)
    books.recycling.swap = Swap(outgoing=outgoing.id, why=why, replacement=replacement.id)
    text = f"{rule}: {books.name}/{outgoing.id} is replaced, {why.removeprefix('recycled: ')}"
    books.chronicle.enter(now, "start", rule, text)


def _first_worn(books: Books, now: Instant) -> tuple[Instance, str] | None:
    """Return the first one that has reached a limit, and which."""
    return next(((one, why) for one in _settled(books) if (why := _worn(books, one, now))), None)


def _rolled_back_at(books: Books) -> Instant | None:
    """Return when one of a generation that was given up may be replaced; None: there is none, or an event comes first.

    As careful as what brought it there: not before the last one that was replaced has gone.
    """
    is_there = any(one.is_ready for one in generations.left_over(books))
    is_going = any(
        one.generation > books.generation and one.audience is Audience.VISITORS and not one.is_staying
        for one in books.instances.values()
    )
    if not is_there or is_going or books.in_trouble:
        return None
    return max(books.recycling.not_before, books.short.until)


def deadlines(books: Books) -> Iterator[Instant]:
    """Yield when one is to be replaced."""
    yield from ages(books)
    if _may_begin(books) and (due := _rolled_back_at(books)) is not None:
        yield due


def ages(books: Books) -> Iterator[Instant]:
    """Yield when an instance will have reached its age."""
    lifetime = books.definition.max_lifetime
    if lifetime is None or not _may_begin(books):
        return
    for instance in _settled(books):
        yield Instant(max(instance.started_at + jittered(lifetime, instance.id), books.recycling.not_before))


def jittered(limit: int, number: InstanceId) -> int:
    """Return *limit* lowered by 0 to 10 percent: by chance to look at, and the same for the same instance."""
    golden = number * 0x9E3779B97F4A7C15 % 2**64  # spreads any row of numbers evenly
    return limit - limit * _SPREAD * golden // (100 * 2**64)


def _may_begin(books: Books) -> bool:
    """Return whether nothing else is under way with the instances; what is under way ends with an event."""
    return (
        books.mode is Mode.RUN and books.recycling.swap is None and books.change is None and books.attempt is None
    )  # fmt: skip


def _settled(books: Books) -> list[Instance]:
    """Return who serves visitors: on a shared port also those of a generation that was given up halfway."""
    return [one for one in books.instances.values() if one.serves]


def _worn(books: Books, instance: Instance, now: Instant) -> str:
    """Return which limit *instance* has reached, with figures; an empty text: none."""
    definition = books.definition
    age = now - instance.started_at
    if definition.max_lifetime is not None and age >= jittered(definition.max_lifetime, instance.id):
        return f"it is {wording.seconds(age)} old (max-lifetime)"
    if definition.max_requests is not None:
        served = instance.served // _PARTS
        if served >= jittered(definition.max_requests, instance.id):
            return f"it has served about {counted(served, 'request')} (max-requests)"
    if definition.max_memory is not None and instance.memory > definition.max_memory:
        return f"it takes {instance.memory >> 20} MiB (max-memory)"
    return ""


def _go_on(books: Books, swap: Swap, now: Instant) -> None:
    replacement = books.instances.get(swap.replacement)
    if replacement is None or not replacement.is_staying:
        books.recycling.swap = None
        books.recycling.not_before = Instant(now + PAUSE)
    elif books.change is not None or books.mode is not Mode.RUN:
        books.recycling.swap = None
        replacement.retire("what it was to replace is replaced otherwise", first_try=now, cut_at=None)
    elif replacement.is_ready:
        books.recycling.swap = None
        _swap(books, swap, replacement, now)


def _swap(books: Books, swap: Swap, replacement: Instance, now: Instant) -> None:
    outgoing = books.instances.get(swap.outgoing)
    slot = books.slot_of(outgoing) if outgoing is not None else None
    if slot is None or slot not in books.slots:
        slot = next((one for one in books.slots if one.instance is None), None)  # the outgoing one has died meanwhile
    if slot is None:
        replacement.retire("nobody is left to be replaced", first_try=now, cut_at=None)
        return
    slot.instance = replacement.id
    if outgoing is not None and outgoing.is_staying:
        is_given_up = outgoing.generation > books.generation
        outgoing.retire(swap.why, first_try=now, cut_at=books.cut_from(now) if is_given_up else None)
