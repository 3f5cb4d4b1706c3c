"""One application's part in every event: what happened goes into its books, what people want changes them.

Nothing here spawns or removes; after each event `core.reconcile` does, always in the same way.
"""

from __future__ import annotations

from fcgipm.config.schema import SECOND, Application, Change, Duration
from fcgipm.core import generations, wording
from fcgipm.core.backoff import PAUSE
from fcgipm.core.books import Books
from fcgipm.core.commands import Command, Severity, Topic
from fcgipm.core.events import (
    BecameReady,
    Exited,
    Instant,
    Published,
    PublishFailed,
    Refusal,
    Removal,
    RemovalRefused,
    Removed,
    Spawned,
    SpawnFailed,
)
from fcgipm.core.instance import Instance
from fcgipm.core.lifecycle import Input, InstanceState
from fcgipm.core.note import Mode, Trouble
from fcgipm.core.reconcile import heal
from fcgipm.core.rollout import Errand, LateComer, Phase, Restart, Roll, Slot, Switch
from fcgipm.counting import counted

LATE_FLOOR: Duration = 1 * SECOND
"""Least time between two starts for a late-comer: their failures lead to no back-off."""
OLD_LISTENER: Duration = 60 * SECOND
"""How long the keeper watches a listener that nobody can reach any more."""
DRAINING = "removed, draining"
"""Why an application is shown that is not in the configuration any more."""


# ── what happened ────────────────────────────────────────────────────────────────────────────────────────────────


def spawned(books: Books, event: Spawned, now: Instant, out: list[Command]) -> None:
    """Its process exists."""
    instance = books.instances[event.instance]
    instance.take(Input.SPAWNED)
    instance.pid, instance.started_at = event.pid, event.at
    if instance.state is InstanceState.RETIRING:
        instance.next_try = now
    text = f"started, pid {event.pid}"
    out.append(books.message_of(instance, Severity.INFO, Topic.INSTANCE_STARTED, text, reason=instance.why_started))


def spawn_failed(books: Books, event: SpawnFailed, now: Instant, out: list[Command]) -> None:
    """It could not be exec'd: a life of 0."""
    instance = books.instances[event.instance]
    instance.take(Input.FAILED)
    _failed_start(books, instance, f"{event.step}: {event.error}", now, out)


def became_ready(books: Books, event: BecameReady, now: Instant, out: list[Command]) -> None:
    """It accepts connections."""
    instance = books.instances[event.instance]
    instance.take(Input.READIED)
    instance.overdue_at = None
    if books.is_for_late_comer(instance):
        del books.late[instance.generation]
        cut_at = Instant(now + books.definition.stop_timeout)
        instance.retire("it serves a late-comer on the old listener", first_try=now, cut_at=cut_at)
    if instance.ready_at is None:
        instance.ready_at = event.at
        took = wording.seconds(event.at - instance.started_at)
        text = f"is ready after {took} ({event.how.value})"
        out.append(books.message_of(instance, Severity.DEBUG, Topic.INSTANCE_READY, text, reason=event.how.value))


def exited(books: Books, event: Exited, now: Instant, out: list[Command]) -> None:
    """Its process ended."""
    instance = books.instances[event.instance]
    was_retiring = instance.state is InstanceState.RETIRING
    instance.take(Input.EXITED)
    if instance.failure:
        _failed_start(books, instance, instance.failure, now, out)
    elif was_retiring:
        books.forget(instance)
        text = f"(pid {instance.pid}) is gone: {instance.why_retiring}"
        out.append(books.message_of(instance, Severity.INFO, Topic.INSTANCE_REMOVED, text, reason="gone"))
    else:
        _died(books, instance, event, now, out)


def removed(books: Books, event: Removed, now: Instant, out: list[Command]) -> None:
    """A removal was carried out; the end of the process follows."""
    instance = books.instances[event.instance]
    if instance.state is not InstanceState.RETIRING:
        return
    instance.removed(event.how, now)
    how = event.how.value
    text = f"was {how}: {instance.why_retiring}"
    out.append(books.message_of(instance, Severity.DEBUG, Topic.INSTANCE_REMOVED, text, reason=how))
    if event.how is Removal.CUT and event.connections:
        books.cut += event.connections
        waited = wording.seconds(books.definition.stop_timeout)
        text = f"was killed with {counted(event.connections, 'request')} in it, after stop-timeout ({waited})"
        out.append(books.message_of(instance, Severity.WARNING, Topic.REQUESTS_CUT, text))


