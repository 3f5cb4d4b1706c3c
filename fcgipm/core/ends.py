"""Ends of instances that nobody asked for: what is counted, what is told, and what follows."""

from __future__ import annotations

from fcgipm.config.schema import SECOND, Duration
from fcgipm.core import generations, wording
from fcgipm.core.backoff import PAUSE
from fcgipm.core.books import Books
from fcgipm.core.commands import Command, Severity, Topic
from fcgipm.core.events import Exited, Instant
from fcgipm.core.instance import Audience, Instance
from fcgipm.core.note import Mode, Trouble
from fcgipm.core.phases import Phase
from fcgipm.core.reconcile import heal
from fcgipm.core.rollout import Roll
from fcgipm.core.schedule import start_at, startable
from fcgipm.core.slots import Slot

LATE_FLOOR: Duration = 1 * SECOND
"""Least time between two starts for a late-comer: their failures lead to no back-off."""


def failed_start(books: Books, instance: Instance, why: str, now: Instant, out: list[Command]) -> None:
    """Take an instance that never came to serve out of the books."""
    label = f"cannot spawn {books.name}/{instance.id}: {why}"
    proving = is_proving(books, instance)
    given_up = not proving and instance.audience is Audience.NOBODY
    consequences = _count_end(books, instance, 0, now, clean=False, proving=proving, reason=why)
    what_next = "its generation was given up before" if given_up else _what_next(books, now, proving=proving)
    text = f"{label}; {what_next}"
    severity = Severity.INFO if proving or given_up else Severity.ERROR  # else the end of the generation tells of it
    out.append(books.message(severity, Topic.START_FAILED, text, reason="start-failed"))
    books.chronicle.enter(now, "end", "start-failed", text, failures_in_a_row=books.backoff.failures or None)
    out.extend(consequences)
    if proving:
        generations.lost(books, label, "start-failed", now, out)


def died(books: Books, instance: Instance, event: Exited, now: Instant, out: list[Command]) -> None:
    """Take an instance that ended unasked out of the books."""
    life = max(event.at - instance.started_at, 0)
    how = wording.end(event.code, event.signal, dumped=event.dumped)
    is_seen = event.code is not None or event.signal is not None
    passed = wording.seconds(life)
    why = f"{how} after {passed}" if is_seen else f"{how}, noticed {passed} after its start"  # it may be long ago
    is_clean = event.code == 0 or not is_seen
    proving = is_proving(books, instance) and not (is_clean and _has_served_enough(books, instance, life))
    refusal = wording.suexec(event.code) if books.definition.wrapper != "off" and life < SECOND else None
    if refusal is not None:
        why = f"the wrapper refused it: {refusal} ({how})"
        if not proving:
            _fail(books, instance, why, now, out)
            return
    consequences = _count_end(books, instance, life, now, clean=is_clean, proving=proving, reason=why)
    severity = Severity.INFO if event.code == 0 else Severity.WARNING
    text = f"(pid {instance.pid}) ended: {why}; {_what_next(books, now, proving=proving)}"
    out.append(books.message_of(instance, severity, Topic.INSTANCE_ENDED, text, reason=_exit_word(event)))
    label = f"{books.name}/{instance.id}"
    books.chronicle.enter(now, "end", "died", f"{label} {text}", failures_in_a_row=books.backoff.failures or None)
    out.extend(consequences)
    if proving:
        generations.lost(books, f"{label}: {why}", "died", now, out)


def is_proving(books: Books, instance: Instance) -> bool:
    """Return whether the generation on its way ends with *instance*: one that others had to be replaced by."""
    change = books.change
    if change is None or change.generation != instance.generation:
        return False
    return change.is_hidden or change.phase is Phase.ROLLING


def _has_served_enough(books: Books, instance: Instance, life: Duration) -> bool:
    """Return whether it has taken the place of an old one, and lived so long that the next may be started at once.

    Where such a one ends cleanly that is no fault of its generation: PHP_FCGI_MAX_REQUESTS does it.
    """
    change = books.change
    has_place = isinstance(change, Roll) and instance.id != change.replacement and instance.ready_at is not None
    return has_place and life >= books.restart_pause


