"""What ``GET /v1/explain`` answers."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from fcgipm.config.schema import External
from fcgipm.core.events import Instant, Sample
from fcgipm.core.view import Decision, Explanation
from fcgipm.manager.observing.reach import Reach, addresses_of
from fcgipm.manager.telling.status import queue_of

_SECOND: Final = 1_000_000_000
_OF_INSTANCES: Final = (
    "policy", "next_start", "next_removal", "processes", "processes_min", "processes_max", "ready", "starting", "queue",
    "queue_limit", "queue_oldest", "queue_abandoned", "busy", "start_delay", "load", "load_left", "threshold", "in_all",
    "in_all_max", "denied",
)  # fmt: skip
"""What is only known of applications whose instances fcgipm starts."""


def explained(
    found: Explanation, sample: Sample | None, *, kind: str, now: Instant, wall: float
) -> dict[str, Any]:  # fmt: skip
    """Return *found* for people and programs; *wall* is the time of day at the instant *now*."""
    view, weighing = found.view, found.weighing
    return {
        "version": 1,
        "time": round(wall, 3),
        "name": view.name,
        "kind": kind,
        "state": view.state.value,
        "policy": found.policy,
        "summary": found.summary,
        "next_start": found.next_start or None,
        "next_removal": found.next_removal or None,
        "processes": view.wanted,
        "processes_min": view.least,
        "processes_max": view.most,
        "ready": view.ready,
        "starting": weighing.starting,
        **queue_of(sample, now),
        "start_delay": None if weighing.start_delay is None else weighing.start_delay / _SECOND,
        "load": _ratio(view.load),
        "load_left": _ratio(weighing.load_left),
        "threshold": _ratio(weighing.threshold),
        "in_all": weighing.in_all,
        "in_all_max": weighing.in_all_at_most,
        "denied": view.denied or None,
        "decisions": [_decision(decision, now, wall) for decision in found.decisions],
        "plans": [
            {"in": round((at - now) / _SECOND, 3), "time": _wall(at, now, wall), "text": text}
            for at, text in found.plans
        ],
    }


def external(definition: External, reach: Mapping[str, Reach], *, wall: float) -> dict[str, Any]:
    """Return why there is nothing to explain, in the same shape."""
    found = reach[definition.name]
    where = f": {found.reason}" if found.reason else f" at {', '.join(addresses_of(definition))}"
    return {
        "version": 1,
        "time": round(wall, 3),
        "name": definition.name,
        "kind": "external",
        "state": found.state,
        "summary": f"{found.state}{where}; managed elsewhere, fcgipm starts and removes nothing of it",
        **dict.fromkeys(_OF_INSTANCES),
        "decisions": [],
        "plans": [],
    }


def _decision(decision: Decision, now: Instant, wall: float) -> dict[str, Any]:
    return {
        "time": _wall(decision.at, now, wall),
        "since": _wall(decision.since, now, wall),
        "times": decision.times,
        "action": decision.action,
        "rule": decision.rule,
        "text": decision.text,
        "inputs": dict(decision.inputs),
    }


def _wall(at: Instant, now: Instant, wall: float) -> float:
    return round(wall + (at - now) / _SECOND, 3)


def _ratio(value: Fraction | None) -> float | None:
    return None if value is None else round(float(value), 4)
