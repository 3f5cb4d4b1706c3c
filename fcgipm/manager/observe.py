"""Looking, when somebody asks, at what waits in the kernel's queues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from fcgipm import wire
from fcgipm.linux.sock_diag import Diag, Endpoint, Queue, endpoint_named
from fcgipm.manager.metrics import Traffic
from fcgipm.manager.state import State

_Facts: TypeAlias = Mapping[Endpoint, wire.ListenerFact]


def traffic(state: State) -> dict[str, Traffic]:
    """Return what the kernel says now about the listeners of every application that has one."""
    facts = {endpoint_named(fact.bound): fact for fact in state.listeners}
    try:
        with Diag() as diag:
            queues, busy = diag.queues(facts), diag.busy(facts)
    except OSError:
        return {}
    own: dict[str, list[Endpoint]] = {}
    for endpoint, fact in facts.items():
        own.setdefault(fact.app, []).append(endpoint)
    return {name: _sum(own.get(name, []), facts, queues, busy) for name in state.applications}


def _sum(own: list[Endpoint], facts: _Facts, queues: Mapping[Endpoint, Queue], busy: Mapping[Endpoint, int]) -> Traffic:
    """Return the queue of the public one of an application's *own* listeners, and the connections of all of them."""
    public = max(own, key=lambda endpoint: (facts[endpoint].published, facts[endpoint].generation), default=None)
    queue = queues.get(public) if public is not None else None
    return Traffic(
        waiting=None if queue is None else queue.waiting,
        limit=None if queue is None else queue.limit,
        busy=sum(busy.get(endpoint, 0) for endpoint in own) if own else None,
    )
