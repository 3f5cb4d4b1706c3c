"""The wire's messages to the core's words, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

from fcgipm import wire
from fcgipm.codec import from_json, to_json
from fcgipm.config.schema import Application, Change
from fcgipm.core import commands, events
from fcgipm.core.events import Instant
from fcgipm.core.view import LiveInstance

T = TypeVar("T")

_REACH = (Change.IN_PLACE, Change.GENERATION, Change.LISTENER, Change.RESTART)
"""From the least to the most far-reaching."""


_EVENTS: Final[Mapping[type[wire.Report], type[events.Event]]] = {
    wire.Spawned: events.Spawned,
    wire.SpawnFailed: events.SpawnFailed,
    wire.BecameReady: events.BecameReady,
    wire.Exited: events.Exited,
    wire.Removed: events.Removed,
    wire.RemovalRefused: events.RemovalRefused,
    wire.PublishFailed: events.PublishFailed,
    wire.SomebodyWaits: events.SomebodyWaits,
    wire.ProgramChanged: events.ProgramChanged,
}
"""Reports and events that have the same fields."""

_ORDERS: Final[Mapping[type[commands.Command], type[wire.Order]]] = {
    commands.Spawn: wire.Spawn,
    commands.Watch: wire.Watch,
    commands.Retire: wire.Retire,
    commands.Publish: wire.Publish,
    commands.Note: wire.Note,
    commands.Shutdown: wire.Shutdown,
}
"""Commands and orders that have the same fields, but for the reason, which is for people."""


def event_of(report: wire.Report) -> events.Event | None:
    """Return the event that *report* is to the core; None where it is none of the core's business."""
    match report:
        case wire.Published():
            listener = report.listener
            return events.Published(app=listener.app, generation=listener.generation, at=Instant(report.at))
        case wire.Signalled(name="TERM"):
            return events.ShutdownRequested()
        case _:
            kind = _EVENTS.get(type(report))
            return None if kind is None else _as(kind, report)


def order_of(command: commands.Command) -> wire.Order | None:
    """Return the order that *command* is to the keeper; None for a `Tell`, which is not for it."""
    kind = _ORDERS.get(type(command))
    return None if kind is None else _as(kind, command)


def living(facts: Iterable[wire.InstanceFact]) -> tuple[LiveInstance, ...]:
    """Return the instances of a snapshot as a new engine takes them."""
    return tuple(_as(LiveInstance, fact) for fact in facts)


def _as(kind: type[T], message: Any) -> T:
    """Return the *kind* that has what it needs from the fields of *message*; both are dataclasses."""
    given = to_json(message)
    names = (field.name for field in dataclasses.fields(kind))  # type: ignore[arg-type]  # T is one
    return from_json(kind, {name: given[name] for name in names if name in given})


def published(facts: Iterable[wire.ListenerFact]) -> dict[str, int]:
    """Return the published generation of each application that has one."""
    return {fact.app: fact.generation for fact in facts if fact.published}


def moved(facts: Iterable[wire.ListenerFact], applications: Mapping[str, Application]) -> set[str]:
    """Return the applications whose published listener is not where their definition has it."""
    return {
        fact.app
        for fact in facts
        if fact.published and fact.app in applications and fact.address != address_of(applications[fact.app])
    }


def address_of(application: Application) -> str:
    """Return where the definition has the public listener, in the words of `wire.ListenerFact`."""
    if application.port is None:
        return f"unix:{application.socket}"
    host = f"[{application.address}]" if ":" in application.address else application.address
    return f"tcp:{host}:{application.port}"


def changes(keys: Iterable[wire.ChangedKey], applications: Mapping[str, Any]) -> dict[str, Change]:
    """Return the most far-reaching change of each of *applications* that an apply changed.

    Those that were added or removed are not among them: that shows in the definitions themselves.
    """
    effects = {change.value: change for change in Change}
    found: dict[str, Change] = {}
    for key in keys:
        effect = effects.get(key.effect)
        if key.app is not None and key.app in applications and effect is not None:
            before = found.get(key.app, effect)
            found[key.app] = max(before, effect, key=_REACH.index)
    return found
