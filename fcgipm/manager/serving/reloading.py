"""Reloading applications: the file is read, then some at a time get a new generation, and what becomes of each is told.

A `Reload` goes on to its end whether whoever has asked for it stays or not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fcgipm import wire
from fcgipm.config.schema import SECOND, Change
from fcgipm.core import events
from fcgipm.core.events import Instant
from fcgipm.core.outcome import Outcome, Verdict
from fcgipm.core.view import AppState, AppView
from fcgipm.counting import counted
from fcgipm.manager import translate
from fcgipm.manager.driver import Driver
from fcgipm.manager.serving import outcomes
from fcgipm.manager.serving.outcomes import Watched
from fcgipm.manager.state import State
from fcgipm.manager.telling.feed import Change as News

_AT_REST: Final = {AppState.STOPPED, AppState.IDLE}
"""Nothing of them runs: what they start next is new anyway."""
_SLACK: Final = 10 * SECOND
"""What an application may take beyond its own time-outs until others need not wait for it any more."""


@dataclass(slots=True)
class _Active:
    """An application whose new generation has been begun."""

    watched: Watched
    patience: Instant
    """When it does not count among those at a time any more."""


@dataclass(slots=True)
class Reload:
    """One `fcgipmctl reload`: of *names*, or of everything that runs, *parallel* applications at a time."""

    driver: Driver
    names: tuple[str, ...]
    parallel: int
    found: dict[str, Outcome] = field(default_factory=dict)
    """What is known of each application by now, the first one begun first."""
    news: News = field(default_factory=News)
    """Notified when something of it has changed."""
    is_done: bool = False
    _known: dict[str, AppView] = field(default_factory=dict)
    """The applications as they were before."""
    _active: dict[str, _Active] = field(default_factory=dict)
    _waiting: deque[str] = field(default_factory=deque)

    def begin(self) -> asyncio.Future[wire.Applied]:
        """Have the file read and go on from there; the future gets the keeper's answer."""
        self._known = known(self.driver.state)
        asked = self.driver.ask_apply(apps=self.names or None, effects=self._effects)
        answered: asyncio.Future[wire.Applied] = asyncio.get_running_loop().create_future()
        self.driver.keep(self._run(asked, answered))
        return answered

    async def _run(self, asked: asyncio.Future[wire.Applied], answered: asyncio.Future[wire.Applied]) -> None:
        applied = await asked
        if not applied.problems:
            self._plan(translate.changes(applied.changes, self.driver.state.applications))
        if not answered.done():
            answered.set_result(applied)
        while not self._go_on():
            deadline = min((one.patience for one in self._active.values() if one.patience > self._now()), default=None)
            try:
                async with asyncio.timeout_at(None if deadline is None else deadline / SECOND):
                    await self.driver.state.changed.wait()
            except TimeoutError:
                continue

    def _now(self) -> Instant:
        return self.driver.state.now()

    def _effects(self, changes: Mapping[str, Change]) -> Mapping[str, Change]:
        """Leave new generations to their turn here: else all would begin at once, and then once more."""
        mine = set(targets(self._known, self.names))
        return {
            app: Change.IN_PLACE if change is Change.GENERATION and app in mine else change
            for app, change in changes.items()
        }

    def _plan(self, changes: Mapping[str, Change]) -> None:
        """Say what is begun and what waits for its turn."""
        applications = self.driver.state.applications
        for name, before in self._known.items():
            if name not in applications and (not self.names or name in self.names):
                self._watch(Watched("remove", name, before))
        wanted = [name for name in targets(self._known, self.names) if name in applications]
        for name in [*(name for name in self.names or applications if name not in self._known), *wanted]:
            begun = self._begun(name, changes.get(name))
            if begun is not None:
                self._watch(begun)
            elif name in self._known or name in self.names:
                self._waiting.append(name)
                self.found[name] = Outcome(state=Verdict.PENDING, text=f"{name}: waits for its turn")

    def _begun(self, name: str, change: Change | None) -> Watched | None:
        """Return what has begun already: a new application, or one that had to begin when its address changed."""
        before, now = self._known.get(name), self.driver.state.view(name)
        if before is None:
            return None if now is None or now.state is AppState.STOPPED else Watched("start", name, now)
        if change is Change.LISTENER and before.state is not AppState.STOPPED:
            return Watched("reload", name, before)
        return None

    def _watch(self, watched: Watched) -> None:
        application = self.driver.state.applications.get(watched.app)
        span = 0 if application is None else application.start_timeout
        if application is not None and application.probe is not None:
            span += application.probe.timeout
        self._active[watched.app] = _Active(watched, Instant(self._now() + span + _SLACK))

    def _go_on(self) -> bool:
        """Look at those that are begun, begin others in the place of those that are done; return whether all are."""
        before = dict(self.found)
        while True:
            self._look()
            now = self._now()
            if not self._waiting or sum(one.patience > now for one in self._active.values()) >= self.parallel:
                break
            self._begin_next()
        self.is_done = not self._active and not self._waiting
        if self.is_done or self.found != before:
            self.news.notify()
        return self.is_done

    def _begin_next(self) -> None:
        name = self._waiting.popleft()
        view = self.driver.state.view(name)
        if view is None:
            text = f"{name}: removed from the configuration meanwhile"
            self.found[name] = Outcome(state=Verdict.FAILED, text=text)
        elif view.state is AppState.STOPPED and not self._was_stopped(name):
            # A reload starts what was stopped before it, and undoes no stop that came after it.
            text = f"{name}: stopped meanwhile; it stays so until `fcgipmctl start {name}`"
            self.found[name] = Outcome(state=Verdict.FAILED, text=text)
        else:
            self._watch(Watched("reload", name, view))
            self.driver.step(events.ReloadRequested(app=name))

    def _was_stopped(self, name: str) -> bool:
        before = self._known.get(name)
        return before is not None and before.state is AppState.STOPPED

    def _look(self) -> None:
        for name, active in list(self._active.items()):
            outcome = outcomes.judged(active.watched, self.driver.state.view(name), self._now())
            self.found[name] = outcome
            if outcome.state is not Verdict.PENDING:
                del self._active[name]


def targets(known: Mapping[str, AppView], names: Sequence[str]) -> list[str]:
    """Return those of the *known* applications that get a new generation: the *names*, or all that are running."""
    if names:
        return [name for name in names if name in known]
    return [name for name, view in known.items() if view.state not in _AT_REST]


def known(state: State) -> dict[str, AppView]:
    """Return the applications that exist, without those that only leave."""
    return {name: view for name, view in outcomes.views(state).items() if name in state.applications}


def would_be(state: State, names: Sequence[str], applied: wire.Applied) -> dict[str, Outcome]:
    """Return what a reload would do with each application, where *applied* is the answer to a dry run."""
    views = known(state)
    removed = {change.app for change in applied.changes if change.effect == "removed"}
    return {
        name: Outcome(state=Verdict.PENDING, text=f"{name}: {_prospect(views[name])}")
        for name in targets(views, names)
        if name not in removed
    }


def _prospect(view: AppView) -> str:
    if view.state is AppState.STOPPED:
        return "would be started"
    if view.state is AppState.IDLE:
        return "is idle; its next instance would be the first of a new generation"
    return f"would get a new generation of {counted(max(view.wanted, 1), 'instance')}"
