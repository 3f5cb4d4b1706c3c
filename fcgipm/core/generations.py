"""Changing what visitors meet: a new generation in, the old one out, or everything out."""

from __future__ import annotations

from typing import Final

from fcgipm.config.schema import SECOND, Duration
from fcgipm.core import wording
from fcgipm.core.books import Books
from fcgipm.core.commands import Command, Publish, Severity, Topic
from fcgipm.core.events import Instant
from fcgipm.core.instance import Audience, Instance
from fcgipm.core.note import Mode, Trouble
from fcgipm.core.phases import Phase, Step
from fcgipm.core.rollout import Roll, Switch, place_of
from fcgipm.core.slots import Slot
from fcgipm.core.view import GivenUp

RELIEF: Final = "a surplus instance was never idle on the old listener"
"""Why a generation is begun that nobody has asked for."""
_TRIED_AGAIN: Final[Duration] = 10 * SECOND
"""After one whose socket could not be published: room, or rights, may be there again."""
LAST_STAYS: Final[Duration] = 1 * SECOND
"""How long one instance of an unpublished generation stays: a connect may be on its way to the old listener."""


# ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def begin(books: Books, why: str, now: Instant, out: list[Command]) -> None:
    """Replace every instance by one of a new generation.

    It is proved first where anybody is served, or where a probe tells whether it can serve anybody.
    """
    change = books.change
    if isinstance(change, Switch) and change.is_settled:
        if change.phase is Phase.PUBLISHING:  # else it has not begun with anything yet
            change.then = why
        return
    if change is not None:
        supersede(books, why, now, out)
    books.newest += 1
    is_proved = books.is_serving or (books.definition.probe is not None and books.generation > 0 < books.attainable)
    if books.switches or not books.is_in_place:
        if is_proved:
            gather(books, why, now)
        else:
            switch(books, books.newest, slots_now(books, now), why, out)
    elif is_proved:
        books.change = Roll(generation=books.newest, why=why)
    else:
        books.generation = books.newest
        retire_all(books, why, now)
        books.slots = slots_now(books, now)
        succeeded(books)


def gather(books: Books, why: str, now: Instant) -> None:
    """Start the newest generation beside the published one."""
    books.change = Switch(
        generation=books.newest,
        why=why,
        phase=Phase.GATHERING,
        place=place_of(books.definition),
        slots=slots_now(books, now),
    )


def switch(books: Books, generation: int, slots: list[Slot], why: str, out: list[Command]) -> None:
    """Publish *generation* as soon as that can be; *slots* are filled when it is.

    0: let nobody reach the application any more.
    """
    books.newest = max(books.newest, generation)
    is_held = generation > 0 and not books.switches and any(one.estranged for one in books.everybody())
    books.change = Switch(
        generation=generation,
        why=why,
        phase=Phase.CLEARING if is_held else Phase.PUBLISHING,
        place=place_of(books.definition),
        slots=slots,
    )
    if not is_held:
        out.append(Publish(app=books.name, generation=generation, why=why))


def cleared(books: Books, out: list[Command]) -> None:
    """Publish what had to wait until those were gone who alone had the old listener."""
    change = books.change
    if not isinstance(change, Switch) or change.phase is not Phase.CLEARING:
        return
    if not any(one.estranged for one in books.everybody()):
        change.take(Step.CLEARED)
        out.append(Publish(app=books.name, generation=change.generation, why=change.why))


def completed(books: Books, now: Instant, out: list[Command]) -> None:
    """Take the change that is being published as done: the old generation drains from here on."""
    change = books.change
    assert isinstance(change, Switch)
    change.take(Step.PUBLISHED)
    books.change = None
    books.generation, books.stands_at = change.generation, change.place
    books.slots = change.slots if books.mode is Mode.RUN else [one for one in change.slots if one.instance is not None]
    books.demand.moved()
    for instance in books.instances.values():
        if instance.generation == change.generation:
            instance.audience = Audience.VISITORS
    if books.ready:
        books.last_ready_at = now
        books.demand.answered()
    if change.generation:
        text = f"generation {change.generation} is published: {change.why}"
        out.append(books.message(Severity.INFO, Topic.GENERATION_PUBLISHED, text))
        succeeded(books)
    drain(books, change.why, now)
    _go_on(books, change, now, out)


