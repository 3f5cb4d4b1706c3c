"""The one reconciliation between what is wanted and what there is; the same after every event.

Expire what is overdue, shrink what is too many, grow what is missing.  No event spawns or removes by itself.
"""

from __future__ import annotations

from typing import Final

from fcgipm.config.schema import SECOND, Duration
from fcgipm.core import generations, late_comers, proving, recycling, rolling, scaling, turning_away, wording
from fcgipm.core.backoff import Backoff
from fcgipm.core.books import Books
from fcgipm.core.commands import Command, Note, Retire, Severity, Topic
from fcgipm.core.events import Instant
from fcgipm.core.instance import Instance
from fcgipm.core.lifecycle import InstanceState
from fcgipm.core.note import Mode, write
from fcgipm.core.policy.classic import STARTS
from fcgipm.core.rollout import Switch
from fcgipm.core.schedule import audience_of, deadlines, heals_at, start_at, startable
from fcgipm.core.slots import Slot
from fcgipm.core.starting import spawn
from fcgipm.core.under_way import Errand
from fcgipm.counting import counted

SATURATED_AFTER: Final[Duration] = 1 * SECOND
"""Never found idle for so long: the others get a new listener, so that this one comes to rest."""

_DONE: Final = {
    Topic.APP_STOPPED: "stopped",
    Topic.APP_RESTARTED: "every instance is replaced",
    Topic.APP_RELOADED: "reloaded, every instance is replaced",
    Topic.APP_GONE: "its last instance is gone",
}


def reconcile(books: Books, now: Instant, out: list[Command]) -> None:
    """Append to *out* the commands that bring *books* nearer to what is wanted."""
    _resize(books, now)
    _relieve(books, now)
    generations.cleared(books, out)
    proving.prove(books, now, out)
    rolling.roll(books, now, out)
    recycling.recycle(books, now, out)
    scaling.start_what_is_wanted(books, now, out)
    scaling.stop_if_idle(books, now)
    scaling.try_removal(books, now)
    _grow(books, now, out)
    scaling.attend(books, now, out)
    turning_away.turn_away(books, now, out)
    _order_removals(books, now, out)
    _conclude(books, now, out)
    _note(books, out)
    books.due = min([*deadlines(books), *recycling.deadlines(books)], default=None)


def _note(books: Books, out: list[Command]) -> None:
    """Have kept what must outlive the manager; of connection time what each update, and each rest, leaves."""
    load = books.demand.load
    if load is not None and (
        books.noted_load is None or books.noted_load.updates != load.updates or books.demand.look_at is None
    ):
        books.noted_load = load
    memory = books.memory()
    if memory != books.noted and not books.is_leaving:
        books.noted = memory
        wish = memory.wish(autostart=books.definition.autostart)
        rests = memory.mode is not Mode.RUN or books.wanted == 0 or books.in_trouble
        out.append(Note(app=books.name, text=write(memory), wish="" if wish is None else write(wish), resting=rests))


def heal(books: Books, why: str, out: list[Command]) -> None:
    """Forget the failures of the past."""
    if books.backoff.in_force:
        text = f"back-off is over: {why}"
        out.append(books.message(Severity.INFO, Topic.BACKOFF_HEALED, text))
    books.backoff = Backoff()


def expire(books: Books, now: Instant, out: list[Command]) -> None:
    """Give up what is overdue, and forget what has passed: of all whom an event concerns, before any is judged."""
    books.late = {
        generation: one for generation, one in books.late.items() if one.gone_at > now or one.slot.instance is not None
    }
    for instance in books.everybody():
        if instance.overdue_at is not None and instance.overdue_at <= now:
            instance.failure = f"not ready after {wording.seconds(books.definition.start_timeout)}"
            instance.retire("its start failed", first_try=now, cut_at=now)
        healing = heals_at(books, instance)
        if healing is not None and healing <= now:
            age = wording.seconds(books.definition.min_server_life)
            heal(books, f"{books.name}/{instance.id} has lived longer than {age}", out)
    proving.expire(books, now, out)


