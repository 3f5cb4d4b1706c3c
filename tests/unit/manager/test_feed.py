"""What is kept and passed on is bounded in number and in bytes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fcgipm.manager.telling.feed import MAX_BEHIND, MAX_BEHIND_BYTES, Change, Feed, Window


@dataclass(frozen=True)
class Item:
    number: int
    weight: int = 1


def numbers(items: list[Item] | Feed[Item] | Window[Item]) -> list[int]:
    return [item.number for item in items]


def test_only_the_last_items_are_kept() -> None:
    feed: Feed[Item] = Feed(3, 100)
    for number in range(5):
        feed.publish(Item(number))

    assert numbers(feed) == [2, 3, 4]


def test_only_so_many_bytes_are_kept() -> None:
    feed: Feed[Item] = Feed(100, 10)
    for number in range(5):
        feed.publish(Item(number, weight=4))
    assert numbers(feed) == [3, 4]

    feed.publish(Item(5, weight=11))
    assert numbers(feed) == []


def test_a_window_can_become_smaller_and_empty() -> None:
    window: Window[Item] = Window(5, 100)
    assert [window.add(Item(number, weight=20)) for number in range(6)] == [0, 0, 0, 0, 0, 1]
    window.resize(2)
    assert numbers(window) == [4, 5]

    assert numbers(window.empty()) == [4, 5]
    assert window.add(Item(7, weight=100)) == 0
    assert numbers(window) == [7]


def test_a_follower_gets_what_comes_while_it_is_there() -> None:
    async def follow() -> None:
        feed: Feed[Item] = Feed(0)
        feed.publish(Item(1))
        with feed.follow() as follower:
            feed.publish(Item(2))
            feed.publish(Item(3))
            assert await follower.take() == (0, [Item(2), Item(3)])
            feed.publish(Item(4))
            assert await follower.take() == (0, [Item(4)])

    asyncio.run(follow())


def test_who_is_too_far_behind_loses_the_oldest_and_is_told() -> None:
    async def follow() -> None:
        feed: Feed[Item] = Feed(0)
        with feed.follow() as slow:
            for number in range(MAX_BEHIND + 7):
                feed.publish(Item(number))
            lost, items = await slow.take()
        assert lost == 7
        assert numbers(items) == list(range(7, MAX_BEHIND + 7))

    asyncio.run(follow())


def test_long_items_fill_a_follower_sooner() -> None:
    async def follow() -> None:
        feed: Feed[Item] = Feed(0)
        with feed.follow() as slow:
            for number in range(6):
                feed.publish(Item(number, weight=MAX_BEHIND_BYTES // 4))
            lost, items = await slow.take()
        assert (lost, numbers(items)) == (2, [2, 3, 4, 5])

    asyncio.run(follow())


def test_everybody_who_waits_hears_of_a_change_once() -> None:
    async def wait() -> None:
        change = Change()
        waiters = [asyncio.ensure_future(change.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        waiters[0].cancel()
        await asyncio.sleep(0)
        change.notify()
        await asyncio.gather(*waiters[1:])
        late = asyncio.ensure_future(change.wait())
        await asyncio.sleep(0)
        assert not late.done()
        late.cancel()

    asyncio.run(wait())
