"""The keeper is killed and started again: it finds its instances, in whatever it was interrupted."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, Final

import pytest
from chaos.conftest import Record, Rounds
from chaos.kinds import KINDS
from chaos.scene import Scene, altered
from harness.waiting import until

StartScene = Callable[..., Scene]


@pytest.mark.parametrize("kind", ["libfcgi", "php-children"])
def test_instances_serve_on_and_are_found_again(scene: StartScene, rounds: Rounds, record: Record, kind: str) -> None:
    assert kind in KINDS
    stage = scene(kind)
    before = stage.pids()
    with stage.crowd() as (crowd, _):
        for _ in rounds(1, 50):
            stage.daemon.kill()
            crowd.more(10)
            assert stage.pids() == before
            stage.start_again()
            stage.settle()
            assert stage.pids() == before
            crowd.more(10)
    record("kill -9 of the keeper, then start", "fcgipm", kind, rounds.done, crowd)
    assert crowd.failures == []


ORDERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "reload": ("/v1/reload", {"apps": ["app"], "wait": False}),
    "scale-down": ("/v1/scale", {"apps": ["app"], "processes": "1", "wait": False}),
    "spawn": ("/v1/scale", {"apps": ["app"], "processes": "6", "wait": False}),
}


@pytest.mark.parametrize("order", ORDERS)
def test_killed_in_the_middle_of_something(scene: StartScene, rounds: Rounds, record: Record, order: str) -> None:
    stage, chance = scene("mortal"), random.Random(4)
    path, body = ORDERS[order]
    with stage.crowd() as (crowd, _):
        begun = time.monotonic()
        stage.daemon.http("POST", path, {**body, "wait": True}, timeout=60)
        time_of_one = time.monotonic() - begun
        stage.ctl("scale", "app", "auto")
        for _ in rounds(2, 34):
            stage.define()
            stage.daemon.http("POST", path, body)
            moment = time.monotonic() + chance.uniform(0, time_of_one)
            until(lambda: time.monotonic() >= moment, what="some moment of it")  # noqa: B023
            stage.daemon.kill()
            crowd.more(5)
            stage.start_again()
            until(stage.daemon.running, within=30, what="it runs")
            stage.ctl("scale", "app", "auto")
            stage.settle()
    record(f"kill -9 of the keeper in the middle of a {order}", "fcgipm", "mortal", rounds.done, crowd)
    assert crowd.failures == []


def test_killed_while_somebody_is_frozen(scene: StartScene, rounds: Rounds, record: Record) -> None:
    """A look before a kill takes a millisecond; here it takes long enough to be met."""
    stage = scene("threaded", program=altered("slow"))
    with stage.crowd(pause=0.02) as (crowd, _):
        for _ in rounds(1, 20):
            stage.daemon.http("POST", *ORDERS["scale-down"])
            until(stage.frozen, within=30, what="somebody stands still")
            stage.daemon.kill()
            assert stage.frozen()
            stage.start_again()
            until(lambda: not stage.frozen(), what="they go on")
            stage.ctl("scale", "app", "auto")
            stage.settle()
    record("kill -9 of the keeper while an instance is frozen", "fcgipm", "threaded", rounds.done, crowd)
    assert crowd.failures == []
