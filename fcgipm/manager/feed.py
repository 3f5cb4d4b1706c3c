"""What is told to many: the last items are kept, and followers get each new one, at their own pace."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

ItemT = TypeVar("ItemT")

MAX_BEHIND: Final = 1_000
"""Items that a follower may be behind; the oldest beyond that are lost to it, and it is told how many."""


class Follower(Generic[ItemT]):
    """One reader of a `Feed`."""

    def __init__(self) -> None:
        self._waiting: deque[ItemT] = deque(maxlen=MAX_BEHIND)
        self._lost = 0
        self._some = asyncio.Event()

    def give(self, item: ItemT) -> None:
        """Add *item* for the reader; the oldest is lost where it is too far behind."""
        if len(self._waiting) == MAX_BEHIND:
            self._lost += 1
        self._waiting.append(item)
        self._some.set()

    async def take(self) -> tuple[int, list[ItemT]]:
        """Wait for items; return how many were lost before them, and them."""
        await self._some.wait()
        self._some.clear()
        items, lost = list(self._waiting), self._lost
        self._waiting.clear()
        self._lost = 0
        return lost, items


class Feed(Generic[ItemT]):
    """Keeps the last *keep* items and passes new ones on."""

    def __init__(self, keep: int) -> None:
        self._last: deque[ItemT] = deque(maxlen=keep)
        self._followers: set[Follower[ItemT]] = set()

    def __iter__(self) -> Iterator[ItemT]:
        """Iterate over what is kept, the oldest first."""
        return iter(tuple(self._last))

    def publish(self, item: ItemT) -> None:
        """Keep *item* and give it to every follower."""
        self._last.append(item)
        for follower in self._followers:
            follower.give(item)

    @contextmanager
    def follow(self) -> Iterator[Follower[ItemT]]:
        """Give a follower of everything that is published until the end of the block."""
        follower: Follower[ItemT] = Follower()
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)


class Change:
    """Says that something changed, to all who wait for it at that moment."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Wake everybody who waits."""
        waiters, self._waiters = self._waiters, set()
        _wake(waiters)

    async def wait(self) -> None:
        """Return at the next `notify`."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)


def _wake(waiters: Iterable[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
