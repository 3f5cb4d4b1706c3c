"""Who is asked about visitors that the kernel does not show, and how long an answer holds; time is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from fcgipm.config.schema import MILLISECOND, SECOND
from fcgipm.core.events import Instant
from fcgipm.manager.observing.strangers import Strangers


class Scene:
    """An asker, and whom it has asked about."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.asked: list[str] = []
        self.strangers = Strangers(self.asked.append)

    def new(self) -> list[str]:
        """Return whom was asked about since the last time."""
        asked, self.asked[:] = list(self.asked), []
        return asked

    def wonder(self, *apps: str, at: int = 0) -> list[str]:
        self.runner.run(self.strangers.wonder(apps, Instant(at), within=0.001))
        return self.new()


@pytest.fixture
def scene() -> Iterator[Scene]:
    with asyncio.Runner() as runner:
        yield Scene(runner)


def test_nobody_is_asked_about_applications_without_strangers(scene: Scene) -> None:
    scene.strangers.ask(["blog", "shop"], Instant(0))
    assert scene.new() == []


def test_after_a_stranger_was_seen_waiting_the_keeper_is_asked_once_a_second(scene: Scene) -> None:
    scene.strangers.suspect("blog", Instant(0))
    asked = {}
    for at in range(0, 2_100, 100):
        scene.strangers.ask(["blog", "shop"], Instant(at * MILLISECOND))
        asked[at] = scene.new()
    assert {at: names for at, names in asked.items() if names} == {0: ["blog"], 900: ["blog"], 1_800: ["blog"]}


def test_an_answer_holds_for_some_seconds(scene: Scene) -> None:
    scene.strangers.answer("blog", (7, 8), Instant(0))
    assert scene.strangers.served("blog", Instant(3 * SECOND)) == {7, 8}
    assert scene.strangers.served("blog", Instant(3 * SECOND + 1)) == frozenset()
    assert scene.strangers.served("shop", Instant(0)) == frozenset()


def test_strangers_are_reckoned_with_for_ten_minutes_after_the_last_one(scene: Scene) -> None:
    scene.strangers.suspect("blog", Instant(0))
    scene.strangers.answer("blog", (7,), Instant(100 * SECOND))
    scene.strangers.answer("blog", (), Instant(200 * SECOND))
    scene.strangers.ask(["blog"], Instant(700 * SECOND))
    assert scene.new() == ["blog"]
    scene.strangers.ask(["blog"], Instant(702 * SECOND))
    assert scene.new() == []


def test_who_wants_to_know_has_some_asked_about_though_nothing_speaks_for_it(scene: Scene) -> None:
    names = [str(number) for number in range(50)]
    assert scene.wonder(*names) == names[:20]
    assert scene.wonder(*names, at=1) == names[20:40]
    assert scene.wonder(*names, at=2) == names[40:]
    assert scene.wonder(*names, at=3) == []
    assert scene.wonder("0", at=10 * SECOND) == ["0"]


def test_who_wants_to_know_waits_for_the_answer_and_no_longer(scene: Scene) -> None:
    async def learn() -> frozenset[int]:
        loop = asyncio.get_running_loop()
        loop.call_soon(scene.strangers.answer, "blog", (7,), Instant(1))
        begun = loop.time()
        await scene.strangers.wonder(["blog"], Instant(0), within=30)
        assert loop.time() - begun < 10, "nobody waits when the answer is there"
        return scene.strangers.served("blog", Instant(2))

    assert scene.runner.run(learn()) == {7}
    assert scene.new() == ["blog"]
    assert scene.wonder("blog", "shop", at=SECOND) == ["blog", "shop"], (
        "this one is not answered, and it ends all the same"
    )


def test_what_nobody_asks_about_any_more_is_forgotten(scene: Scene) -> None:
    assert scene.wonder("blog") == ["blog"]
    scene.strangers.answer("blog", (7,), Instant(1))
    assert scene.wonder(at=601 * SECOND) == []
    assert scene.strangers.served("blog", Instant(2)) == frozenset()
