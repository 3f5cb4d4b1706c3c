from __future__ import annotations

from typing import get_args

import pytest

from fcgipm import wire
from fcgipm.config.schema import Change
from fcgipm.core import commands, events
from fcgipm.core.events import InstanceId, Instant
from fcgipm.manager.translate import changes, event_of, order_of, published

NOT_THE_CORES = {
    "Snapshot", "Handed", "Begun", "Signalled", "Applied", "Denied", "Drained", "Told", "Opened", "OpenFailed",
    "Unseen", "Connected", "ConnectFailed", "UpgradeFailed",
}  # fmt: skip
AT = Instant(5)
ONE = InstanceId(1)
LISTENER = wire.ListenerFact(app="a", generation=2, address="unix:/a", bound="/p/a.2", published=True)

PAIRS = [
    (wire.Spawned(instance=1, pid=7, at=5), events.Spawned(instance=ONE, pid=7, at=AT)),
    (
        wire.SpawnFailed(instance=1, step="exec", error="no", at=5),
        events.SpawnFailed(instance=ONE, step="exec", error="no", at=AT),
    ),
    (
        wire.BecameReady(instance=1, how="serving", at=5),
        events.BecameReady(instance=ONE, how=events.Readiness.SERVING, at=AT),
    ),
    (
        wire.Exited(instance=1, code=None, signal=9, dumped=True, at=5),
        events.Exited(instance=ONE, code=None, signal=9, dumped=True, at=AT),
    ),
    (
        wire.Removed(instance=1, how="cut", connections=3, at=5),
        events.Removed(instance=ONE, how=events.Removal.CUT, connections=3, at=AT),
    ),
    (
        wire.RemovalRefused(instance=1, why="lock", at=5),
        events.RemovalRefused(instance=ONE, why=events.Refusal.LOCK, at=AT),
    ),
    (wire.Published(listener=LISTENER, at=5), events.Published(app="a", generation=2, at=AT)),
    (
        wire.PublishFailed(app="a", generation=2, error="no"),
        events.PublishFailed(app="a", generation=2, error="no"),
    ),
    (wire.SomebodyWaits(app="a", generation=2), events.SomebodyWaits(app="a", generation=2)),
    (wire.ProgramChanged(app="a"), events.ProgramChanged(app="a")),
    (wire.Signalled(name="TERM"), events.ShutdownRequested()),
    (wire.Signalled(name="HUP"), None),
    (wire.Begun(), None),
]


@pytest.mark.parametrize(("report", "event"), PAIRS, ids=lambda value: type(value).__name__)
def test_reports_are_events(report: wire.Report, event: events.Event | None) -> None:
    assert event_of(report) == event


def test_every_report_is_translated_or_none_of_the_cores_business() -> None:
    translated = {type(report).__name__ for report, event in PAIRS if event is not None}

    assert {kind.__name__ for kind in get_args(wire.Report)} == translated | NOT_THE_CORES


@pytest.mark.parametrize(
    ("command", "order"),
    [
        (
            commands.Spawn(app="a", generation=2, instance=ONE, why="w"),
            wire.Spawn(app="a", generation=2, instance=1),
        ),
        (commands.Retire(instance=ONE, cut=True, why="w"), wire.Retire(instance=1, cut=True)),
        (commands.Publish(app="a", generation=2, why="w"), wire.Publish(app="a", generation=2)),
        (commands.Note(app="a", text="{}"), wire.Note(app="a", text="{}")),
        (commands.Shutdown(status=1, finished=True, why="w"), wire.Shutdown(status=1, finished=True)),
        (
            commands.Tell(severity=commands.Severity.INFO, topic=commands.Topic.SHUTDOWN, app=None, text="t"),
            None,
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_commands_are_orders(command: commands.Command, order: wire.Order | None) -> None:
    assert order_of(command) == order


def key(app: str | None, effect: str) -> wire.ChangedKey:
    return wire.ChangedKey(app=app, key="k", effect=effect)


def test_the_most_far_reaching_change_of_an_application_counts() -> None:
    keys = [
        key("a", "in place"), key("a", "new generation"), key("a", "in place"), key("b", "in place"),
        key("c", "added"), key("gone", "removed"), key(None, "needs a restart of fcgipm"),
    ]  # fmt: skip

    assert changes(keys, {"a": 1, "b": 1, "c": 1}) == {"a": Change.GENERATION, "b": Change.IN_PLACE}


def test_only_public_listeners_are_published() -> None:
    hidden = wire.ListenerFact(app="a", generation=3, address="unix:/a", bound="/p/a.3", published=False)

    assert published([LISTENER, hidden]) == {"a": 2}
