"""Following demand: when an application gets one more instance, why it does not, and how one is taken from it.

One more is started because somebody comes, or has waited for long.  One is taken only while it is idle, which the
keeper finds out by trying: the youngest first, and who is busy is spared.
"""

from __future__ import annotations

from typing import Final

from fcgipm.core import recycling, wording
from fcgipm.core.books import Books
from fcgipm.core.commands import Command, Severity, Topic, Watch
from fcgipm.core.demand import BUSY, PRESSED, REST_AFTER, Denial, Obstacle
from fcgipm.core.events import Instant, Refusal, Sample
from fcgipm.core.instance import Instance
from fcgipm.core.note import Trouble
from fcgipm.core.phases import Phase
from fcgipm.core.policy import classic
from fcgipm.core.rollout import Switch
from fcgipm.core.slots import Slot
from fcgipm.core.under_way import Attempt
from fcgipm.counting import counted

REMOVALS: Final = {
    "kill-run": "the load needs fewer instances",
    "slack-run": "room is made for others, and its load needs fewer instances",
    "idle-stop": "nobody came for idle-stop",
}
"""What is told of an instance that is taken, by the rule."""


# ── one more ─────────────────────────────────────────────────────────────────────────────────────────────────────


def start_what_is_wanted(books: Books, now: Instant, out: list[Command]) -> None:
    """Start one more instance where the demand says so and nothing forbids it."""
    if not books.follows_demand or books.trouble is Trouble.FAILED or books.generation == 0:
        books.denial = Denial(None, now)
        return
    rule = _rule(books, now)
    if rule is None:
        if books.demand.seen_at == now and now - books.denial.at >= REST_AFTER:
            books.denial = Denial(None, now)
        return
    obstacle, again_at = obstacle_to_start(books, now)
    if obstacle is not None:
        books.demand.judge_by(Instant(now + BUSY) if again_at is None else again_at)
        text = f"{rule}: no, {obstacle.text}"
        books.chronicle.enter(now, "deny", rule, text, limited_by=obstacle.value, **_seen(books, now))
        _deny(books, obstacle, again_at, now, out)
        return
    books.denial = Denial(None, now)
    books.level += 1
    books.chronicle.enter(now, "start", rule, f"{rule}: one more, {books.level} in all", **_seen(books, now))
    books.slots.append(Slot(not_before=now, why=rule))


def _rule(books: Books, now: Instant) -> str | None:
    """Return the rule by which one more instance is due now; None: none is."""
    demand, crowd = books.demand, books.demand.crowd
    if not books.ready and not books.starting:
        if books.attempt is not None and books.attempt.victim is not None:
            return None  # whether it stays will be known in a moment
        if demand.has_come(now) or demand.is_asked(now):
            return "somebody-came"
        if demand.seen_at == now and (crowd.waiting or crowd.full or _are_turned_away(books)):
            return "somebody-came"  # full of those who have given up, nobody else can come in
        if crowd.waiting and demand.seen_at != now:
            demand.judge_by(now)
        return None
    if demand.seen_at != now:
        return None
    if books.last_ready_at is not None and now < books.last_ready_at + PRESSED:
        demand.judge_by(Instant(books.last_ready_at + PRESSED))  # it has hardly had the time to take one from the queue
        return None
    settings = books.world.terms.settings
    due = classic.start_due(
        crowd, settings, ready=books.ready, starting=books.starting, last_ready_at=books.last_ready_at, now=now
    )
    if due is None:
        return None
    if due > now:
        demand.judge_by(due)
        return None
    return classic.why_start(crowd, ready=books.ready)


def _are_turned_away(books: Books) -> bool:
    """Return whether somebody is answered 503 just now: he does not wait, and wants to be served as well."""
    sample, refuser = books.demand.sample, books.turning.refuser
    if refuser is None or refuser.ready_at is None or sample is None:
        return False
    return sample.busy > 0 and (refuser.generation == books.generation or not books.switches)