def _count_end(
    books: Books, instance: Instance, life: Duration, now: Instant, *, clean: bool, proving: bool, reason: str
) -> list[Command]:
    """Empty the slot of an instance that ended unasked; return what is to be told of the consequences."""
    out: list[Command] = []
    slot = books.slot_of(instance)
    late = books.is_for_late_comer(instance)
    books.forget(instance)
    if slot is None or (proving and slot not in books.slots):
        return out
    books.restarts += 1
    pause = max(books.restart_pause, LATE_FLOOR if late else 0)
    slot.not_before = max(Instant(instance.started_at + pause), slot.not_before)
    if late:
        return out  # says nothing of the generation that visitors meet
    books.reason = f"{books.name}/{instance.id}: {reason}"
    slot.why = "replacement"
    _count_failure(books, life, now, out, clean=clean)
    if not leave_place(books, slot, slot.not_before, now) and start_at(books, slot) > now:
        why = "backoff" if books.backoff.in_force else "restart-delay"
        out.append(books.message(Severity.DEBUG, Topic.START_DENIED, f"the next start waits: {why}", reason=why))
    return out


def leave_place(books: Books, slot: Slot, until: Instant, now: Instant) -> bool:
    """Have one place less where the demand decides whether it is filled again, not before *until*; return whether."""
    if slot not in books.slots or _is_replaced(books):
        return False
    books.slots.remove(slot)
    books.level -= 1
    books.hold_until = max(books.hold_until, until)
    books.demand.judge_by(now)
    return True


def _is_replaced(books: Books) -> bool:
    """Return whether one that has ended is started again whoever needs it, or only when somebody comes."""
    if not books.follows_demand:
        return True
    if not books.definition.is_dynamic:
        return books.level <= books.definition.least
    terms = books.world.terms
    was_last = not any(one.is_staying for one in books.instances.values())
    return terms.restarts or (was_last and terms.settings.single_threshold == 0)


def _count_failure(books: Books, life: Duration, now: Instant, out: list[Command], *, clean: bool) -> None:
    min_life = books.definition.min_server_life
    before = books.backoff
    after = before.after(life, min_life, clean=clean)
    if after.failures == 0:
        heal(books, f"an instance lived {wording.seconds(life)}", out)
    elif any(now - one.started_at >= min_life for one in books.instances.values() if one.is_staying and one.pid):
        heal(books, "another instance has lived long enough", out)
    else:
        books.backoff = after
    if books.backoff.in_force and not before.in_force:
        text = (
            f"back-off: {after.failures} instances in a row lived shorter than {wording.seconds(min_life)}, the last: "
            f"{books.reason}; one start is tried every {wording.seconds(PAUSE)}, or at `fcgipmctl start {books.name}`"
        )
        out.append(books.message(Severity.ERROR, Topic.BACKOFF_ENTERED, text))


def _fail(books: Books, instance: Instance, why: str, now: Instant, out: list[Command]) -> None:
    books.forget(instance)
    books.restarts += 1
    if books.trouble is Trouble.FAILED:
        return
    books.trouble = Trouble.FAILED
    books.reason = why
    text = f"failed: {why}; it is not tried again until `fcgipmctl start {books.name}` or a changed definition"
    out.append(books.message(Severity.ERROR, Topic.APP_FAILED, text, reason="wrapper"))
    books.chronicle.enter(now, "end", "failed", text)


def _what_next(books: Books, now: Instant, *, proving: bool) -> str:
    if proving:
        return "its generation is given up"
    if books.mode is not Mode.RUN:
        return "it is not replaced"
    due = min((start_at(books, slot) for _, slot in startable(books)), default=None)
    if due is None:
        return "the next one is started when somebody comes" if books.follows_demand else "it is not replaced"
    return f"next try in {wording.seconds(due - now)}" if due > now else "it is replaced at once"


def _exit_word(event: Exited) -> str:
    if event.signal is not None:
        return "signal"
    if event.code is None:
        return "unknown"
    return "exit" if event.code else "exit-0"
