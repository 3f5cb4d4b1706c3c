from __future__ import annotations

import asyncio

from fcgipm.manager.feed import MAX_BEHIND, Change, Feed


def test_only_the_last_items_are_kept() -> None:
    feed: Feed[int] = Feed(3)
    for number in range(5):
        feed.publish(number)

    assert list(feed) == [2, 3, 4]


def test_a_follower_gets_what_comes_while_it_is_there() -> None:
    async def follow() -> None:
        feed: Feed[int] = Feed(0)
        feed.publish(1)
        with feed.follow() as follower:
            feed.publish(2)
            feed.publish(3)
            assert await follower.take() == (0, [2, 3])
            feed.publish(4)
            assert await follower.take() == (0, [4])

    asyncio.run(follow())


def test_who_is_too_far_behind_loses_the_oldest_and_is_told() -> None:
    async def follow() -> None:
        feed: Feed[int] = Feed(0)
        with feed.follow() as slow:
            for number in range(MAX_BEHIND + 7):
                feed.publish(number)
            lost, items = await slow.take()
        assert lost == 7
        assert items == list(range(7, MAX_BEHIND + 7))

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