def obstacle_to_start(books: Books, now: Instant) -> tuple[Obstacle | None, Instant | None]:
    """Return what keeps an instance from being started now, and when that is known to change."""
    terms, definition = books.world.terms, books.definition
    if isinstance(books.change, Switch) and books.change.phase is Phase.PUBLISHING:
        return Obstacle.GENERATION, None
    if books.backoff.in_force and books.last_start is not None:
        next_start = books.backoff.next_start(books.last_start)
        if now < next_start:
            return Obstacle.BACKOFF, next_start
    if books.held >= min(terms.class_limit, definition.most):
        return (Obstacle.MAX_CLASS_PROCESSES if definition.is_dynamic else Obstacle.MAX_PROCESSES), None
    if not books.world.has_room:
        return Obstacle.MAX_PROCESSES_OF_ALL, None
    if now < books.short.until:
        return Obstacle.SHORTAGE, books.short.until
    if now < books.hold_until:
        return Obstacle.RESTART_DELAY, books.hold_until
    if books.ready and books.last_start is not None and now < books.last_start + definition.init_start_delay:
        return Obstacle.INIT_START_DELAY, Instant(books.last_start + definition.init_start_delay)
    return None, None


def _deny(books: Books, obstacle: Obstacle, again_at: Instant | None, now: Instant, out: list[Command]) -> None:
    """Note, and say once, that no instance is started; who asked is told by the application's prospect."""
    if not obstacle.passes:
        books.demand.answered()
    before, books.denial = books.denied, Denial(obstacle, now)
    if before is obstacle:
        return
    severity = Severity.DEBUG if obstacle.passes else Severity.WARNING
    waiting = max(books.demand.crowd.waiting, 1)
    later = "" if again_at is None else f"; next try in {wording.seconds(again_at - now)}"
    text = f"no instance is started, {counted(waiting, 'visitor')} waiting: {obstacle.text}{later}"
    out.append(books.message(severity, Topic.START_DENIED, text, reason=obstacle.value))


def _seen(books: Books, now: Instant) -> dict[str, object]:
    demand, sample = books.demand, books.demand.sample
    fresh = sample is not None and demand.seen_at == now
    since = sample.oldest_since if sample is not None and fresh else None
    return {
        "ready": books.ready,
        "starting": books.starting,
        "waiting": demand.crowd.waiting if fresh else None,
        "oldest": None if since is None else wording.seconds(now - since),
        "queue": f"{sample.queued} of {sample.limit}" if sample is not None and fresh else None,
        "asked": "by a connector" if demand.is_asked(now) else None,
    }


# ── one less ─────────────────────────────────────────────────────────────────────────────────────────────────────


def idle_stop_due(books: Books, now: Instant) -> Instant | None:
    """Return when all instances go if nobody comes until then; None: they do not."""
    idle_stop = books.definition.idle_stop
    if idle_stop is None or not books.follows_demand or not books.ready or books.in_motion:
        return None
    times = (books.demand.stirred_at, books.last_ready_at, books.last_start)
    return Instant(max((at for at in times if at is not None), default=now) + idle_stop)


def stop_if_idle(books: Books, now: Instant) -> None:
    """After idle-stop without a connection, have all instances taken: the next one who comes gets one."""
    due = idle_stop_due(books, now)
    if due is None:
        return
    if due > now:
        books.demand.judge_by(due)
    elif books.demand.seen_at == now and not books.demand.wants(now):
        books.attempt = Attempt(rule="idle-stop", left=books.ready)
        idle = wording.seconds(books.definition.idle_stop or 0)
        books.chronicle.enter(now, "remove", "idle-stop", f"idle-stop: no connection for {idle}", ready=books.ready)
    else:
        books.demand.judge_by(now)


def try_removal(books: Books, now: Instant) -> None:
    """Choose who is tried next of those that may go; nobody is left to be tried: none until the next run."""
    attempt = books.attempt
    if attempt is None or attempt.victim is not None:
        return
    if not books.follows_demand or books.change is not None or not _may_still_go(books, attempt):
        books.attempt = None
        return
    candidates = [one for one in books.instances.values() if one.serves and one.id not in attempt.spared]
    if not attempt.left or not candidates:
        if attempt.left:
            when = "idle-stop has passed again" if attempt.rule == "idle-stop" else "the next run"
            text = f"{attempt.rule}: every instance is busy, none goes until {when}"
            books.chronicle.enter(now, "spare", attempt.rule, text, spared=len(attempt.spared))
        books.attempt = None
        if attempt.left and attempt.rule == "idle-stop":
            books.demand.stirred_at = now  # somebody is there, although not to be seen
            stop_if_idle(books, now)
        return
    victim = max(candidates, key=lambda one: one.id)
    attempt.victim = victim.id
    victim.retire(REMOVALS[attempt.rule], first_try=now, cut_at=None)


