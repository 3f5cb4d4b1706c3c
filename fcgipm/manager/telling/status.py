"""What ``GET /v1/status`` answers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fcgipm.codec import to_json
from fcgipm.config.schema import External
from fcgipm.core.events import Instant, Sample
from fcgipm.core.view import AppView, InstanceView
from fcgipm.manager.observing.reach import Reach, addresses_of
from fcgipm.manager.observing.usage import Usage
from fcgipm.manager.state import State
from fcgipm.wire import Upgraded

_SECOND: Final = 1_000_000_000
_OF_INSTANCES: Final = (
    "generation", "processes", "processes_min", "processes_max", "ready", "queue", "queue_limit", "queue_oldest",
    "queue_abandoned", "busy", "load", "restarts", "denied",
    "rollout", "given_up",
)  # fmt: skip
"""What is only known of applications whose instances fcgipm starts."""


def daemon(state: State) -> dict[str, Any]:
    """Return what is to say of the daemon itself."""
    return {
        "version": 1,
        "pid": state.keeper_pid,
        "manager_pid": os.getpid(),
        "uptime": _span(state.now(), state.started_at),
        "program_version": state.version,
        "upgraded": _upgraded(state.upgraded),
    }


def _upgraded(upgraded: Upgraded | None) -> dict[str, Any] | None:
    if upgraded is None:
        return None
    return {
        "count": upgraded.count,
        "time": upgraded.at_unix,
        "before": upgraded.before,
        "instances": upgraded.instances,
        "pause": None if upgraded.pause is None else upgraded.pause / _SECOND,
    }


def managed(
    state: State, views: Iterable[AppView], samples: Mapping[str, Sample], usage: Mapping[int, Usage]
) -> list[dict[str, Any]]:
    """Return the status of each application in *views*."""
    now = state.now()
    return [_managed(state, view, samples.get(view.name), usage, now) for view in views]


def external(definition: External, reach: Mapping[str, Reach]) -> dict[str, Any]:
    """Return the status of an application that is managed elsewhere, in the same shape."""
    found = reach[definition.name]
    return {
        "name": definition.name,
        "kind": "external",
        "state": found.state,
        "address": ", ".join(addresses_of(definition)),
        **dict.fromkeys(_OF_INSTANCES),
        "reason": found.reason or None,
        "next": None,
        "instances": [],
    }


def _managed(
    state: State, view: AppView, sample: Sample | None, usage: Mapping[int, Usage], now: Instant
) -> dict[str, Any]:
    listener = state.listener(view.name)
    definition = state.applications.get(view.name)
    return {
        "name": view.name,
        "kind": "dynamic" if definition is not None and definition.is_dynamic else "static",
        "state": view.state.value,
        "address": None if listener is None else listener.address,
        "generation": view.generation,
        "processes": view.wanted,
        "processes_min": view.least,
        "processes_max": view.most,
        "ready": view.ready,
        **queue_of(sample, now),
        "load": None if view.load is None else round(float(view.load), 3),
        "restarts": view.restarts,
        "denied": view.denied or None,
        "rollout": None if view.rollout is None else to_json(view.rollout),
        "given_up": None if view.given_up is None else to_json(view.given_up),
        "reason": view.reason or None,
        "next": _next(view, now),
        "instances": [_instance(instance, usage, now) for instance in view.instances],
    }


def queue_of(sample: Sample | None, now: Instant) -> dict[str, Any]:
    """Return who is there: in the queue, how long, given up, and with the instances."""
    if sample is None:
        return dict.fromkeys(("queue", "queue_limit", "queue_oldest", "queue_abandoned", "busy"))
    return {
        "queue": sample.queued,
        "queue_limit": sample.limit,
        "queue_oldest": None if sample.oldest_since is None else _span(now, sample.oldest_since),
        "queue_abandoned": sample.abandoned,
        "busy": sample.busy,
    }


def _instance(instance: InstanceView, usage: Mapping[int, Usage], now: Instant) -> dict[str, Any]:
    used = usage.get(instance.pid) if instance.pid is not None else None
    return {
        "instance": instance.instance,
        "pid": instance.pid,
        "state": instance.state,
        "age": None if instance.started_at is None else _span(now, instance.started_at),
        "generation": instance.generation,
        "rss": None if used is None else used.rss,
        "cpu": None if used is None else round(used.cpu, 3),
    }


def _next(view: AppView, now: Instant) -> str | None:
    """Return what happens next and when: ``next start in 4 s``."""
    return None if view.next_at is None else f"next start in {max(0, -(-(view.next_at - now) // _SECOND))} s"


def _span(now: Instant, then: Instant) -> float:
    return round(max(0, now - then) / _SECOND, 3)
