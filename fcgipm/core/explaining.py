"""Why an application has as many instances as it has: for `fcgipmctl explain`."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from fcgipm.core import generations, recycling, scaling, wording
from fcgipm.core.books import Books
from fcgipm.core.events import Instant
from fcgipm.core.note import Mode, Trouble
from fcgipm.core.picture import picture
from fcgipm.core.policy import classic
from fcgipm.core.refusing import refused_until
from fcgipm.core.schedule import start_at, startable
from fcgipm.core.view import Explanation, Weighing
from fcgipm.counting import counted


def explanation(books: Books, now: Instant) -> Explanation:
    """Return the explanation for *books*."""
    return Explanation(
        view=picture(books, now),
        policy=_policy(books),
        summary="; ".join(_summary(books, now)),
        next_start=_next_start(books, now),
        next_removal=_next_removal(books, now),
        weighing=_weighing(books, now),
        decisions=tuple(books.chronicle),
        plans=tuple(sorted(_together(_plans(books, now)))),
    )


def _policy(books: Books) -> str:
    if books.scale is not None:
        return "scaled"
    return books.definition.policy if books.definition.is_flexible else "static"


# ── the state and why ────────────────────────────────────────────────────────────────────────────────────────────


def _summary(books: Books, now: Instant) -> Iterator[str]:
    again = f"`fcgipmctl start {books.name}`"
    if books.is_leaving:
        yield f"leaving ({books.reason or 'the daemon ends'}), {counted(len(books.instances), 'instance')} left"
        return
    if books.mode is Mode.STOP:
        by = "stopped by an operator" if books.reason else "not started yet (autostart = false)"
        yield f"{by}; {again} starts it"
    elif books.trouble is Trouble.FAILED and not books.is_serving:
        yield f"failed: {books.reason}; it is not tried again until {again} or a changed definition"
    elif books.backoff.in_force:
        yield from _in_backoff(books, now)
    elif not books.is_serving:
        yield from _not_serving(books)
    else:
        starting = f", {books.starting_now} starting" if books.starting_now else ""
        yield f"running, {books.ready} ready{starting}, {_how_many(books)}"
        if missing := sum(slot.instance is None for slot in books.slots):
            yield f"{missing} not started yet" + (f" after {books.reason}" if books.reason else "")
    yield from _other_generations(books)
    if any(books.refusers()):
        yield "visitors are answered 503 (overload-response)"


def _other_generations(books: Books) -> Iterator[str]:
    if books.change is not None and books.mode is Mode.RUN:
        yield f"generation {books.change.generation} is on its way ({books.change.phase.value}): {books.change.why}"
    elif books.given_up is not None:
        yield f"generation {books.given_up.generation} was given up: {books.given_up.why}"
        if rest := wording.left_over([one.generation for one in generations.left_over(books)], books.wanted):
            yield rest


def _in_backoff(books: Books, now: Instant) -> Iterator[str]:
    serving = f"running, {books.ready} ready, but in back-off" if books.is_serving else "in back-off"
    shorter = wording.seconds(books.definition.min_server_life)
    yield f"{serving}: {books.backoff.failures} instances in a row lived shorter than {shorter} (min-server-life)"
    yield f"the last one was {books.reason}"
    until = refused_until(books)
    if until is not None:
        when = f"in {wording.seconds(until - now)}" if until > now else "when somebody comes"
        yield f"one start is tried {when}, or at `fcgipmctl start {books.name}`"


def _not_serving(books: Books) -> Iterator[str]:
    if not books.wanted and not books.starting:
        yield f"idle: nobody wants an instance; the first who comes gets one, {_how_many(books)}"
    elif books.starting_now:
        yield f"starting: {counted(books.starting_now, 'instance')} not ready yet, {_how_many(books)}"
    else:
        yield f"starting: none is there yet, {_how_many(books)}"
    if books.reason:
        yield f"the last one was {books.reason}"


def _how_many(books: Books) -> str:
    """Return where the number of instances comes from."""
    definition = books.definition
    if books.scale is not None:
        return f"scaled to {books.scale} by an operator until `fcgipmctl scale {books.name} auto`"
    if not definition.is_flexible:
        return f"{books.wanted} as configured"
    return f"{definition.least} to {definition.most} as the demand needs ({definition.policy} policy)"


# ── the next start and the next removal ──────────────────────────────────────────────────────────────────────────


def _next_start(books: Books, now: Instant) -> str:
    if not books.follows_demand or books.trouble is Trouble.FAILED or not books.generation:
        return ""
    if books.starting:
        return f"{counted(books.starting, 'instance')} on the way, and no other before that is ready"
    obstacle, again_at = scaling.obstacle_to_start(books, now)
    if obstacle is not None:
        wanted = "one more is wanted, but none is started" if books.denied else "none is started"
        later = "" if again_at is None else f", until in {wording.seconds(again_at - now)}"
        return f"{wanted}: {obstacle.text}{later}"
    if not books.ready:
        return "whoever comes next gets one at once"
    settings, crowd = books.world.terms.settings, books.demand.crowd
    delay = f"{wording.seconds(settings.start_delay)} (start-delay)"
    due = classic.start_due(
        crowd, settings, ready=books.ready, starting=0, last_ready_at=books.last_ready_at, now=now
    )  # fmt: skip
    if due is None:
        return f"nobody waits; one more when somebody has waited {delay}, or the queue is full"
    if crowd.full:
        return "the queue is full: one more now"
    return f"somebody waits; one more in {wording.seconds(max(due - now, 0))}, when the oldest has waited {delay}"


def _next_removal(books: Books, now: Instant) -> str:
    if not books.follows_demand or not books.ready:
        return ""
    if books.attempt is not None:
        return f"an idle one is being looked for ({books.attempt.rule})"
    left, threshold = books.world.load_left(books, now) or Fraction(0), _threshold(books)
    figures = f" ({wording.percent(left)} with one less, multi-threshold {threshold} %)"
    if books.ready == 1:
        figures = f" ({wording.percent(left)}, single-threshold {threshold} %)"
    if why := books.world.why_kept(books, now):
        return f"none goes: {why}" + (figures if threshold and books.load_at(now).updates else "")
    due = books.world.due
    when = "" if due is None else f", in {wording.seconds(max(due - now, 0))},"
    return f"one goes at the next run{when} if it is idle{figures}"


def _threshold(books: Books) -> int:
    settings = books.world.terms.settings
    return settings.single_threshold if books.ready == 1 else settings.multi_threshold


def _weighing(books: Books, now: Instant) -> Weighing:
    sample, follows, is_dynamic = books.demand.sample, books.follows_demand, books.definition.is_dynamic
    judged = follows and books.ready > 0
    return Weighing(
        starting=books.starting_now,
        seen_at=books.demand.seen_at,
        waiting=None if sample is None else sample.waiting,
        abandoned=None if sample is None else sample.abandoned,
        oldest_since=None if sample is None else sample.oldest_since,
        busy=None if sample is None else sample.busy,
        start_delay=books.world.terms.settings.start_delay if follows else None,
        load_left=books.world.load_left(books, now) if judged else None,
        threshold=Fraction(_threshold(books), 100) if judged else None,
        in_all=books.world.total if is_dynamic else None,
        in_all_at_most=books.world.terms.limit if is_dynamic else None,
    )


# ── what happens next ────────────────────────────────────────────────────────────────────────────────────────────


def _together(plans: Iterator[tuple[Instant, str]]) -> Iterator[tuple[Instant, str]]:
    """Yield each plan once, at its first time, with how many more there are."""
    times: dict[str, list[Instant]] = {}
    for at, text in plans:
        times.setdefault(text, []).append(at)
    for text, all_of_them in times.items():
        more = len(all_of_them) - 1
        yield min(all_of_them), f"{text}, and {more} more later" if more else text


def _plans(books: Books, now: Instant) -> Iterator[tuple[Instant, str]]:
    for _, slot in startable(books):
        held_back = ": one try in back-off" if books.backoff.in_force else ""
        yield max(now, start_at(books, slot)), f"an instance is started ({slot.why}{held_back})"
    for due in recycling.ages(books):
        yield max(now, due), "an instance reaches max-lifetime and is replaced"
    if books.is_observed and books.demand.due is not None:
        yield max(now, books.demand.due), "looked at: who waits, and what is served"
    if books.follows_demand:
        yield from _plans_by_demand(books, now)


def _plans_by_demand(books: Books, now: Instant) -> Iterator[tuple[Instant, str]]:
    settings = books.world.terms.settings
    idle_at = scaling.idle_stop_due(books, now)
    if idle_at is not None:
        yield max(now, idle_at), "every instance goes if nobody comes until then (idle-stop)"
    if books.demand.load is not None and books.instances:
        yield books.load_at(now).next_update(settings), "the load is smoothed (update-interval)"
    if books.world.due is not None and books.instances:
        yield max(now, books.world.due), "a run: idle instances of those with little load may go"
