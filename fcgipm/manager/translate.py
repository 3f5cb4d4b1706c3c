"""The wire's messages to the core's words, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fcgipm import wire
from fcgipm.codec import from_json
from fcgipm.config.schema import Application, Change
from fcgipm.core import commands, events
from fcgipm.core.events import InstanceId, Instant
from fcgipm.core.view import LiveInstance

_REACH = (Change.IN_PLACE, Change.GENERATION, Change.LISTENER, Change.RESTART)
"""From the least to the most far-reaching."""


def event_of(report: wire.Report) -> events.Event | None:
    """Return the event that *report* is to the core; None where it is none of the core's business."""
    match report:
        case wire.Spawned():
            return events.Spawned(instance=InstanceId(report.instance), pid=report.pid, at=Instant(report.at))
        case wire.SpawnFailed():
            return events.SpawnFailed(
                instance=InstanceId(report.instance), step=report.step, error=report.error, at=Instant(report.at)
            )
        case wire.Published():
            listener = report.listener
            return events.Published(app=listener.app, generation=listener.generation, at=Instant(report.at))
        case wire.PublishFailed():
            return events.PublishFailed(app=report.app, generation=report.generation, error=report.error)
        case wire.SomebodyWaits():
            return events.SomebodyWaits(app=report.app, generation=report.generation)
        case wire.ProgramChanged():
            return events.ProgramChanged(app=report.app)
        case wire.Signalled(name="TERM"):
            return events.ShutdownRequested()
        case _:
            return _instance_event_of(report)


def _instance_event_of(report: wire.Report) -> events.Event | None:
    match report:
        case wire.BecameReady():
            how = events.Readiness(report.how)
            return events.BecameReady(instance=InstanceId(report.instance), how=how, at=Instant(report.at))
        case wire.Exited():
            return events.Exited(
                instance=InstanceId(report.instance),
                code=report.code,
                signal=report.signal,
                dumped=report.dumped,
                at=Instant(report.at),
            )
        case wire.Removed():
            return events.Removed(
                instance=InstanceId(report.instance),
                how=events.Removal(report.how),
                connections=report.connections,
                at=Instant(report.at),
            )
        case wire.RemovalRefused():
            why = events.Refusal(report.why)
            return events.RemovalRefused(instance=InstanceId(report.instance), why=why, at=Instant(report.at))
        case _:
            return None


def order_of(command: commands.Command) -> wire.Order | None:
    """Return the order that *command* is to the keeper; None for a `Tell`, which is not for it."""
    match command:
        case commands.Spawn():
            return wire.Spawn(instance=command.instance, app=command.app, generation=command.generation)
        case commands.Retire():
            return wire.Retire(instance=command.instance, cut=command.cut)
        case commands.Publish():
            return wire.Publish(app=command.app, generation=command.generation)
        case commands.Note():
            return wire.Note(app=command.app, text=command.text)
        case commands.Shutdown():
            return wire.Shutdown(status=command.status, finished=command.finished)
        case commands.Tell():
            return None


def living(facts: Iterable[wire.InstanceFact]) -> tuple[LiveInstance, ...]:
    """Return the instances of a snapshot as a new engine takes them."""
    return tuple(
        LiveInstance(
            instance=InstanceId(fact.instance),
            app=fact.app,
            generation=fact.generation,
            pid=fact.pid,
            started_at=Instant(fact.started_at),
            ready_at=None if fact.ready_at is None else Instant(fact.ready_at),
            asked=fact.asked,
            outdated=fact.outdated,
        )
        for fact in facts
    )


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


def defined(items: Iterable[Mapping[str, Any]]) -> dict[str, Application]:
    """Return the applications of `Definitions` by name, in the order of the file; raise `CodecError`."""
    read = [from_json(Application, dict(item)) for item in items]
    return {application.name: application for application in read}
