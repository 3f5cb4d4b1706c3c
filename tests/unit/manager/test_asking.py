"""Who waits for an instance: told to the engine once, answered together, and forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from harness.clockwork import Clockwork, on_demand, pass_time, snapshot

from fcgipm.config.schema import SECOND, Application
from fcgipm.core import events
from fcgipm.core.commands import Spawn
from fcgipm.core.events import InstanceId, Readiness
from fcgipm.manager.connectors.answer import Answer, Ending
from fcgipm.manager.connectors.asking import Asker, Asking
from fcgipm.manager.state import State


@dataclass
class Scene:
    """A real engine, and the test in place of everything around it."""

    state: State
    steps: list[events.Event] = field(default_factory=list)
    spawned: list[Spawn] = field(default_factory=list)
    asking: Asking = field(init=False)

    def __post_init__(self) -> None:
        self.asking = Asking(self.state, self.step)
        self.state.engine.step(events.Tick(), self.state.now())

    def step(self, event: events.Event) -> None:
        """Do as the driver does."""
        self.steps.append(event)
        commands = self.state.engine.step(event, self.state.now())
        self.spawned += [command for command in commands if isinstance(command, Spawn)]
        self.asking.after_step()

    def make_ready(self, number: int = 1) -> None:
        """Let an instance that was ordered become ready."""
        now, instance = self.state.now(), InstanceId(number)
        self.step(events.Spawned(instance=instance, pid=100, at=now))
        self.step(events.BecameReady(instance=instance, how=Readiness.ACCEPTING, at=now))

    def ask(self, answers: list[Answer], app: str = "blog") -> Asker:
        """Ask; the answer comes into *answers*."""
        asker = Asker(answers.append)
        self.asking.ask(app, asker)
        return asker


Play = Callable[[Scene], Awaitable[None]]


def play(act: Play, *applications: Application) -> None:
    """Run *act* with a scene that has *applications*."""

    async def main() -> None:
        await act(Scene(State(snapshot(*(applications or (on_demand(),))))))

    with asyncio.Runner(loop_factory=Clockwork) as runner:
        runner.run(main())


def test_the_engine_is_told_once_of_all_who_ask_together() -> None:
    async def act(scene: Scene) -> None:
        answers: list[Answer] = []
        for _ in range(100):
            scene.ask(answers)

        assert [type(step) for step in scene.steps] == [events.Asked]
        assert len(scene.asking) == 100
        scene.make_ready()
        assert [answer.ending for answer in answers] == [Ending.READY] * 100
        assert {answer.address for answer in answers} == {"unix:/blog.sock"}
        assert len(scene.asking) == 0
        assert len(scene.spawned) == 1

    play(act)


def test_it_is_told_again_while_people_go_on_asking_so_that_it_does_not_give_up() -> None:
    async def act(scene: Scene) -> None:
        answers: list[Answer] = []
        for seconds in (1, 6, 1, 1):
            scene.ask(answers)
            await pass_time(seconds)

        assert [type(step) for step in scene.steps] == [events.Asked]
        scene.ask(answers)
        assert [type(step) for step in scene.steps] == [events.Asked] * 2

    play(act, on_demand(start_timeout=36 * SECOND))


def test_who_asks_for_a_ready_application_moves_nothing() -> None:
    async def act(scene: Scene) -> None:
        first: list[Answer] = []
        scene.ask(first)
        scene.make_ready()
        steps = len(scene.steps)
        again: list[Answer] = []
        scene.ask(again)

        assert [answer.ending for answer in first + again] == [Ending.READY] * 2
        assert len(scene.steps) == steps

    play(act)


def test_each_waits_as_long_as_a_start_may_take_from_his_own_question_on() -> None:
    async def act(scene: Scene) -> None:
        answers: list[Answer] = []
        scene.ask(answers)
        await pass_time(10)
        scene.ask(answers)
        await pass_time(19)
        assert answers == []

        await pass_time(1)
        assert [answer.ending for answer in answers] == [Ending.LATE]
        assert answers[0].reason == "no instance of blog was ready within 30 s"
        assert len(scene.asking) == 1

        await pass_time(10)
        assert [answer.ending for answer in answers] == [Ending.LATE] * 2
        assert len(scene.asking) == 0

    play(act)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_who_goes_leaves_the_others_and_their_deadlines(gone: int) -> None:
    async def act(scene: Scene) -> None:
        answers: list[Answer] = []
        askers = [scene.ask(answers) for _ in range(3)]
        scene.asking.forget(askers[gone])
        scene.asking.forget(askers[gone])  # twice does no harm

        assert len(scene.asking) == 2
        scene.make_ready()
        assert len(answers) == 2

    play(act)


def test_when_the_last_one_goes_nothing_is_left() -> None:
    async def act(scene: Scene) -> None:
        answers: list[Answer] = []
        for asker in [scene.ask(answers) for _ in range(3)]:
            scene.asking.forget(asker)

        assert len(scene.asking) == 0
        scene.make_ready()
        await pass_time(60)
        assert answers == []

    play(act)


def test_other_applications_wait_on() -> None:
    async def act(scene: Scene) -> None:
        blog: list[Answer] = []
        shop: list[Answer] = []
        scene.ask(blog)
        scene.ask(shop, "shop")
        scene.make_ready(1)

        assert (len(blog), len(shop)) == (1, 0)
        scene.make_ready(2)
        assert [answer.app for answer in shop] == ["shop"]

    play(act, on_demand(), on_demand("shop"))


def test_what_the_engine_does_not_know_is_unknown_also_to_who_waits() -> None:
    async def act(scene: Scene) -> None:
        answers: list[Answer] = []
        scene.ask(answers, "nobody")
        assert [answer.ending for answer in answers] == [Ending.UNKNOWN]
        scene.ask(answers)
        scene.step(events.ConfigurationApplied(applications={}, changes={}))
        scene.step(events.SpawnFailed(instance=InstanceId(1), step="exec", error="gone", at=scene.state.now()))
        scene.step(events.Published(app="blog", generation=0, at=scene.state.now()))

        assert answers[-1].ending in (Ending.UNKNOWN, Ending.REFUSED)
        assert len(scene.asking) == 0

    play(act)