def _resize(books: Books, now: Instant) -> None:
    """Have as many slots as instances are wanted."""
    if books.mode is not Mode.RUN:
        return
    change = books.change
    if isinstance(change, Switch):
        if not change.is_hidden:
            return
        _fit(books, change.slots, now, cut_at=now, why="generation")
    if books.slots or change is None or not change.is_hidden:  # what was stopped waits for the new code's proof
        _fit(books, books.slots, now, cut_at=None, why="scale")
    while books.definition.is_dynamic and books.world.total > books.world.terms.limit:
        empty = next((slot for slot in books.slots if slot.instance is None), None)
        if empty is None:
            break  # it is others who have too many
        books.slots.remove(empty)
        books.level = max(books.level - 1, 0)


def _fit(books: Books, slots: list[Slot], now: Instant, *, cut_at: Instant | None, why: str) -> None:
    while len(slots) < books.wanted and (books.world.has_room or not books.definition.is_dynamic):
        slots.append(Slot(not_before=now, why=why))
    while len(slots) > books.wanted:
        slot = max(slots, key=lambda one: _dispensability(books, one))
        slots.remove(slot)
        if slot.instance is not None and books.instances[slot.instance].is_staying:
            books.instances[slot.instance].retire("scaled down", first_try=now, cut_at=cut_at)


def _dispensability(books: Books, slot: Slot) -> tuple[bool, bool, int]:
    """Order slots by how little is lost with them: empty before starting before ready, young before old."""
    if slot.instance is None:
        return (True, False, slot.not_before)
    instance = books.instances[slot.instance]
    return (False, not instance.is_ready, instance.id)


def _relieve(books: Books, now: Instant) -> None:
    """Where a surplus instance is never idle, let a new generation take the visitors from it."""
    if books.change is not None or not books.switches or books.mode is not Mode.RUN:
        return
    again_at = books.short.again_at
    if books.abandoned > books.generation and (again_at is None or now < again_at):
        return
    if any(_is_saturated(books, instance, now) for instance in books.instances.values()):
        books.newest += 1
        generations.gather(books, generations.RELIEF, now)


def _is_saturated(books: Books, instance: Instance, now: Instant) -> bool:
    return (
        instance.state is InstanceState.RETIRING
        and instance.generation == books.generation
        and instance.cut_at is None
        and instance.refused_since is not None
        and now - instance.refused_since >= SATURATED_AFTER
    )


def _grow(books: Books, now: Instant, out: list[Command]) -> None:
    for generation, slot in list(startable(books)):
        if start_at(books, slot) <= now:
            instance = spawn(books, generation, slot.why, now, out, audience=audience_of(books, slot))
            slot.instance = instance.id
            if slot.why not in STARTS:
                books.chronicle.enter(now, "start", slot.why, f"{slot.why}: an instance is started")


def _order_removals(books: Books, now: Instant, out: list[Command]) -> None:
    for instance in books.everybody():
        if instance.state is not InstanceState.RETIRING:
            continue
        if instance.cut_at is not None and instance.cut_at <= now:
            instance.cut_at = instance.next_try = None
            out.append(Retire(instance=instance.id, cut=True, why=instance.why_retiring))
        elif instance.next_try is not None and instance.next_try <= now:
            instance.next_try = None
            out.append(Retire(instance=instance.id, cut=False, why=instance.why_retiring))


def _conclude(books: Books, now: Instant, out: list[Command]) -> None:
    """Tell that what somebody waits for is done."""
    errand = books.errand
    if errand is None or not _is_done(books, errand):
        return
    books.errand = None
    took = "" if errand.since is None else f" after {wording.seconds(now - errand.since)}"
    text = f"{_DONE[errand.topic]}{took}; {counted(books.cut - errand.cut, 'connection')} cut"
    if errand.topic is Topic.APP_STOPPED:
        text += wording.left(late_comers.waiting(books))
    out.append(books.message(Severity.INFO, errand.topic, text))


def _is_done(books: Books, errand: Errand) -> bool:
    if books.change is not None:
        return False
    if errand.topic not in (Topic.APP_RESTARTED, Topic.APP_RELOADED):
        return not books.instances
    replaced = all(one.generation >= books.generation for one in books.instances.values())
    return replaced and (books.is_serving or not books.wanted)