def _may_still_go(books: Books, attempt: Attempt) -> bool:
    """Return whether one may go although others may have ended since that was decided."""
    terms = books.world.terms
    if books.living <= books.definition.least or books.world.lasting + attempt.left <= terms.least:
        return False
    return attempt.rule == "idle-stop" or books.ready > 1 or terms.settings.single_threshold > 0


def spared(books: Books, instance: Instance, why: Refusal, out: list[Command]) -> bool:
    """Let the victim of an attempt go on, which is busy; return whether *instance* was one."""
    attempt = books.attempt
    if attempt is None or attempt.victim != instance.id or why is Refusal.GONE:
        return False
    attempt.victim = None
    if instance.cut_at is not None or books.slot_of(instance) not in books.slots:
        return False  # meanwhile it was decided that it goes in any case
    attempt.spared.add(instance.id)
    text = f"stays ({why.value}): it was to go because {instance.why_retiring}"
    instance.spare()
    out.append(books.message_of(instance, Severity.DEBUG, Topic.INSTANCE_SPARED, text, reason="spared"))
    return True


def taken(books: Books, instance: Instance, now: Instant) -> bool:
    """Give up the place of an attempt's victim, which is gone; return whether *instance* was one."""
    attempt = books.attempt
    if attempt is None or attempt.victim != instance.id:
        return False
    attempt.victim = None
    attempt.left -= 1
    give_up_slot(books, instance)
    text = f"{attempt.rule}: {books.name}/{instance.id} was idle and went, {books.level} left"
    books.chronicle.enter(now, "remove", attempt.rule, text)
    return True


def give_up_slot(books: Books, instance: Instance) -> None:
    """Have one instance less: the place of *instance* is not filled again."""
    slot = books.slot_of(instance)
    if slot is not None and slot in books.slots:
        books.slots.remove(slot)
        books.level = max(books.level - 1, 0)


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────


def observed(books: Books, sample: Sample, now: Instant) -> bool:
    """Take in a look at the application; return whether anything can follow from it.

    Under pressure most looks find what the one before has found: they cost next to nothing.
    """
    demand = books.demand
    before, updates = demand.sample, demand.load.updates if demand.load is not None else 0
    has_come = demand.came_at is not None
    demand.saw(sample, books.world.terms.settings, now)
    if sample.requests or sample.memory:
        recycling.weigh(books, sample)
    if (
        before is None
        or has_come
        or (sample.queued, sample.abandoned, sample.limit, sample.busy, sample.oldest_since)
        != (before.queued, before.abandoned, before.limit, before.busy, before.oldest_since)
        or (demand.judge_at is not None and demand.judge_at <= now)
        or (demand.load is not None and demand.load.updates != updates)
        or books.definition.max_requests is not None
        or sample.memory
    ):
        demand.judge_at = None
        return True
    demand.plan(now, pressed=_is_pressed(books, now))
    return demand.look_at is None


def attend(books: Books, now: Instant, out: list[Command]) -> None:
    """Say when the next look is due after one now; the keeper says who comes before it where that matters."""
    demand = books.demand
    if not books.is_observed:
        demand.look_at = demand.judge_at = demand.seen_at = None
    elif demand.seen_at is None and demand.due is None:
        demand.look_by(now)  # from now on it matters who is there, and nobody was watched for
    elif demand.seen_at == now:
        pressed = _is_pressed(books, now)
        demand.plan(now, pressed=pressed)
        if demand.look_at is None and (books.instances or books.turning.refuser is not None):
            out.append(Watch(app=books.name, why="it is at rest"))
        elif not pressed and _all_are_busy(books):
            out.append(Watch(app=books.name, why="all are busy: who comes now has to wait"))


def _all_are_busy(books: Books) -> bool:
    """Return whether the next one who comes will wait, and may get an instance by that.

    Who has given up and is still in the queue would be told of again at once: then only looking helps.
    """
    sample = books.demand.sample
    return (
        books.follows_demand and not books.denied and sample is not None and not sample.queued
        and sample.busy >= books.ready * books.concurrency > 0
    )  # fmt: skip


def _is_pressed(books: Books, now: Instant) -> bool:
    """Return whether somebody waits whom a decision can help."""
    return not books.denied and books.demand.wants(now)
