"""Changing generations on a listener that all share (TCP): one replacement at a time, once a canary was proved.

What a manager has left halfway goes on: who is of the new generation there came after its canary was proved.
"""

from __future__ import annotations

from typing import Final

from fcgipm.core import generations
from fcgipm.core.books import Books
from fcgipm.core.commands import Command, Severity, Topic
from fcgipm.core.events import Instant
from fcgipm.core.instance import Audience, Instance
from fcgipm.core.lifecycle import InstanceState
from fcgipm.core.phases import Phase
from fcgipm.core.rollout import Roll
from fcgipm.core.slots import Slot
from fcgipm.core.starting import spawn

_INHERITED: Final = "begun by a manager that has died"


def roll(books: Books, now: Instant, out: list[Command]) -> None:
    """Replace the instances on a shared listener, one at a time."""
    change = books.change
    if not isinstance(change, Roll) or change.phase is not Phase.ROLLING:
        return
    stale = _stale(books, change)
    if change.replacement is not None:
        replacement = books.instances[change.replacement]
        if not replacement.is_ready:
            return
        change.replacement = None
        _replace(books, stale, replacement, now)
        stale = _stale(books, change)
    if all(slot.instance is None for slot in stale):  # nobody is to be replaced: who is missing is started anew
        generations.rolled(books, out)
    elif not any(_is_going(one) for one in books.instances.values()):
        change.replacement = spawn(books, change.generation, "generation", now, out).id


def _stale(books: Books, change: Roll) -> list[Slot]:
    """Return the places that are still those of older generations; an empty one is filled by the published one."""
    return [
        slot
        for slot in books.slots
        if slot.instance is None or books.instances[slot.instance].generation < change.generation
    ]


def _is_going(instance: Instance) -> bool:
    """Return whether it was replaced, or is to go like one that was, and may still serve."""
    is_public = instance.audience is Audience.VISITORS
    return is_public and instance.state is InstanceState.RETIRING and instance.cut_at is not None


def _replace(books: Books, stale: list[Slot], replacement: Instance, now: Instant) -> None:
    """Give *replacement* the place of an old instance, which goes."""
    if not stale:
        replacement.retire("nobody is left to be replaced", first_try=now, cut_at=None)
        return
    slot = stale[0]
    old = books.instances.get(slot.instance) if slot.instance is not None else None
    slot.instance = replacement.id
    if old is not None and old.is_staying:
        old.retire("replaced", first_try=now, cut_at=books.cut_from(now))


# ── left halfway ─────────────────────────────────────────────────────────────────────────────────────────────────


def left_halfway(books: Books) -> int:
    """Return the generation to which a manager that has died was rolling; 0: to none, or nothing came of it yet.

    Of what it had given up itself, for whatever reason, instances may be there as well: nobody goes on with that.
    """
    if books.switches or not 0 < books.generation < books.left_under_way:
        return 0
    is_met = any(one.generation == books.left_under_way for one in _met(books))
    return books.left_under_way if is_met else 0


def go_on(books: Books, generation: int, now: Instant, out: list[Command]) -> None:
    """Roll on to *generation*, from where it was left: who was replaced and is still there goes."""
    books.change = change = Roll(generation=generation, why=_INHERITED, phase=Phase.ROLLING)
    text = f"rolling on to generation {generation}, {_INHERITED}"
    out.append(books.message(Severity.INFO, Topic.APP_RELOADING, text, reason="inherited"))
    held = [slot for slot in books.slots if slot.instance is not None]
    surplus = max(len(held) - books.wanted, 0)
    if surplus:
        newcomer = next((one for one in _met(books) if one.generation == generation and not one.is_ready), None)
        if newcomer is not None:
            change.replacement = newcomer.id
            books.slots = [slot for slot in books.slots if slot.instance != newcomer.id]
            surplus -= 1
    for slot in _stale(books, change)[:surplus]:
        books.slots.remove(slot)
        assert slot.instance is not None
        books.instances[slot.instance].retire("replaced", first_try=now, cut_at=books.cut_from(now))


def _met(books: Books) -> list[Instance]:
    """Return who is, or will be, on the listener of all and stays."""
    return [one for one in books.instances.values() if one.audience is Audience.VISITORS and one.is_staying]
