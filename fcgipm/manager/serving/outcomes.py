"""Waiting until what an operator asked for has come about, or cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fcgipm import wire
from fcgipm.config.schema import Change
from fcgipm.core.events import Instant
from fcgipm.core.outcome import Outcome, Verdict, judge
from fcgipm.core.view import AppState, AppView
from fcgipm.counting import counted
from fcgipm.manager import translate
from fcgipm.manager.state import State


@dataclass(frozen=True, slots=True)
class Watched:
    """One application that something was asked of; *before* is how it was then."""

    verb: str
    app: str
    before: AppView


def views(state: State) -> dict[str, AppView]:
    """Return every application as it is now, by name."""
    return {view.name: view for view in state.engine.view(state.now())}


def look(state: State, watched: Iterable[Watched]) -> dict[str, Outcome]:
    """Return how far each of *watched* is."""
    now = views(state)
    return {each.app: judged(each, now.get(each.app), state.now()) for each in watched}


async def wait(state: State, watched: Sequence[Watched], seconds: float) -> dict[str, Outcome]:
    """Return the outcomes when none is pending, or as they are after *seconds*."""
    found = look(state, watched)
    try:
        async with asyncio.timeout(seconds):
            while any(outcome.state is Verdict.PENDING for outcome in found.values()):
                await state.changed.wait()
                found = look(state, watched)
    except TimeoutError:
        pass
    return found


def of_apply(state: State, keys: Sequence[wire.ChangedKey], before: Mapping[str, AppView]) -> list[Watched]:
    """Return what is to be waited for after an apply: starts, replacements, new numbers, and removals."""
    now = views(state)
    watched = [Watched("remove", app, view) for app, view in before.items() if app not in state.applications]
    effects = translate.changes(keys, state.applications)
    scaled = {key.app for key in keys if key.key == "processes"}  # other keys change in place at once, and unseen
    for app, view in now.items():
        if view.state is AppState.STOPPED or app not in state.applications:
            continue
        if app not in before:
            watched.append(Watched("start", app, view))
        elif effects.get(app) in (Change.GENERATION, Change.LISTENER):
            watched.append(Watched("restart", app, before[app]))
        elif app in scaled:
            watched.append(Watched("scale", app, before[app]))
    return watched


def judged(watched: Watched, now: AppView | None, at: Instant) -> Outcome:
    """Return how far *watched* is, whose application is as in *now*, or gone (None); that is the time *at*."""
    if watched.verb == "remove":
        if now is None:
            return Outcome(state=Verdict.DONE, text=f"{watched.app}: its last instance is gone")
        left = counted(len(now.instances), "instance")
        return Outcome(state=Verdict.PENDING, text=f"{watched.app}: {left} still there")
    return judge(watched.verb, watched.before, now, at)
