"""Descriptors set aside for what must work when there are none left: to start a manager and tell it everything.

Instances and listeners take descriptors for as long as they live, and could take the last one.  Without a manager
nobody could make them fewer.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

SIZE: Final = 16
"""A launch needs 13 at its height, in the child between fork and exec; the snapshot takes copies, two at a time."""


class Reserve:
    """So many descriptors of nothing."""

    def __init__(self) -> None:
        self._held: list[int] = []
        self._size = SIZE

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Give the descriptors up for what is done in this context, and take them back then."""
        self.give_up()
        try:
            yield
        finally:
            self.take()

    def take(self) -> None:
        """Set aside what is missing, as far as there are any: the next call takes the rest."""
        with contextlib.suppress(OSError):
            while len(self._held) < self._size:
                self._held.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))

    def give_up(self) -> None:
        """Let others have them."""
        while self._held:
            os.close(self._held.pop())

    def end(self) -> None:
        """Give the descriptors up for good."""
        self._size = 0
        self.give_up()
