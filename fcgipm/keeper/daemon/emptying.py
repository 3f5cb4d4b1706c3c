"""Stop every instance without a manager's orders, at the end of the daemon when no manager can be started."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from fcgipm.config.schema import MILLISECOND, SECOND
from fcgipm.keeper.instances.book import Book

_FIRST_PAUSE: Final = 20 * MILLISECOND
_LONGEST_PAUSE: Final = 1 * SECOND
_TURN: Final = 50 * MILLISECOND
"""How long attempts are made until others have their turn."""


class Emptying:
    """Lets no visitor in any more, and tries to remove one instance after the other, again until none is left."""

    def __init__(self, book: Book, *, withdraw: Callable[[], None], retire: Callable[[int], None]) -> None:
        """*withdraw* takes all sockets away from the public; *retire* tries once to remove the instance of a number."""
        self._book = book
        self._withdraw = withdraw
        self._retire = retire
        self._round: list[int] = []
        """Instances that have not had their attempt in this round."""
        self._pause = _FIRST_PAUSE
        self.has_begun = False
        self.due = 0
        """When the next attempts are to be made."""

    def step(self) -> None:
        """Go on with it for a moment."""
        if not self.has_begun:
            self.has_begun = True
            self._withdraw()
        end = time.monotonic_ns() + _TURN
        self._round = self._round or [instance.number for instance in self._book]
        while self._round and time.monotonic_ns() < end:
            number = self._round.pop()
            if self._book.get(number) is not None:
                self._retire(number)
        self.due = time.monotonic_ns()
        if not self._round:
            self.due += self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
