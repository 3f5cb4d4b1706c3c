"""Scripts that somebody asks for and nobody has asked for before: how they become applications.

Where it can be seen here that a script may not run, the keeper is not asked; else he says it (`wire.Open`).  Nothing
is remembered of what does not exist.
"""

from __future__ import annotations

import asyncio
import enum
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from fcgipm import wire
from fcgipm.config import scriptrule
from fcgipm.config.dynamic import why_not_name
from fcgipm.core.commands import Severity
from fcgipm.manager.connectors.scripts import Candidate, candidates, refusal
from fcgipm.manager.state import State

_AT_ONCE: Final = 8
"""Orders to the keeper that are unanswered: whoever asks for 10,000 scripts does not fill the wire."""
_WAITING: Final = 256
"""Questions that may be under way, beside those that wait for the same script."""
_PATIENCE: Final = 10.0
"""Seconds for the keeper's answer."""
_REMEMBERED: Final = 256
_LINES: Final = 20
_MINUTE: Final = 60.0
"""At most so many lines in so many seconds tell of scripts that may not run."""


class Obstacle(enum.Enum):
    """Why a script does not become an application."""

    MISSING = "missing"
    FORBIDDEN = "forbidden"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class Closed:
    """The script cannot be an application; *reason* is a sentence for the log, not for visitors."""

    obstacle: Obstacle
    reason: str


Found: TypeAlias = str | Closed
"""The name of an application that is known now, or why there is none."""


@dataclass(slots=True)
class _Errand:
    """One question: the candidates that are left, and who wants to know."""

    candidates: deque[Candidate]
    done: Callable[[Found], None]
    missing: str = "there is no such script below any root of [dynamic]"
    refused: tuple[str, str] | None = None
    """A script that may not run, and why: what is said when no candidate is left, else what is *missing*."""

    def strike(self, candidate: Candidate, obstacle: scriptrule.Obstacle, why: str) -> None:
        """Leave out what the *obstacle* to *candidate* rules out: below what is no directory there is nothing."""
        match obstacle:
            case "missing":
                self.missing = why
                self.candidates.clear()
            case "directory":
                pass
            case _:
                self.refused = self.refused or (candidate.name, why)
                self.candidates = deque(one for one in self.candidates if one.root != candidate.root)


@dataclass(slots=True)
class _Order:
    """What waits for the keeper's word about one candidate."""

    candidate: Candidate
    errands: list[_Errand] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None
    """Runs once the order is sent."""


class Opening:
    """Finds and opens scripts; *send* gives an order to the keeper, *say* writes to the log."""

    def __init__(
        self, state: State, send: Callable[[wire.Order], None], say: Callable[[Severity, str | None, str], None]
    ) -> None:
        self._state = state
        self._send = send
        self._say = say
        self._orders: OrderedDict[tuple[str, str], _Order] = OrderedDict()
        """By root and path; those that are sent come first."""
        self._refused: OrderedDict[str, str] = OrderedDict()
        """What was said last of a script that may not run."""
        self._said_at: deque[float] = deque(maxlen=_LINES)

    def __len__(self) -> int:
        return sum(len(order.errands) for order in self._orders.values())

    def open(self, target: str, done: Callable[[Found], None]) -> None:
        """Find the script *target*, an absolute path or the name ROOT/path, and call *done* now or later."""
        dynamic = self._state.dynamic
        found: deque[Candidate] = deque()
        refused: tuple[Candidate, str] | None = None
        for candidate, seen in () if dynamic is None else candidates(dynamic, target):
            why = why_not_name(candidate.root, candidate.path, self._state.daemon.runtime_dir)
            if why is None:
                found.append(candidate)
            elif seen:
                refused = candidate, why
        if refused is None or found:
            self._go_on(_Errand(found, done))
        else:
            done(self._forbid(refused[0].name, refused[1]))

    def opened(self, report: wire.Opened, app: str) -> None:
        """The keeper has made the application *app* of a script."""
        order = self._answered(report.root, report.path)
        for errand in () if order is None else order.errands:
            errand.done(app)

    def failed(self, report: wire.OpenFailed) -> None:
        """The keeper has said that a script may not run, or that there is none."""
        order = self._answered(report.root, report.path)
        if order is not None:
            for errand in order.errands:
                errand.strike(order.candidate, report.obstacle, report.error)
                self._go_on(errand)

    # ── asking the keeper ────────────────────────────────────────────────────────────────────────────────────────

    def _go_on(self, errand: _Errand) -> None:
        while errand.candidates:
            candidate = errand.candidates.popleft()
            if candidate.name in self._state.applications:
                errand.done(candidate.name)
                return
            why = self._seen(candidate)
            if why is None:
                self._ask(candidate, errand)
                return
            errand.strike(candidate, why.obstacle, str(why))
        if errand.refused is None:
            errand.done(Closed(Obstacle.MISSING, errand.missing))
        else:
            errand.done(self._forbid(*errand.refused))

    def _seen(self, candidate: Candidate) -> scriptrule.ScriptError | None:
        state = self._state
        return None if state.dynamic is None else refusal(candidate, state.dynamic, state.daemon, state.keeper_uid)

    def _ask(self, candidate: Candidate, errand: _Errand) -> None:
        key = candidate.root.name, candidate.path
        order = self._orders.get(key)
        if order is None:
            if len(self._orders) >= _WAITING:
                errand.done(Closed(Obstacle.BUSY, "too many other scripts are asked for just now"))
                return
            order = self._orders[key] = _Order(candidate)
        order.errands.append(errand)
        self._order_next()

    def _order_next(self) -> None:
        loop = asyncio.get_running_loop()
        for number, ((root, path), order) in enumerate(self._orders.items()):
            if number >= _AT_ONCE:
                return
            if order.timer is None:
                order.timer = loop.call_later(_PATIENCE, self._give_up, root, path)
                self._send(wire.Open(root=root, path=path))

    def _answered(self, root: str, path: str) -> _Order | None:
        """Return what waits for the answer about *path*, which has come; None, if it came unasked."""
        order = self._orders.pop((root, path), None)
        if order is None:
            return None
        if order.timer is not None:
            order.timer.cancel()
        self._order_next()
        return order

    def _give_up(self, root: str, path: str) -> None:
        order = self._answered(root, path)
        for errand in () if order is None else order.errands:
            errand.done(Closed(Obstacle.BUSY, f"the keeper has not looked at {root}/{path} within {_PATIENCE:g} s"))

    # ── saying so ────────────────────────────────────────────────────────────────────────────────────────────────

    def _forbid(self, script: str, why: str) -> Closed:
        """Say that *script* may not run, and why, if that is news."""
        now = asyncio.get_running_loop().time()
        often = len(self._said_at) == _LINES and now - self._said_at[0] < _MINUTE
        if self._refused.get(script) != why and not often:
            self._said_at.append(now)
            self._refused[script] = why
            self._say(Severity.WARNING, None, f"cannot run the script {script}: {why}; who asks for it is refused")
        if script in self._refused:
            self._refused.move_to_end(script)
        if len(self._refused) > _REMEMBERED:
            self._refused.popitem(last=False)
        return Closed(Obstacle.FORBIDDEN, why)
