"""The service is restarted while visitors come: where systemd keeps the sockets they wait, else they are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chaos.conftest import Record, Rounds
from chaos.scene import Scene
from harness.daemon import Daemon
from harness.systemd import Systemd


@pytest.fixture
def systemd(start_daemon: Callable[..., Daemon], place: Path) -> Iterator[Systemd]:
    """Give somebody in systemd's place, who keeps descriptors."""
    manager = Systemd(place, start_daemon)
    yield manager
    manager.close()


@pytest.mark.parametrize("kind", ["mortal", "php"])
def test_visitors_wait_while_the_service_is_restarted(
    systemd: Systemd, scene: Callable[..., Scene], rounds: Rounds, record: Record, kind: str
) -> None:
    stage = scene(kind, start_daemon=systemd.start)
    before = stage.pids()
    with stage.crowd() as (crowd, _):
        for _ in rounds(1, 20):
            assert stage.stop() == 0
            stage.start_again()
            stage.settle()
            crowd.more(10)
    record("restart of the service, with a descriptor store", "fcgipm", kind, rounds.done, crowd)
    assert crowd.failures == []
    assert not set(before) & set(stage.pids())


def test_without_a_store_they_are_refused(scene: Callable[..., Scene], record: Record) -> None:
    stage = scene()
    with stage.crowd() as (crowd, _):
        assert stage.stop() == 0
        stage.start_again()
        stage.settle()
        crowd.more(10)
    record("restart of the service, without a store", "fcgipm", "mortal", 1, crowd)
    assert crowd.seen().refused > 0
