"""Whether what an operator asked for has come about: `judge` compares two pictures of an application."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from fcgipm.core import wording
from fcgipm.core.events import Instant
from fcgipm.core.view import AppState, AppView, GivenUp
from fcgipm.counting import counted


class Verdict(enum.Enum):
    """How far an operation is."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A verdict, and one sentence for the operator."""

    state: Verdict
    text: str
    phase: str | None = None
    """Of a reload that is pending: that of its generation, as `fcgipm.core.view.Rollout` has it, or ``complete``."""


_COMPLETE = "complete"
_TROUBLE = {AppState.BACKOFF, AppState.FAILED}
_WROTE_MAYBE = {"died", "too-slow"}
"""Words of why a generation was given up, where its own output may say more; that of a probe is in the text."""


def judge(verb: str, before: AppView, now: AppView | None, at: Instant | None = None) -> Outcome:
    """Return how far *verb* (start, stop, restart, reload, scale) has come.

    *before* is the application when the verb was given, *now* as it is *at* a time; None where it was removed since.
    Without a time nothing is said of when the next try is.
    """
    if now is None:
        return Outcome(state=Verdict.FAILED, text=f"{before.name}: removed from the configuration meanwhile")
    if verb == "stop":
        return _stopped(before, now)
    if verb != "scale" and now.state is AppState.STOPPED:
        return Outcome(state=Verdict.FAILED, text=f"{now.name}: stopped meanwhile")
    if verb == "reload" and (failure := _given_up(before, now)):
        return Outcome(state=Verdict.FAILED, text=f"{now.name}: {failure}")
    if now.state in _TROUBLE:
        return Outcome(state=Verdict.FAILED, text=f"{now.name}: {now.reason}; {_what_next(now, at)}")
    if verb == "start":
        return _started(now)
    if verb == "restart":
        return _restarted(before, now)
    if verb == "reload":
        return _reloaded(before, now)
    return _scaled(now, at)


def _instances(count: int) -> str:
    return counted(count, "instance")


def _cut(before: AppView, now: AppView) -> str:
    cut = now.cut - before.cut
    return f"; {counted(cut, 'connection')} cut, after stop-timeout" if cut else ""


def _stopped(before: AppView, now: AppView) -> Outcome:
    if now.state is not AppState.STOPPED:
        return Outcome(state=Verdict.FAILED, text=f"{now.name}: started again meanwhile")
    if now.instances:
        return Outcome(state=Verdict.PENDING, text=f"{now.name}: {_instances(len(now.instances))} still there")
    return Outcome(state=Verdict.DONE, text=f"{now.name}: stopped{_cut(before, now)}{wording.left(now.left)}")


def _started(now: AppView) -> Outcome:
    if now.state is AppState.RUNNING:
        return Outcome(state=Verdict.DONE, text=f"{now.name}: running, {now.ready} of {_instances(now.wanted)} ready")
    if now.state is AppState.IDLE:
        return Outcome(state=Verdict.DONE, text=f"{now.name}: idle; the first visitor gets an instance")
    return Outcome(state=Verdict.PENDING, text=f"{now.name}: {now.reason or now.state.value}")


def _restarted(before: AppView, now: AppView) -> Outcome:
    if now.abandoned > before.abandoned:
        return Outcome(state=Verdict.FAILED, text=f"{now.name}: {_abandoned(before, now)}")
    old = [instance for instance in now.instances if instance.generation < now.generation]
    if now.generation > before.generation and not old and now.ready >= now.wanted:
        text = f"{now.name}: restarted, {_instances(now.ready)} ready{_cut(before, now)}"
        return Outcome(state=Verdict.DONE, text=text)
    return Outcome(state=Verdict.PENDING, text=f"{now.name}: {now.reason or 'the replacement is not finished'}")


def _settled(before: AppView) -> int:
    """Return the newest generation that was published, or about to be, when somebody wanted a newer one."""
    rollout = before.rollout
    return before.generation if rollout is None or rollout.phase != "publishing" else rollout.generation


