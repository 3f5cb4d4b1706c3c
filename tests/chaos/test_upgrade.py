"""fcgipm becomes the program that is installed by now: nobody notices."""

from __future__ import annotations

from collections.abc import Callable

from chaos.conftest import Record, Rounds
from chaos.scene import Scene


def test_an_upgrade_is_not_noticed(scene: Callable[..., Scene], rounds: Rounds, record: Record) -> None:
    stage = scene("threaded")
    before, keeper = stage.pids(), stage.daemon.pid
    with stage.crowd() as (crowd, _):
        for _ in rounds(2, 50):
            stage.ctl("upgrade")
            assert stage.daemon.process.poll() is None
            assert stage.daemon.status()["pid"] == keeper
            stage.settle()
            assert stage.pids() == before
    record("upgrade", "fcgipm", "threaded", rounds.done, crowd)
    assert crowd.failures == []
