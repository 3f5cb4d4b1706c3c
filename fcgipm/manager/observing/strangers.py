"""Visitors from another network name space: the kernel shows how they wait, but only the keeper can see them served.

An application is reckoned to have strangers when one is among those who wait; or when somebody wants to know about it,
nobody was ever seen to be served by it, and the keeper says so.  From then on the keeper is asked with each look, at
most once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from fcgipm.config.schema import MILLISECOND, SECOND, Duration
from fcgipm.core.events import Instant

_ASK_EVERY: Final[Duration] = 900 * MILLISECOND
"""A little less than the second between two looks."""
_BELIEVED: Final[Duration] = 3 * SECOND
"""How long an answer holds."""
_RECKONED_WITH: Final[Duration] = 600 * SECOND
"""How long strangers are reckoned with after the last sign of one."""
_WONDER_EVERY: Final[Duration] = 10 * SECOND
_WONDER_AT: Final = 20
"""Applications that may have strangers, though nothing says so: so many at once."""
_NOBODY: Final[frozenset[int]] = frozenset()
_NEVER: Final = Instant(-1 << 62)


@dataclass(slots=True)
class _Known:
    """What is known of one application."""

    asked_at: Instant = _NEVER
    answered_at: Instant = _NEVER
    sign_at: Instant = _NEVER
    """When there was a sign of a stranger."""
    served: frozenset[int] = _NOBODY


class Strangers:
    """Asks the keeper by *ask*, with an application's name, which strangers it serves."""

    def __init__(self, ask: Callable[[str], None]) -> None:
        self._ask = ask
        self._known: dict[str, _Known] = {}
        self._open: set[str] = set()
        """Those whose answers somebody waits for."""
        self._answered = asyncio.Event()

    def suspect(self, app: str, now: Instant) -> None:
        """Reckon with strangers: one is among those who wait for *app*."""
        self._known.setdefault(app, _Known()).sign_at = now

    def served(self, app: str, now: Instant) -> frozenset[int]:
        """Return the connections of strangers that *app* serves, as far as is known."""
        known = self._known.get(app)
        return _NOBODY if known is None or now - known.answered_at > _BELIEVED else known.served

    def ask(self, apps: Iterable[str], now: Instant) -> set[str]:
        """Ask about those of *apps* that are reckoned to have strangers, if it is time; return them."""
        due = {app for app in apps if self._is_due(app, now)} if self._known else set()
        for app in due:
            self._send(app, now)
        return due

    async def wonder(self, apps: Iterable[str], now: Instant, *, within: float) -> None:
        """Ask about some of *apps*, too, and wait for the answers, *within* so many seconds."""
        self._forget(now)
        asked = self.ask(tuple(self._known), now)
        for app in apps:
            if len(asked) >= _WONDER_AT:
                break
            known = self._known.get(app)
            if known is None or now - known.asked_at >= _WONDER_EVERY:
                self._send(app, now)
                asked.add(app)
        if not asked:
            return
        self._open |= asked
        self._answered.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._answered.wait()
        self._open -= asked

    def answer(self, app: str, connections: Iterable[int], now: Instant) -> None:
        """Take the keeper's answer."""
        known = self._known.setdefault(app, _Known())
        known.answered_at, known.served = now, frozenset(connections)
        if known.served:
            known.sign_at = now
        self._open.discard(app)
        if not self._open:
            self._answered.set()

    def _is_due(self, app: str, now: Instant) -> bool:
        known = self._known.get(app)
        if known is None or now - known.sign_at > _RECKONED_WITH:
            return False
        return now - known.asked_at >= _ASK_EVERY

    def _send(self, app: str, now: Instant) -> None:
        self._known.setdefault(app, _Known()).asked_at = now
        self._ask(app)

    def _forget(self, now: Instant) -> None:
        """Forget those of whom nothing was heard and nothing asked for long; they may not exist any more."""
        since = now - _RECKONED_WITH
        self._known = {app: known for app, known in self._known.items() if max(known.asked_at, known.sign_at) >= since}