def _given_up(before: AppView, now: AppView) -> str:
    """Return why the generation that was wanted was given up; an empty text: it was not."""
    if now.abandoned <= max(before.abandoned, _settled(before)) or now.generation > _settled(before):
        return ""
    return _abandoned(before, now)


def _abandoned(before: AppView, now: AppView) -> str:
    """Return why the newest generation was given up, and what holds instead."""
    found = now.given_up or GivenUp(generation=now.abandoned, why=now.reason, word="")
    more = f" (`fcgipmctl logs {now.name}`)" if found.word in _WROTE_MAYBE else ""
    still = f"generation {now.generation} {'serves on' if before.ready else 'stays the one that holds'}"
    newer = [one.generation for one in now.instances if one.generation > now.generation and one.state != "retiring"]
    rest = wording.left_over(newer if now.shares_listener else [], now.wanted)
    return f"generation {now.abandoned} was given up: {found.why}{more}; {'; '.join(filter(None, (still, rest)))}"


def _what_next(now: AppView, at: Instant | None) -> str:
    """Return what comes after a failure, and where to look."""
    again, output = f"`fcgipmctl start {now.name}`", f"`fcgipmctl logs {now.name}` has what it wrote"
    if now.state is AppState.FAILED:
        return f"it is not tried again until {again} or a changed definition; {output}"
    soon = "" if at is None or now.next_at is None else f" in {wording.seconds(now.next_at - at)}"
    return f"back-off: the next try is{soon or ' later'}, or at {again}; {output}"


def _reloaded(before: AppView, now: AppView) -> Outcome:
    if now.generation <= _settled(before):
        rollout = now.rollout
        how_far = "" if rollout is None else f", {rollout.phase}, {rollout.ready} of {_instances(rollout.of)} ready"
        number = "the new generation" if rollout is None else f"generation {rollout.generation}"
        phase = None if rollout is None else rollout.phase
        return Outcome(state=Verdict.PENDING, text=f"{now.name}: {number} is on its way{how_far}", phase=phase)
    if now.state is AppState.STARTING:
        text = f"{now.name}: {now.reason or now.state.value}"
        return Outcome(state=Verdict.PENDING, text=text, phase=_COMPLETE)
    old = sum(instance.generation < now.generation for instance in now.instances)
    finish = f"{counted(old, 'old instance')} still {'finishes' if old == 1 else 'finish'}"
    if old and now.shares_listener:
        text = f"{now.name}: generation {now.generation} is complete, but visitors may meet the old one: {finish}"
        return Outcome(state=Verdict.PENDING, text=text, phase=_COMPLETE)
    if now.state is AppState.IDLE:
        how = "idle; the next visitor gets an instance of it"
    else:
        how = f"{now.ready} of {_instances(now.wanted)} ready"
    text = f"{now.name}: reloaded, generation {now.generation}, {how}{f'; {finish}' if old else ''}"
    return Outcome(state=Verdict.DONE, text=text)


def _scaled(now: AppView, at: Instant | None) -> Outcome:
    if now.state is AppState.STOPPED:
        return Outcome(state=Verdict.DONE, text=f"{now.name}: is stopped; {now.wanted} from its next start on")
    if now.ready == now.wanted and len(now.instances) == now.ready:
        return Outcome(state=Verdict.DONE, text=f"{now.name}: {_instances(now.ready)}")
    text = f"{now.name}: {now.ready} of {_instances(now.wanted)} ready"
    leaving = sum(instance.state == "retiring" for instance in now.instances)
    if now.ready >= now.wanted and leaving:
        text += f", {leaving} more still {'serves' if leaving == 1 else 'serve'} somebody"
    elif now.reason:
        text += f": {now.reason}"
        if at is not None and now.next_at is not None:
            text += f"; next try in {wording.seconds(now.next_at - at)}"
    return Outcome(state=Verdict.PENDING, text=text)