def removal_refused(books: Books, event: RemovalRefused, now: Instant, out: list[Command]) -> None:
    """Somebody would have lost by it: it is tried again later."""
    instance = books.instances[event.instance]
    if instance.state is not InstanceState.RETIRING:
        return
    if event.why is Refusal.GONE and instance.pid is None:  # it never came to be, and nobody has told
        instance.take(Input.FAILED)
        _failed_start(books, instance, "its process was never seen", now, out)
        return
    first = instance.refused_since is None
    instance.refused(event.why, now)
    if first:
        text = f"cannot go yet ({event.why.value}): {instance.why_retiring}; it is asked again"
        out.append(books.message_of(instance, Severity.DEBUG, Topic.INSTANCE_REMOVED, text, reason=event.why.value))


def published(books: Books, event: Published, now: Instant, out: list[Command]) -> None:
    """Visitors meet another generation from here on."""
    change = books.change
    if isinstance(change, Switch) and change.generation == event.generation:
        books.reason = "by an operator" if books.mode is Mode.STOP else ""
        generations.completed(books, now, out)


def publish_failed(books: Books, event: PublishFailed, now: Instant, out: list[Command]) -> None:
    """The old generation stays the public one."""
    if isinstance(books.change, Switch) and books.change.generation == event.generation:
        generations.failed(books, event.error, now, out)


def somebody_waits(books: Books, generation: int, now: Instant) -> None:
    """A late-comer sits in the queue of an old listener: an instance is started for it, which goes when done."""
    served = any(instance.generation == generation for instance in books.instances.values())
    if books.mode is Mode.RUN and generation != books.generation and generation not in books.late and not served:
        slot = Slot(not_before=now, why="late-comer")
        books.late[generation] = LateComer(slot=slot, gone_at=Instant(now + OLD_LISTENER))


def program_changed(books: Books, out: list[Command]) -> None:
    """A new program file ends a back-off."""
    if books.generation and (books.backoff.in_force or books.trouble is Trouble.FAILED):
        books.trouble = Trouble.NONE
        heal(books, "its program file has changed", out)


# ── what people want ─────────────────────────────────────────────────────────────────────────────────────────────


def start(books: Books, now: Instant, out: list[Command]) -> None:
    """Let it run; ends a back-off."""
    books.trouble = Trouble.NONE
    if books.errand is not None and books.errand.topic is Topic.APP_STOPPED:
        books.errand = None
    heal(books, "started by an operator", out)
    if books.generation == 0 and books.change is None:
        restart(books, now, out)
    elif books.mode is Mode.STOP:
        books.mode = Mode.RUN
        books.reason = ""
        out.append(books.message(Severity.INFO, Topic.APP_STARTED, "started by an operator"))
        if isinstance(books.change, Switch):
            books.change.slots = books.empty_slots(now)
        else:
            books.slots = books.empty_slots(now)


def stop(books: Books, now: Instant, out: list[Command]) -> None:
    """Let it not run; its socket stays, and visitors wait there."""
    if books.mode is Mode.RUN:
        books.mode = Mode.STOP
        out.append(books.message(Severity.INFO, Topic.APP_STOPPING, "stopping, by an operator"))
        generations.empty(books, books.newest + 1, "stopped", now, out)
        _wait_for(books, Topic.APP_STOPPED, now)
        books.reason = "by an operator"


def restart(books: Books, now: Instant, out: list[Command]) -> None:
    """Replace every instance, the replacement first."""
    out.append(books.message(Severity.INFO, Topic.APP_RESTARTING, "restarting, by an operator"))
    _replace_all(books, Restart(why="restarted by an operator", new_listener=False), now, out)


