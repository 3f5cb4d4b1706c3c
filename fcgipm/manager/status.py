"""What ``GET /v1/status`` answers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fcgipm.config.schema import External
from fcgipm.core.events import Instant
from fcgipm.core.view import AppView, InstanceView
from fcgipm.manager.metrics import Traffic
from fcgipm.manager.reach import Reach, addresses_of
from fcgipm.manager.state import State
from fcgipm.manager.usage import Usage

_SECOND: Final = 1_000_000_000
_UNKNOWN: Final = Traffic(waiting=None, limit=None, busy=None)


def daemon(state: State) -> dict[str, Any]:
    """Return what is to say of the daemon itself."""
    return {
        "version": 1,
        "pid": state.keeper_pid,
        "manager_pid": os.getpid(),
        "uptime": _span(state.now(), state.started_at),
    }


def statics(
    state: State, views: Iterable[AppView], traffic: Mapping[str, Traffic], usage: Mapping[int, Usage]
) -> list[dict[str, Any]]:
    """Return the status of each application in *views*."""
    now = state.now()
    return [_static(state, view, traffic.get(view.name, _UNKNOWN), usage, now) for view in views]


def external(definition: External, reach: Mapping[str, Reach]) -> dict[str, Any]:
    """Return the status of an application that is managed elsewhere, in the same shape."""
    found = reach[definition.name]
    unknown = ("generation", "processes", "ready", "queue", "queue_limit", "busy", "restarts")
    return {
        "name": definition.name,
        "kind": "external",
        "state": found.state,
        "address": ", ".join(addresses_of(definition)),
        **dict.fromkeys(unknown),
        "reason": found.reason or None,
        "next": None,
        "instances": [],
    }


def _static(state: State, view: AppView, traffic: Traffic, usage: Mapping[int, Usage], now: Instant) -> dict[str, Any]:
    listener = state.listener(view.name)
    return {
        "name": view.name,
        "kind": "static",
        "state": view.state.value,
        "address": None if listener is None else listener.address,
        "generation": view.generation,
        "processes": view.wanted,
        "ready": view.ready,
        "queue": traffic.waiting,
        "queue_limit": traffic.limit,
        "busy": traffic.busy,
        "restarts": view.restarts,
        "reason": view.reason or None,
        "next": _next(view, now),
        "instances": [_instance(instance, usage, now) for instance in view.instances],
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
