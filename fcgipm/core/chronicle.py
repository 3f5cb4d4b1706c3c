"""What was decided about one application lately, for `fcgipmctl explain`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from fcgipm.core.events import Instant
from fcgipm.core.view import Decision

KEPT: Final = 32


class Chronicle:
    """The last `KEPT` decisions; the same one again and again is kept once, as of the last time."""

    def __init__(self) -> None:
        self._decisions: deque[Decision] = deque(maxlen=KEPT)

    def __iter__(self) -> Iterator[Decision]:
        return iter(self._decisions)

    def enter(self, at: Instant, action: str, rule: str, text: str, **inputs: object) -> None:
        """Enter a decision with its *inputs*, which are shown as they print; None is left out."""
        shown = {name.replace("_", " "): str(value) for name, value in inputs.items() if value is not None}
        decision = Decision(at=at, action=action, rule=rule, inputs=shown, text=text)
        if self._decisions:
            last = self._decisions[-1]
            if (last.action, last.rule, last.text) == (action, rule, text):
                self._decisions.pop()
        self._decisions.append(decision)