def rescale(books: Books, processes: int | None, out: list[Command]) -> None:
    """Keep *processes* instances; None: as many as configured."""
    books.scale = processes
    how = "as configured" if processes is None else "by an operator"
    out.append(books.message(Severity.INFO, Topic.APP_SCALED, f"scaled to {books.wanted} {how}"))


def redefine(books: Books, definition: Application, change: Change, now: Instant, out: list[Command]) -> None:
    """A new definition holds; what an operator said about another one is forgotten."""
    before, books.definition = books.definition, definition
    out.append(books.message(Severity.INFO, Topic.APP_CHANGED, f"changed: {change.value}"))
    is_another = change in (Change.GENERATION, Change.LISTENER)
    if is_another or before.processes != definition.processes or before.autostart != definition.autostart:
        books.scale = None
        if books.mode is Mode.STOP and definition.autostart:
            start(books, now, out)
    if is_another and books.mode is Mode.RUN:
        wish = Restart(why="its definition has changed", new_listener=change is Change.LISTENER)
        _replace_all(books, wish, now, out)
    elif is_another:
        generations.switch(books, books.newest + 1, [], "its definition has changed", out)


def leave(books: Books, why: str, now: Instant, out: list[Command]) -> None:
    """Let it go because the daemon ends: nobody reaches it any more, and what runs finishes."""
    books.mode = Mode.LEAVE
    books.errand = None
    generations.empty(books, 0, why, now, out)


def remove(books: Books, now: Instant, out: list[Command]) -> None:
    """Let it go because it is not in the configuration any more; its public name is gone already."""
    out.append(books.message(Severity.INFO, Topic.APP_REMOVED, "removed from the configuration"))
    books.mode = Mode.LEAVE
    books.reason = DRAINING
    books.change = None
    books.slots = []
    books.generation = 0
    generations.drain(books, "removed from the configuration", now)
    _wait_for(books, Topic.APP_GONE, now)


def catch_up(books: Books, now: Instant, out: list[Command], *, outdated: bool, moved: bool) -> None:
    """Bring about what a manager had begun and did not live to finish."""
    if books.mode is not Mode.RUN:
        return
    if books.generation == 0:
        generations.switch(books, books.newest + 1, books.empty_slots(now), "it had no public socket", out)
    elif outdated or moved:
        wish = Restart(why="its definition had changed", new_listener=moved)
        generations.begin(books, wish, now, out)


def come_back(books: Books, definition: Application, now: Instant, out: list[Command]) -> None:
    """Let it run again although its last instances are still leaving: it is in the configuration once more."""
    books.definition = definition
    books.mode = Mode.RUN if definition.autostart else Mode.STOP
    books.reason = ""
    books.errand = None
    out.append(books.message(Severity.INFO, Topic.APP_ADDED, "added by the configuration again"))
    slots = books.empty_slots(now) if definition.autostart else []
    generations.switch(books, books.newest + 1, slots, "added by the configuration again", out)


def is_gone(books: Books) -> bool:
    """Return whether it was to leave, and has."""
    return books.mode is Mode.LEAVE and not books.instances and books.change is None


def has_failed(books: Books) -> bool:
    """Return whether it is in the kind of trouble that on-failure is about."""
    return books.mode is Mode.RUN and (books.trouble is Trouble.FAILED or books.backoff.in_force)


# ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _replace_all(books: Books, wish: Restart, now: Instant, out: list[Command]) -> None:
    if books.mode is Mode.LEAVE:
        return
    books.mode = Mode.RUN
    books.trouble = Trouble.NONE
    books.reason = ""
    heal(books, wish.why, out)
    generations.begin(books, wish, now, out)
    _wait_for(books, Topic.APP_RESTARTED, now)


def _wait_for(books: Books, topic: Topic, now: Instant) -> None:
    """Have *topic* told when what has just begun is done."""
    books.errand = Errand(topic=topic, since=now, cut=books.cut)


