"""What has happened to one application goes into its books; what people want of it is in `core.wishes`.

Nothing here spawns or removes; after each event `core.reconcile` does, always in the same way.
"""

from __future__ import annotations

from fcgipm.core import ends, generations, late_comers, scaling, shortage, wishes, wording
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
from fcgipm.core.instance import Audience
from fcgipm.core.lifecycle import Input, InstanceState
from fcgipm.core.note import Mode, Trouble
from fcgipm.core.phases import Phase
from fcgipm.core.reconcile import heal
from fcgipm.core.rollout import Switch
from fcgipm.counting import counted


def spawned(books: Books, event: Spawned, now: Instant, out: list[Command]) -> None:
    """Its process exists."""
    instance = books.instances[event.instance]
    instance.take(Input.SPAWNED)
    shortage.over(books, instance.started_at, out)
    instance.pid, instance.started_at = event.pid, event.at
    if instance.state is InstanceState.RETIRING:
        instance.next_try = now
    text = f"started, pid {event.pid}"
    out.append(books.message_of(instance, Severity.INFO, Topic.INSTANCE_STARTED, text, reason=instance.why_started))


def spawn_failed(books: Books, event: SpawnFailed, now: Instant, out: list[Command]) -> None:
    """It could not be exec'd: a life of 0, unless the system is short of what every start needs."""
    instance = books.instances[event.instance]
    instance.take(Input.FAILED)
    if event.shortage:
        shortage.met(books, instance, f"{event.step}: {event.error}", now, out)
        return
    ends.failed_start(books, instance, f"{event.step}: {event.error}", now, out)


def became_ready(books: Books, event: BecameReady, now: Instant, out: list[Command]) -> None:
    """It accepts connections."""
    instance = books.instances[event.instance]
    instance.take(Input.READIED)
    instance.overdue_at = None
    if books.is_for_late_comer(instance):
        del books.late[instance.generation]
        cut_at = late_comers.cut_from(books, now)
        instance.retire("it serves a late-comer on the old listener", first_try=now, cut_at=cut_at)
    if instance.audience is Audience.VISITORS:
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
        late_comers.left_by(books, instance, now)
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
    instance.waiting = event.waiting
    how = event.how.value
    text = f"was {how}: {instance.why_retiring}"
    if not scaling.taken(books, instance, now):
        label = f"{books.name}/{instance.id}"
        books.chronicle.enter(now, "remove", "retired", f"{label} {text}", connections_cut=event.connections or None)
    out.append(books.message_of(instance, Severity.DEBUG, Topic.INSTANCE_REMOVED, text, reason=how))
    if event.how is Removal.CUT and event.connections and instance.audience is not Audience.NOBODY:
        books.cut += event.connections
        waited = wording.seconds(books.definition.stop_timeout)
        text = f"was killed with {counted(event.connections, 'open connection')}, after stop-timeout ({waited})"
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
    if isinstance(change, Switch) and change.phase is Phase.PUBLISHING and change.generation == event.generation:
        books.reason = "by an operator" if books.mode is Mode.STOP else ""
        generations.completed(books, now, out)
    elif event.generation == 0 and books.definition.is_dynamic and not books.is_leaving:
        wishes.forget(books, "its script is not there any more", out)


def publish_failed(books: Books, event: PublishFailed, now: Instant, out: list[Command]) -> None:
    """The old generation stays the public one."""
    change = books.change
    if isinstance(change, Switch) and change.phase is not Phase.CLEARING and change.generation == event.generation:
        generations.failed(books, event.error, now, out)


def somebody_waits(books: Books, generation: int, now: Instant) -> None:
    """Somebody is at the public listener, or a late-comer in the queue of an old one.

    On a listener that all generations share nobody is late, whichever generation the keeper knows of.
    """
    if generation == books.generation or not books.switches:
        books.demand.came(now)
    else:
        late_comers.came(books, generation, now)


def asked(books: Books, now: Instant) -> None:
    """A connector wants an instance that is ready, and waits for it as long as a start may take."""
    if not books.ready:
        books.demand.asked(Instant(now + books.definition.start_timeout), now)


def program_changed(books: Books, now: Instant, out: list[Command]) -> None:
    """A new program file ends a back-off; with auto-update it is served by a new generation."""
    if books.definition.auto_update:
        if books.mode is Mode.RUN:
            wishes.reload(books, "its files have changed", now, out)
    elif books.generation and books.in_trouble:
        books.trouble = Trouble.NONE
        heal(books, "its program file has changed", out)
