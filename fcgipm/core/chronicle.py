"""What was decided about one application lately, for `fcgipmctl explain`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from fcgipm.core.events import Instant
from fcgipm.core.view import Decision

KEPT: Final = 32
_NEAR: Final = {"deny": 4, "keep": 4, "spare": 4, "remove": 2}
"""Among how many of the last ones, not only the last, an equal one is looked for.

What changed nothing is decided again and again, and would push out what did; runs of two kinds take turns, and whether
one may go with who was spared.
"""


class Chronicle:
    """The last `KEPT` decisions; the same one again and again is kept once, as of the last time."""

    def __init__(self) -> None:
        self._decisions: list[Decision] = []  # a deque begins with room for 64

    def __iter__(self) -> Iterator[Decision]:
        return iter(self._decisions)

    def enter(self, at: Instant, action: str, rule: str, text: str, **inputs: object) -> None:
        """Enter a decision with its *inputs*, which are shown as they print; None is left out."""
        shown = {name.replace("_", " "): str(value) for name, value in inputs.items() if value is not None}
        same = self._same(action, rule, text)
        if same is not None:
            self._decisions.remove(same)
        since, times = (at, 1) if same is None else (same.since, same.times + 1)
        decision = Decision(at=at, since=since, times=times, action=action, rule=rule, inputs=shown, text=text)
        self._decisions.append(decision)
        del self._decisions[:-KEPT]

    def _same(self, action: str, rule: str, text: str) -> Decision | None:
        near = islice(reversed(self._decisions), _NEAR.get(action, 1))
        return next((one for one in near if (one.action, one.rule, one.text) == (action, rule, text)), None)