def _failed_start(books: Books, instance: Instance, why: str, now: Instant, out: list[Command]) -> None:
    """Take an instance that never came to serve out of the books."""
    label = f"cannot spawn {books.name}/{instance.id}: {why}"
    proving = _is_proving(books, instance)
    consequences = _count_end(books, instance, 0, now, clean=False, reason=why)
    out.append(
        books.message(Severity.ERROR, Topic.START_FAILED, f"{label}; {_what_next(books, now, proving=proving)}",
                      reason="start-failed")
    )  # fmt: skip
    out.extend(consequences)
    if proving:
        generations.abandon(books, label, Severity.ERROR, now, out)


def _died(books: Books, instance: Instance, event: Exited, now: Instant, out: list[Command]) -> None:
    """Take an instance that ended unasked out of the books."""
    life = max(event.at - instance.started_at, 0)
    how = wording.end(event.code, event.signal, dumped=event.dumped)
    why = f"{how} after {wording.seconds(life)}"
    proving = _is_proving(books, instance)
    refusal = wording.suexec(event.code) if books.definition.wrapper != "off" and life < SECOND else None
    if refusal is not None:
        why = f"the wrapper refused it: {refusal} ({how})"
        if not proving:
            _fail(books, instance, why, out)
            return
    consequences = _count_end(books, instance, life, now, clean=event.code == 0, reason=why)
    severity = Severity.INFO if event.code == 0 else Severity.WARNING
    text = f"(pid {instance.pid}) ended: {why}; {_what_next(books, now, proving=proving)}"
    out.append(books.message_of(instance, severity, Topic.INSTANCE_ENDED, text, reason=_exit_word(event)))
    out.extend(consequences)
    if proving:
        generations.abandon(books, f"{books.name}/{instance.id}: {why}", Severity.ERROR, now, out)


def _is_proving(books: Books, instance: Instance) -> bool:
    """Return whether *instance* was to replace others that still serve."""
    change = books.change
    if isinstance(change, Roll):
        return change.replacement == instance.id
    return (
        isinstance(change, Switch)
        and change.phase is Phase.GATHERING
        and any(slot.instance == instance.id for slot in change.slots)
    )


def _count_end(
    books: Books, instance: Instance, life: Duration, now: Instant, *, clean: bool, reason: str
) -> list[Command]:
    """Empty the slot of an instance that ended unasked; return what is to be told of the consequences."""
    out: list[Command] = []
    slot = books.slot_of(instance)
    proving, late = _is_proving(books, instance), books.is_for_late_comer(instance)
    books.forget(instance)
    books.restarts += 1
    if slot is None or proving:
        return out
    pause = max(books.restart_pause, LATE_FLOOR if late else 0)
    slot.not_before = max(Instant(instance.started_at + pause), slot.not_before)
    if late:
        return out  # says nothing of the generation that visitors meet
    books.reason = f"{books.name}/{instance.id}: {reason}"
    slot.why = "replacement"
    _count_failure(books, life, now, out, clean=clean)
    if books.start_at(slot) > now:
        why = "backoff" if books.backoff.in_force else "restart-delay"
        out.append(books.message(Severity.DEBUG, Topic.START_DENIED, f"the next start waits: {why}", reason=why))
    return out


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


def _fail(books: Books, instance: Instance, why: str, out: list[Command]) -> None:
    books.forget(instance)
    books.restarts += 1
    if books.trouble is Trouble.FAILED:
        return
    books.trouble = Trouble.FAILED
    books.reason = why
    text = f"failed: {why}; it is not tried again until `fcgipmctl start {books.name}` or a changed definition"
    out.append(books.message(Severity.ERROR, Topic.APP_FAILED, text, reason="wrapper"))


def _what_next(books: Books, now: Instant, *, proving: bool) -> str:
    if proving:
        return "its generation is given up"
    if books.mode is not Mode.RUN:
        return "it is not replaced"
    due = min((books.start_at(slot) for _, slot in books.startable()), default=None)
    if due is None:
        return "it is not replaced"
    return f"next try in {wording.seconds(due - now)}" if due > now else "it is replaced at once"


def _exit_word(event: Exited) -> str:
    if event.signal is not None:
        return "signal"
    if event.code is None:
        return "unknown"
    return "exit" if event.code else "exit-0"
