"""restart and scale: who is removed serves nobody, and who comes meanwhile finds somebody."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from chaos.conftest import Record, Rounds
from chaos.kinds import KINDS
from chaos.scene import Scene, altered

StartScene = Callable[..., Scene]


@pytest.mark.parametrize("kind", KINDS)
def test_restart_of_a_saturated_application(scene: StartScene, rounds: Rounds, record: Record, kind: str) -> None:
    stage = scene(kind)
    with stage.crowd() as (crowd, _):
        for _ in rounds(1, 50):
            stage.saturate()
            before = stage.pids()
            stage.ctl("restart", "app")
            crowd.more(10)
            stage.settle()
            assert not set(before) & set(stage.pids())
    record("restart", "fcgipm", kind, rounds.done, crowd)
    assert crowd.failures == []


def test_scaling_and_stopping_at_random(scene: StartScene, rounds: Rounds, record: Record) -> None:
    stage, chance = scene("mortal"), random.Random(4)
    with stage.crowd() as (crowd, _):
        for _ in rounds(5, 1000):
            if chance.random() < 0.2:
                stage.ctl("stop", "app")
                assert stage.pids() == []
                stage.ctl("start", "app")
            else:
                stage.processes = chance.randint(1, 5)
                stage.ctl("scale", "app", str(stage.processes))
            crowd.more(5)
        stage.settle()
    record("scale, stop and start", "fcgipm", "mortal", rounds.done, crowd)
    assert crowd.failures == []


def test_stop_and_start_between_bursts(scene: StartScene, rounds: Rounds, record: Record) -> None:
    stage = scene("mortal")
    for _ in rounds(2, 100):
        with stage.crowd() as (crowd, _):
            crowd.more(50)
        assert crowd.failures == []
        stage.ctl("stop", "app")
        assert stage.pids() == []
        stage.ctl("start", "app")
        record("stop and start between bursts", "fcgipm", "mortal", 1, crowd)


@pytest.mark.parametrize(("kind", "order"), [("deaf", "restart"), ("php", "scale")])
def test_the_same_loses_requests_where_nobody_looks_before_a_kill(
    scene: StartScene, record: Record, kind: str, order: str
) -> None:
    stage, orders = scene(kind, program=altered("blind")), 0
    with stage.crowd() as (crowd, _):
        while not crowd.seen().broken and orders < 30:
            orders += 1
            if order == "restart":
                stage.ctl("restart", "app")
            else:
                stage.ctl("scale", "app", str(1 + orders % 2))
            crowd.more(5)
    record(order, "blind", kind, orders, crowd)
    assert crowd.seen().failed > 0
