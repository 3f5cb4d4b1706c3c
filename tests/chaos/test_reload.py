"""A deploy under load: nobody notices, old code serves nobody after the switch, and a bad version serves nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from chaos.conftest import FULL, Record, Rounds
from chaos.kinds import KINDS
from chaos.scene import Scene, altered

StartScene = Callable[..., Scene]
IDLE_NOW_AND_THEN: Final = 0.15
"""Seconds that visitors of a TCP application pause, so that its instances are idle for a part of the time."""


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_saturated_unix_application(scene: StartScene, rounds: Rounds, record: Record, kind: str) -> None:
    stage = scene(kind)
    with stage.crowd() as (crowd, _):
        for _ in rounds(2, 200):
            stage.saturate()
            before = stage.pids()
            version = stage.define()
            stage.ctl("reload", "app")
            crowd.more(5)
            crowd.meet(version, within=10)
            assert not set(before) & set(stage.daemon.instances("app"))
        stage.settle()
    record("reload", "fcgipm", kind, rounds.done, crowd)
    assert crowd.failures == []
    assert crowd.seen().stale == 0, "who came after the switch met the code of before"


@pytest.mark.parametrize("kind", ["mortal", "threaded", "php"] if FULL else ["mortal"])
def test_of_a_tcp_application(scene: StartScene, rounds: Rounds, record: Record, kind: str) -> None:
    stage = scene(kind, tcp=True)
    with stage.crowd(pause=IDLE_NOW_AND_THEN) as (crowd, _):
        for _ in rounds(2, 200):
            before = stage.pids()
            stage.define()
            stage.ctl("reload", "app")
            stage.settle()
            assert not set(before) & set(stage.pids())
        crowd.meet(stage.version)
    record("reload, TCP", "fcgipm", kind, rounds.done, crowd)
    assert crowd.failures == []


PROBE: Final = {"uri": "/ping", "timeout": "5s"}
BROKEN: Final[dict[str, dict[str, Any]]] = {
    "cannot be executed": {},  # its command is a file of the test's
    "dies at its start": {"command": ["/bin/false"]},
    "is never ready": {"command": ["/bin/sleep", "1000"], "ready-timeout": "60s", "start-timeout": "300ms"},
    "answers its probe with 500": {"environment": {"STATUS": "500 Broken"}},
}


def test_to_versions_that_are_broken(scene: StartScene, rounds: Rounds, record: Record) -> None:
    stage = scene("mortal", probe=PROBE)
    before = stage.pids()
    torn = stage.place / "torn"
    torn.write_text("#!/no/such/interpreter\n")
    torn.chmod(0o755)
    with stage.crowd() as (crowd, _):
        for _ in rounds(1, 50):
            for how, changes in BROKEN.items():
                stage.define(**({"command": [str(torn)]} if how == "cannot be executed" else changes))
                stage.ctl("reload", "app", code=1)
                assert set(before) <= set(stage.pids())
                crowd.more(5)
        stage.settle()
    record("reload to a broken version", "fcgipm", "mortal", rounds.done * len(BROKEN), crowd)
    assert crowd.failures == []
    assert crowd.seen().version == 1, "somebody met a version that is broken"
    assert stage.pids() == before


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
def test_the_same_loses_requests_where_nobody_looks_before_a_kill(
    scene: StartScene, record: Record, *, tcp: bool
) -> None:
    stage, reloads = scene("mortal", tcp=tcp, program=altered("blind")), 0
    with stage.crowd(pause=IDLE_NOW_AND_THEN if tcp else 0) as (crowd, _):
        while not crowd.seen().broken and reloads < 30:
            reloads += 1
            stage.define()
            stage.ctl("reload", "app")
            crowd.more(5)
    record("reload, TCP" if tcp else "reload", "blind", "mortal", reloads, crowd)
    assert crowd.seen().refused + crowd.seen().broken > 0