def rolled(books: Books, out: list[Command]) -> None:
    """Take the change on the shared listener as done."""
    change = books.change
    assert isinstance(change, Roll)
    change.take(Step.REPLACED)
    books.change = None
    books.generation = change.generation
    books.reason = ""
    succeeded(books)
    text = f"generation {change.generation} is complete: {change.why}"
    out.append(books.message(Severity.INFO, Topic.GENERATION_PUBLISHED, text))


def succeeded(books: Books) -> None:
    """Forget which generation was given up: a newer one serves, or will when somebody comes."""
    is_older = books.given_up is not None and books.given_up.generation <= books.generation
    if books.mode is Mode.RUN and is_older:
        books.given_up = None


def slots_now(books: Books, now: Instant) -> list[Slot]:
    """Return slots that are all filled at once: init-start-delay is not for a new generation."""
    return [Slot(not_before=now, why="generation") for _ in range(books.attainable)]


def _go_on(books: Books, done: Switch, now: Instant, out: list[Command]) -> None:
    """Do what was asked for while *done* was being published."""
    if books.mode is Mode.RUN:
        if done.then:
            begin(books, done.then, now, out)
    elif any(instance.is_staying for instance in books.instances.values()):
        empty(books, 0 if books.mode is Mode.LEAVE else books.newest + 1, "stopped", now, out)


# ── given up ─────────────────────────────────────────────────────────────────────────────────────────────────────


def failed(books: Books, why: str, now: Instant, out: list[Command]) -> None:
    """Take the change whose listener could not be made or published as impossible: the old one stays the public one."""
    change = books.change
    assert isinstance(change, Switch)
    _abandon(books, Step.REFUSED, now)
    books.short.again_at = Instant(now + _TRIED_AGAIN)
    _say_given_up(books, change, why, "publish", out)
    if books.mode is not Mode.RUN:
        retire_all(books, change.why, now)
    elif books.generation == 0:
        books.trouble = Trouble.FAILED
        text = f"failed: {books.reason}; it is not tried again until `fcgipmctl start {books.name}`"
        out.append(books.message(Severity.ERROR, Topic.APP_FAILED, text, reason="publish"))
    else:
        _readmit(books, now)
        _go_on(books, change, now, out)


def lost(books: Books, why: str, word: str, now: Instant, out: list[Command]) -> None:
    """Give up the change in progress because of what has become of its instances, or of its probe."""
    change = books.change
    assert change is not None
    _abandon(books, Step.LOST, now)
    _say_given_up(books, change, why, word, out)


def supersede(books: Books, why: str, now: Instant, out: list[Command]) -> None:
    """Give up the change in progress because somebody wants something newer, which is no failure."""
    change = books.change
    assert change is not None
    _give_up(books, Step.SUPERSEDED, now)
    text = f"{_given_up(change.generation)}: superseded: {why}; {_who_goes_on(books)}"
    out.append(books.message(Severity.INFO, Topic.GENERATION_ABANDONED, text, reason="superseded"))


def interrupted(books: Books, generation: int, out: list[Command]) -> None:
    """Say that *generation* is given up that a manager had begun, which has died before it was proved."""
    given_up = GivenUp(generation=generation, why="the manager that had begun it has died", word="interrupted")
    _say(books, given_up, Severity.ERROR, out)


def drop(books: Books, now: Instant) -> None:
    """Give up the change in progress because nobody is to reach the application any more."""
    if books.change is not None:
        _give_up(books, Step.DROPPED, now)


def _abandon(books: Books, step: Step, now: Instant) -> None:
    assert books.change is not None
    books.abandoned = max(books.abandoned, books.change.generation)
    books.short.again_at = None
    _give_up(books, step, now)


def _say_given_up(books: Books, change: Switch | Roll, why: str, word: str, out: list[Command]) -> None:
    # What nobody has asked for is tried again and again, and fails for the same reason until that has passed.
    is_known = change.why == RELIEF and books.given_up is not None and books.given_up.why == why
    given_up = GivenUp(generation=change.generation, why=why, word=word)
    is_told = books.mode is Mode.RUN and books.generation == 0  # as a failure of the application
    _say(books, given_up, Severity.DEBUG if is_known or is_told else Severity.ERROR, out)


