"""One application's part in every event: what happened goes into its books, what people want changes them.

Nothing here spawns or removes; after each event `core.reconcile` does, always in the same way.
"""

from __future__ import annotations

from fcgipm.config.schema import SECOND, Application, Change, Duration
from fcgipm.core import ends, generations, scaling, wording
from fcgipm.core.books import Books
from fcgipm.core.commands import Command, Severity, Topic
from fcgipm.core.demand import PRESSED, on_grid
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
from fcgipm.core.lifecycle import Input, InstanceState
from fcgipm.core.note import Mode, Trouble
from fcgipm.core.reconcile import heal
from fcgipm.core.rollout import Errand, LateComer, Restart, Slot, Switch
from fcgipm.core.world import terms_of_application
from fcgipm.counting import counted

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
    ends.failed_start(books, instance, f"{event.step}: {event.error}", now, out)


def became_ready(books: Books, event: BecameReady, now: Instant, out: list[Command]) -> None:
    """It accepts connections."""
    instance = books.instances[event.instance]
    instance.take(Input.READIED)
    instance.overdue_at = None
    if books.is_for_late_comer(instance):
        del books.late[instance.generation]
        cut_at = Instant(now + books.definition.stop_timeout)
        instance.retire("it serves a late-comer on the old listener", first_try=now, cut_at=cut_at)
    books.last_ready_at = event.at
    books.demand.answered()
    books.demand.look_by(on_grid(Instant(now + PRESSED)))
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
        ends.failed_start(books, instance, instance.failure, now, out)
    elif was_retiring:
        scaling.taken(books, instance, now)
        books.forget(instance)
        text = f"(pid {instance.pid}) is gone: {instance.why_retiring}"
        out.append(books.message_of(instance, Severity.INFO, Topic.INSTANCE_REMOVED, text, reason="gone"))
    else:
        ends.died(books, instance, event, now, out)


def removed(books: Books, event: Removed, now: Instant, out: list[Command]) -> None:
    """A removal was carried out; the end of the process follows."""
    instance = books.instances[event.instance]
    if instance.state is not InstanceState.RETIRING:
        return
    instance.removed(event.how, now)
    how = event.how.value
    text = f"was {how}: {instance.why_retiring}"
    if not scaling.taken(books, instance, now):
        label = f"{books.name}/{instance.id}"
        books.chronicle.enter(now, "remove", "retired", f"{label} {text}", requests_cut=event.connections or None)
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
        ends.failed_start(books, instance, "its process was never seen", now, out)
        return
    if scaling.spared(books, instance, event.why, out):
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
    elif event.generation == 0 and books.definition.is_dynamic and books.mode is not Mode.LEAVE:
        forget(books, "its script is not there any more", out)


def publish_failed(books: Books, event: PublishFailed, now: Instant, out: list[Command]) -> None:
    """The old generation stays the public one."""
    if isinstance(books.change, Switch) and books.change.generation == event.generation:
        generations.failed(books, event.error, now, out)


def somebody_waits(books: Books, generation: int, now: Instant) -> None:
    """Somebody is at the public listener, or a late-comer in the queue of an old one.

    For a late-comer an instance is started, which goes when done.  On a listener that all generations share nobody is
    late, whichever generation the keeper knows of.
    """
    if generation == books.generation or not books.switches:
        books.demand.came(now)
        return
    served = any(instance.generation == generation for instance in books.instances.values())
    if books.mode is Mode.RUN and generation != books.generation and generation not in books.late and not served:
        slot = Slot(not_before=now, why="late-comer")
        books.late[generation] = LateComer(slot=slot, gone_at=Instant(now + OLD_LISTENER))


def asked(books: Books, now: Instant) -> None:
    """A connector wants an instance that is ready, and waits for it as long as a start may take."""
    if not books.ready:
        books.demand.asked(Instant(now + books.definition.start_timeout), now)


def program_changed(books: Books, out: list[Command]) -> None:
    """A new program file ends a back-off."""
    if books.generation and (books.backoff.in_force or books.trouble is Trouble.FAILED):
        books.trouble = Trouble.NONE
        heal(books, "its program file has changed", out)


# ── what people want ─────────────────────────────────────────────────────────────────────────────────────────────


def start(books: Books, now: Instant, out: list[Command]) -> None:
    """Let it run; ends a back-off."""
    books.chronicle.enter(now, "wish", "start", "started by an operator")
    books.trouble = Trouble.NONE
    if books.errand is not None and books.errand.topic is Topic.APP_STOPPED:
        books.errand = None
    heal(books, "started by an operator", out)
    if books.generation == 0 and books.change is None:
        restart(books, now, out)
    elif books.mode is Mode.STOP:
        books.mode = Mode.RUN
        books.reason = ""
        books.level = books.definition.least
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
        books.chronicle.enter(now, "wish", "stop", "stopped by an operator")
        generations.empty(books, books.newest + 1, "stopped", now, out)
        _wait_for(books, Topic.APP_STOPPED, now)
        books.reason = "by an operator"


def restart(books: Books, now: Instant, out: list[Command]) -> None:
    """Replace every instance, the replacement first."""
    books.chronicle.enter(now, "wish", "restart", "restarted by an operator")
    out.append(books.message(Severity.INFO, Topic.APP_RESTARTING, "restarting, by an operator"))
    _replace_all(books, Restart(why="restarted by an operator", new_listener=False), now, out)


def rescale(books: Books, processes: int | None, now: Instant, out: list[Command]) -> None:
    """Keep *processes* instances; None: as many as configured, or as the demand needs."""
    books.scale = processes
    books.level = max(books.definition.least, min(len(books.slots), books.definition.most))
    how = "as configured" if processes is None else "by an operator"
    text = f"scaled to {books.wanted} {how}"
    out.append(books.message(Severity.INFO, Topic.APP_SCALED, text))
    books.chronicle.enter(now, "wish", "scale", text)


def redefine(books: Books, definition: Application, change: Change, now: Instant, out: list[Command]) -> None:
    """A new definition holds; what an operator said about another one is forgotten."""
    before, books.definition = books.definition, definition
    if not definition.is_dynamic:
        books.world.terms = terms_of_application(definition)
    level = books.level if books.scale is None else len(books.slots)
    books.level = max(definition.least, min(level, definition.most))
    severity = (
        Severity.DEBUG if definition.is_dynamic else Severity.INFO
    )  # a change of [dynamic] is one for all scripts
    out.append(books.message(severity, Topic.APP_CHANGED, f"changed: {change.value}"))
    books.chronicle.enter(now, "wish", "apply", f"its definition has changed: {change.value}")
    is_another = change in (Change.GENERATION, Change.LISTENER)
    if is_another or _range(before) != _range(definition) or before.autostart != definition.autostart:
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


def forget(books: Books, why: str, out: list[Command]) -> None:
    """Let a dynamic application go; asked for again, it is opened again."""
    out.append(books.message(Severity.INFO, Topic.APP_FORGOTTEN, f"forgotten: {why}"))
    books.mode = Mode.LEAVE
    generations.switch(books, 0, [], "forgotten", out)


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
    return books.mode is Mode.LEAVE and not any(books.everybody()) and books.change is None


def has_failed(books: Books) -> bool:
    """Return whether it is in the kind of trouble that on-failure is about."""
    return books.mode is Mode.RUN and (books.trouble is Trouble.FAILED or books.backoff.in_force)


# ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _range(definition: Application) -> tuple[int, int]:
    return definition.least, definition.most


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
