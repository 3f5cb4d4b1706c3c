"""Proving a new generation before visitors meet it: it lives for a moment, and answers its probe.

Instances on a listener of their own are proved there, all of them.  Where all generations share one listener, one
instance, the canary, is proved on a private one; then the others come to the listener of all.
"""

from __future__ import annotations

from typing import Final

from fcgipm.config.schema import MILLISECOND, SECOND, Duration
from fcgipm.core import generations, wording
from fcgipm.core.books import Books
from fcgipm.core.commands import Command, Probe, Publish
from fcgipm.core.events import Instant, Probed
from fcgipm.core.instance import Audience, Instance
from fcgipm.core.phases import Answer, Asking, Phase, Step, ask
from fcgipm.core.rollout import NewGeneration, Roll, Switch
from fcgipm.core.starting import spawn

MOMENT: Final[Duration] = 10 * MILLISECOND
"""How long the instances of a new generation live, after the last one was ready, before visitors meet it."""
ANSWER_GRACE: Final[Duration] = 1 * SECOND
"""The manager says itself when a probe has taken too long; so much later that counts as said."""


def prove(books: Books, now: Instant, out: list[Command]) -> None:
    """Bring the proof of a new generation forward, and have visitors meet it when it is proved."""
    change = books.change
    if change is None or not change.is_hidden:
        return
    if isinstance(change, Roll) and change.canary is None:
        instance = spawn(books, change.generation, "canary", now, out, audience=Audience.NOBODY, canary=True)
        change.canary = instance.id
    members = _members(books, change)
    if not all(one is not None and one.is_ready for one in members):
        change.take(Step.LACKED)
        change.proof.lived_at = None
        return
    if change.phase is Phase.GATHERING:
        change.take(Step.COMPLETED)
        if members:
            change.proof.lived_at = Instant(now + MOMENT)
            _ask(books, change, now, out)
    if change.proof.lived_at is not None and change.proof.lived_at <= now:
        change.proof.lived_at = None
    is_answered = change.proof.asking is Asking.ANSWERED or not members
    if change.proof.lived_at is None and is_answered:
        _pass(books, change, now, out)


def probed(books: Books, event: Probed, now: Instant, out: list[Command]) -> None:
    """Take in the answer to the probe of the generation on its way; of another one it comes too late."""
    change = books.change
    if change is None or change.generation != event.generation or change.proof.asking is Asking.OPEN:
        return
    if event.error is None:
        change.proof.asking = ask(change.proof.asking, Answer.GOOD)
        change.proof.answer_by = None
    elif change.proof.asking is Asking.ASKED:
        generations.lost(books, f"its probe failed: {event.error}", "probe", now, out)


def expire(books: Books, now: Instant, out: list[Command]) -> None:
    """Give up a generation whose probe was not answered in time, or of which an instance is not ready in time."""
    change = books.change
    if change is None or not change.is_hidden:
        return
    late = next((one for one in _members(books, change) if one is not None and one.failure), None)
    if late is not None:
        generations.lost(books, f"{books.name}/{late.id} is {late.failure}", "too-slow", now, out)
    elif change.proof.answer_by is not None and change.proof.answer_by <= now:
        probe = books.definition.probe
        patience = "" if probe is None else f" within {wording.seconds(probe.timeout)}"
        generations.lost(books, f"its probe was not answered{patience}", "too-slow", now, out)


def _members(books: Books, change: NewGeneration) -> list[Instance | None]:
    """Return the instances that are to be proved; None for one that is missing."""
    if isinstance(change, Switch):
        return [None if slot.instance is None else books.instances[slot.instance] for slot in change.slots]
    assert isinstance(change, Roll)
    return [None if change.canary is None else books.instances.get(change.canary)]


def _ask(books: Books, change: NewGeneration, now: Instant, out: list[Command]) -> None:
    """Have the probe sent, once for a generation."""
    if change.proof.asking is not Asking.OPEN:
        return
    probe = books.definition.probe
    if probe is None:
        change.proof.asking = ask(change.proof.asking, Answer.SPARED)
        return
    change.proof.asking = ask(change.proof.asking, Answer.SENT)
    change.proof.answer_by = Instant(now + probe.timeout + ANSWER_GRACE)
    out.append(Probe(app=books.name, generation=change.generation, why=change.why))


def _pass(books: Books, change: NewGeneration, now: Instant, out: list[Command]) -> None:
    """Have visitors meet what is proved."""
    if isinstance(change, Roll):
        change.take(Step.PROVED_ASIDE)
        if change.canary is not None and books.instances[change.canary].is_staying:
            books.instances[change.canary].retire("it has proved its generation", first_try=now, cut_at=now)
        return
    change.take(Step.PROVED)
    out.append(Publish(app=books.name, generation=change.generation, why=change.why))