def _say(books: Books, given_up: GivenUp, severity: Severity, out: list[Command]) -> None:
    books.given_up = given_up
    books.reason = f"{_given_up(given_up.generation)}: {given_up.why}"
    text = f"{books.reason}; {_who_goes_on(books)}"
    out.append(books.message(severity, Topic.GENERATION_ABANDONED, text, reason=given_up.word))


def _given_up(generation: int) -> str:
    return f"generation {generation} was given up"


def _who_goes_on(books: Books) -> str:
    if books.mode is not Mode.RUN:
        return "the instances are removed where visitors still come"
    if not books.generation:
        return "there is no other one"
    rest = wording.left_over([one.generation for one in left_over(books)], books.wanted)
    return f"generation {books.generation} goes on{rest and '; '}{rest}"


def left_over(books: Books) -> list[Instance]:
    """Return who is of a newer generation than the one that holds, and on the listener of all.

    Where none is on its way it was given up after they had come there, and they are replaced like the worn ones.
    """
    if books.switches or not books.generation:
        return []
    return [
        one
        for one in books.instances.values()
        if one.audience is Audience.VISITORS and one.is_staying and one.generation > books.generation
    ]


def _give_up(books: Books, step: Step, now: Instant) -> None:
    """Drop the change in progress; the published generation goes on.

    Nobody has met a generation that is not published, nor a canary, so they are removed at once.
    """
    change, books.change = books.change, None
    assert change is not None
    change.take(step)
    if books.errand is not None and books.errand.topic in (Topic.APP_RESTARTED, Topic.APP_RELOADED):
        books.errand = None
    replacement = change.replacement if isinstance(change, Roll) else None
    for instance in books.instances.values():
        is_hidden = instance.generation == change.generation and instance.audience is Audience.NOBODY
        if is_hidden or instance.id == replacement:
            _let_go(instance, "its generation was given up", now, cut_at=None)


def _readmit(books: Books, now: Instant) -> None:
    """Give the published generation its slots back: it was to go, and stays after all."""
    held = {slot.instance for slot in books.slots}
    for instance in books.instances.values():
        if instance.is_staying and instance.generation == books.generation and instance.id not in held:
            books.slots.append(Slot(not_before=now, instance=instance.id))


# ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def empty(books: Books, generation: int, why: str, now: Instant, out: list[Command]) -> None:
    """Remove every instance, visitors being kept by the listener of *generation*, or by none (0)."""
    if isinstance(books.change, Switch) and books.change.is_settled:
        return  # done when that is published
    if books.change is not None:
        supersede(books, why, now, out)
    books.slots = []
    if not books.instances:
        return
    if books.switches and books.generation:
        switch(books, generation, [], why, out)
    else:
        retire_all(books, why, now)


def drain(books: Books, why: str, now: Instant) -> None:
    """Retire every instance that is not of the published generation; one of each generation stays a little."""
    cut_at = books.cut_from(now)
    last: dict[int, Instance] = {}
    for instance in books.instances.values():
        if instance.generation == books.generation:
            continue
        if instance.is_staying and instance.audience is not Audience.NOBODY:
            last.setdefault(instance.generation, instance)
            stays = last[instance.generation] is instance
            first_try = Instant(now + LAST_STAYS) if stays else now
            instance.retire(why, first_try=first_try, cut_at=max(cut_at, first_try))
        else:
            _let_go(instance, why, now, cut_at=cut_at)


def retire_all(books: Books, why: str, now: Instant) -> None:
    """Retire every instance from a listener that stays public; after stop-timeout they are cut."""
    cut_at = books.cut_from(now)
    for instance in books.instances.values():
        _let_go(instance, why, now, cut_at=cut_at)


def _let_go(instance: Instance, why: str, now: Instant, *, cut_at: Instant | None) -> None:
    """Let *instance* go where nobody loses by it, and at *cut_at* in any case: at once where nobody has met it."""
    if instance.audience is Audience.NOBODY:
        cut_at = now
    if instance.is_staying:
        instance.retire(why, first_try=now, cut_at=cut_at)
    else:
        instance.hurry(cut_at)
