"""Who waits for an instance that is ready: connectors, and `fcgipmctl ensure`.

One look into the engine answers for an application that has one, whoever asks and how often.  Else the engine is told
that somebody asks, and all who do are answered together, by the step that makes an instance ready or says why not.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from fcgipm.core import events
from fcgipm.core.events import Event
from fcgipm.core.wording import seconds
from fcgipm.manager.connectors.answer import Answer, Ending
from fcgipm.manager.state import State

_NANOSECONDS: Final = 1_000_000_000
_NOBODY_KNOWS: Final = 10
"""Seconds after which to ask again where the engine does not know when anything changes."""
_SOON: Final = 1
_LATEST: Final = 600
_AGAIN: Final = 4
"""So many times within start-timeout the engine is told that still more people ask, so that it does not give up."""


class Asker:
    """One question under way; *done* is called once with its answer, unless `Asking.forget` came before."""

    __slots__ = ("app", "deadline", "done")

    def __init__(self, done: Callable[[Answer], None]) -> None:
        self.done: Callable[[Answer], None] | None = done
        self.app = ""
        """Empty until the application is known."""
        self.deadline = math.inf
        """By the loop's clock."""

    def answer(self, answer: Answer) -> None:
        """Give the answer to whoever still wants it."""
        if self.done is not None:
            done, self.done = self.done, None
            done(answer)


@dataclass(slots=True)
class _Queue:
    """Those who wait for one application, in the order in which they came, and so of their deadlines."""

    askers: dict[Asker, None] = field(default_factory=dict)
    told_at: float = -math.inf
    """When the engine was told last that somebody asks."""
    timer: asyncio.TimerHandle | None = None


class Asking:
    """All who wait; *step* gives an event to the engine of *state*."""

    def __init__(self, state: State, step: Callable[[Event], None]) -> None:
        self._state = state
        self._step = step
        self._queues: dict[str, _Queue] = {}

    def __len__(self) -> int:
        return sum(len(queue.askers) for queue in self._queues.values())

    def look(self, app: str) -> Answer | None:
        """Return what somebody gets who asks for *app* now; None: he has to wait."""
        prospect = self._state.engine.prospect(app, self._state.now())
        if prospect is None:
            return Answer(ending=Ending.UNKNOWN, app=app, reason=f"{app} is not known")
        if prospect.ready:
            address = self._state.address(app)
            if address is not None:
                return Answer(ending=Ending.READY, app=app, address=address)
            text = f"{app} has no socket now"
            return Answer(ending=Ending.REFUSED, app=app, reason=text, retry_after=_SOON)
        if prospect.refused:
            wait = _NOBODY_KNOWS if prospect.retry_after is None else -(-prospect.retry_after // _NANOSECONDS)
            retry_after = min(max(wait, _SOON), _LATEST)
            return Answer(ending=Ending.REFUSED, app=app, reason=prospect.refused, retry_after=retry_after)
        return None

    def ask(self, app: str, asker: Asker) -> None:
        """Answer *asker* now or later: when *app* is ready or refused, or start-timeout has passed."""
        answer = self.look(app)
        if answer is None:
            answer = self._tell_engine(app)
        if answer is None:
            self._wait(app, asker)
        else:
            asker.answer(answer)

    def forget(self, asker: Asker) -> None:
        """Let *asker* go unanswered."""
        asker.done = None
        queue = self._queues.get(asker.app)
        if queue is not None and queue.askers.pop(asker, asker) is None:
            self._tend(asker.app, queue)

    def after_step(self) -> None:
        """Answer those whose application has become ready or is refused by now."""
        for app in tuple(self._queues):
            answer = self.look(app)
            if answer is not None:
                self._answer_all(app, answer)

    def _tell_engine(self, app: str) -> Answer | None:
        """Say that somebody asks for *app*, unless that was said just before; return what it leads to at once."""
        queue, now = self._queues.get(app), asyncio.get_running_loop().time()
        if queue is not None and now - queue.told_at < self._patience(app) / _AGAIN:
            return None
        if queue is not None:
            queue.told_at = now
        self._step(events.Asked(app=app))
        return self.look(app)

    def _wait(self, app: str, asker: Asker) -> None:
        now = asyncio.get_running_loop().time()
        queue = self._queues.get(app)
        if queue is None:
            queue = self._queues[app] = _Queue(told_at=now)
        asker.app = app
        asker.deadline = now + self._patience(app)
        queue.askers[asker] = None
        self._tend(app, queue)

    def _patience(self, app: str) -> float:
        """Return for how many seconds somebody waits for *app*."""
        definition = self._state.applications.get(app)
        return 0.0 if definition is None else definition.start_timeout / _NANOSECONDS

    def _tend(self, app: str, queue: _Queue) -> None:
        """Have the loop call when the first of *queue* has waited long enough; without anybody it goes."""
        first = next(iter(queue.askers), None)
        if queue.timer is not None and (first is None or queue.timer.when() != first.deadline):
            queue.timer.cancel()
            queue.timer = None
        if first is None:
            del self._queues[app]
        elif queue.timer is None:
            queue.timer = asyncio.get_running_loop().call_at(first.deadline, self._expire, app, queue)

    def _expire(self, app: str, queue: _Queue) -> None:
        now, queue.timer = asyncio.get_running_loop().time(), None
        late = list(_up_to(queue, now))
        for asker in late:
            del queue.askers[asker]
        self._tend(app, queue)
        waited = seconds(int(self._patience(app) * _NANOSECONDS))
        reason = f"no instance of {app} was ready within {waited}"
        for asker in late:
            asker.answer(Answer(ending=Ending.LATE, app=app, reason=reason, retry_after=_SOON))

    def _answer_all(self, app: str, answer: Answer) -> None:
        queue = self._queues.pop(app)
        if queue.timer is not None:
            queue.timer.cancel()
        for asker in queue.askers:
            asker.answer(answer)


def _up_to(queue: _Queue, now: float) -> Iterator[Asker]:
    for asker in queue.askers:
        if asker.deadline > now:
            return
        yield asker
