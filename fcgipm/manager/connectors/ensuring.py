"""Ensuring: whoever names an application or a script gets the address of an instance that is ready, or why not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from fcgipm import wire
from fcgipm.core import events
from fcgipm.core.commands import Severity
from fcgipm.core.events import Event
from fcgipm.manager.connectors.answer import Answer, Ending
from fcgipm.manager.connectors.asking import Asker, Asking
from fcgipm.manager.connectors.opening import Found, Obstacle, Opening
from fcgipm.manager.state import State

_ENDINGS: Final = {
    Obstacle.MISSING: Ending.UNKNOWN,
    Obstacle.FORBIDDEN: Ending.FORBIDDEN,
    Obstacle.BUSY: Ending.BUSY,
}
_SOON: Final = 1
"""Seconds."""


class Ensuring:
    """Answers; *step* gives an event to the engine, *send* an order to the keeper, *say* writes a log line."""

    def __init__(
        self,
        state: State,
        step: Callable[[Event], None],
        send: Callable[[wire.Order], None],
        say: Callable[[Severity, str | None, str], None],
    ) -> None:
        self._state = state
        self._step = step
        self._asking = Asking(state, step)
        self._opening = Opening(state, send, say)

    @property
    def waiting(self) -> int:
        """How many questions are under way."""
        return len(self._asking) + len(self._opening)

    def ensure(self, target: str, done: Callable[[Answer], None]) -> Asker | None:
        """Answer, now or later, who wants *target*: an application's name, or the absolute path of a script.

        Return None if *done* was called already, else what `forget` takes.
        """
        asker = Asker(partial(self._answer, done))
        app = self._state.meant(target)
        if app is not None:
            self._asking.ask(app, asker)
        elif "/" in target:
            self._opening.open(target, partial(self._found, target, asker))
        else:
            reason = f"{target} is not known"
            if target in self._state.externals:
                reason = f"{target} is external, managed elsewhere"
            asker.answer(Answer(ending=Ending.UNKNOWN, app=target, reason=reason))
        return None if asker.done is None else asker

    def forget(self, asker: Asker) -> None:
        """Let *asker*, who has gone, unanswered."""
        self._asking.forget(asker)

    def after_step(self) -> None:
        """Answer those whom the engine's last step has helped, or refused."""
        self._asking.after_step()

    def opened(self, report: wire.Opened) -> None:
        """Take up the application that the keeper has made of a script."""
        definition = self._state.open(report)
        self._step(events.Opened(definition=definition, generation=report.listener.generation))
        self._opening.opened(report, definition.name)

    def failed(self, report: wire.OpenFailed) -> None:
        """Take it that a script may not run, or that there is none."""
        self._opening.failed(report)

    def _found(self, target: str, asker: Asker, found: Found) -> None:
        if asker.done is None:
            return  # has gone meanwhile
        if isinstance(found, str):
            self._asking.ask(found, asker)
            return
        retry_after = _SOON if found.obstacle is Obstacle.BUSY else None
        ending = _ENDINGS[found.obstacle]
        asker.answer(Answer(ending=ending, app=target, reason=found.reason, retry_after=retry_after))

    def _answer(self, done: Callable[[Answer], None], answer: Answer) -> None:
        self._state.tally.note_answer(answer.ending)
        done(answer)
