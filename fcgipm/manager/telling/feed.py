"""What is told to many: the last items are kept, and followers get each new one, at their own pace."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, Protocol, TypeVar

MAX_BEHIND: Final = 1_000
MAX_BEHIND_BYTES: Final = 256 * 1024
"""How far a follower may be behind; the oldest items beyond that are lost to it, and it is told how many."""


class Weighed(Protocol):
    """What is kept in memory."""

    @property
    def weight(self) -> int:
        """The bytes of its texts."""


ItemT = TypeVar("ItemT", bound=Weighed)


class Window(Generic[ItemT]):
    """The last items, bounded in number and in bytes."""

    __slots__ = ("_bytes", "_items", "_most", "_most_bytes")

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._items: deque[ItemT] | None = None
        """None while there never was any, as with most applications: an empty deque takes 760 bytes."""
        self._bytes = 0

    def __iter__(self) -> Iterator[ItemT]:
        """Iterate over the items, the oldest first."""
        return iter(tuple(self._items or ()))

    def add(self, item: ItemT) -> int:
        """Add *item*; return how many of the oldest were lost for it."""
        if self._items is None:
            self._items = deque()
        self._items.append(item)
        self._bytes += item.weight
        return self._shrink()

    def resize(self, most: int) -> None:
        """Hold at most *most* items from now on."""
        self._most = most
        self._shrink()

    def empty(self) -> list[ItemT]:
        """Return the items, and hold none any more."""
        items = list(self._items or ())
        self._items = None
        self._bytes = 0
        return items

    def _shrink(self) -> int:
        lost = 0
        while self._items and (len(self._items) > self._most or self._bytes > self._most_bytes):
            self._bytes -= self._items.popleft().weight
            lost += 1
        return lost


class Follower(Generic[ItemT]):
    """One reader of a `Feed`."""

    def __init__(self) -> None:
        self._waiting: Window[ItemT] = Window(MAX_BEHIND, MAX_BEHIND_BYTES)
        self._lost = 0
        self._some = asyncio.Event()

    def give(self, item: ItemT) -> None:
        """Add *item* for the reader; the oldest is lost where it is too far behind."""
        self._lost += self._waiting.add(item)
        self._some.set()

    async def take(self) -> tuple[int, list[ItemT]]:
        """Wait for items; return how many were lost before them, and them."""
        await self._some.wait()
        self._some.clear()
        lost, self._lost = self._lost, 0
        return lost, self._waiting.empty()


class Feed(Generic[ItemT]):
    """Keeps the last *keep* items, at most *keep_bytes* of them, and passes new ones on."""

    def __init__(self, keep: int, keep_bytes: int = 0) -> None:
        self._last: Window[ItemT] = Window(keep, keep_bytes)
        self._followers: set[Follower[ItemT]] = set()

    def __iter__(self) -> Iterator[ItemT]:
        """Iterate over what is kept, the oldest first."""
        return iter(self._last)

    def publish(self, item: ItemT) -> None:
        """Keep *item* and give it to every follower."""
        self._last.add(item)
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
