"""Whether what an operator asked for has come about: `judge` compares two pictures of an application."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from fcgipm.core import wording
from fcgipm.core.view import AppState, AppView
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


_TROUBLE = {AppState.BACKOFF, AppState.FAILED}


def judge(verb: str, before: AppView, now: AppView | None) -> Outcome:
    """Return how far *verb* (start, stop, restart, reload, scale) has come.

    *before* is the application when the verb was given, *now* as it is; None where it was removed since.
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
        return Outcome(state=Verdict.FAILED, text=f"{now.name}: {now.reason}")
    if verb == "start":
        return _started(now)
    if verb == "restart":
        return _restarted(before, now)
    if verb == "reload":
        return _reloaded(before, now)
    return _scaled(now)


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
        return Outcome(state=Verdict.FAILED, text=f"{now.name}: {now.reason}")
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
    why = now.reason if now.given_up is None else now.given_up.why
    return f"generation {now.abandoned} was given up: {why}; generation {now.generation} serves on"


def _reloaded(before: AppView, now: AppView) -> Outcome:
    if now.generation <= _settled(before):
        rollout = now.rollout
        how_far = "" if rollout is None else f", {rollout.phase}, {rollout.ready} of {_instances(rollout.of)} ready"
        number = "the new generation" if rollout is None else f"generation {rollout.generation}"
        return Outcome(state=Verdict.PENDING, text=f"{now.name}: {number} is on its way{how_far}")
    if now.state is AppState.STARTING:
        return Outcome(state=Verdict.PENDING, text=f"{now.name}: {now.reason or now.state.value}")
    old = sum(instance.generation < now.generation for instance in now.instances)
    finish = f"{counted(old, 'old instance')} still {'finishes' if old == 1 else 'finish'}"
    if old and now.shares_listener:
        text = f"{now.name}: generation {now.generation} is complete, but visitors may meet the old one: {finish}"
        return Outcome(state=Verdict.PENDING, text=text)
    if now.state is AppState.IDLE:
        how = "idle; the next visitor gets an instance of it"
    else:
        how = f"{now.ready} of {_instances(now.wanted)} ready"
    text = f"{now.name}: reloaded, generation {now.generation}, {how}{f'; {finish}' if old else ''}"
    return Outcome(state=Verdict.DONE, text=text)


def _scaled(now: AppView) -> Outcome:
    if now.state is AppState.STOPPED:
        return Outcome(state=Verdict.DONE, text=f"{now.name}: is stopped; {now.wanted} from its next start on")
    if now.ready == now.wanted and len(now.instances) == now.ready:
        return Outcome(state=Verdict.DONE, text=f"{now.name}: {_instances(now.ready)}")
    return Outcome(state=Verdict.PENDING, text=f"{now.name}: {now.ready} of {_instances(now.wanted)} ready")
