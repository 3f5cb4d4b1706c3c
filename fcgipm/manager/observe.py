"""Looking, when somebody asks: what waits in the kernel's queues, and whether external applications can be reached."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from fcgipm import wire
from fcgipm.config.schema import External
from fcgipm.linux.sock_diag import Diag, Endpoint, Queue, endpoint_named
from fcgipm.manager.metrics import Traffic
from fcgipm.manager.state import State

_Facts: TypeAlias = Mapping[Endpoint, wire.ListenerFact]
_PATIENCE: Final = 1.0
"""Seconds that an external application has to take a connection."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Whether an external application can be reached: *state* is ``reachable``, ``unreachable`` or ``unknown``."""

    state: str
    reason: str


def traffic(state: State) -> dict[str, Traffic]:
    """Return what the kernel says now about the listeners of every application that has one."""
    facts = {endpoint_named(fact.bound): fact for fact in state.listeners.values()}
    try:
        with Diag() as diag:
            queues, busy = diag.queues(facts), diag.busy(facts)
    except OSError:
        return {}
    return {name: _sum(name, facts, queues, busy) for name in state.applications}


def _sum(app: str, facts: _Facts, queues: Mapping[Endpoint, Queue], busy: Mapping[Endpoint, int]) -> Traffic:
    """Return the queue of *app*'s public listener, and the connections of all its generations."""
    own = [endpoint for endpoint, fact in facts.items() if fact.app == app]
    public = max(own, key=lambda endpoint: (facts[endpoint].published, facts[endpoint].generation), default=None)
    queue = queues.get(public) if public is not None else None
    return Traffic(
        waiting=None if queue is None else queue.waiting,
        limit=None if queue is None else queue.limit,
        busy=sum(busy.get(endpoint, 0) for endpoint in own) if own else None,
    )


def addresses_of(external: External) -> tuple[str, ...]:
    """Return where *external* listens: ``unix:/path`` or ``tcp:HOST:PORT`` for each host."""
    if external.socket is not None:
        return (f"unix:{external.socket}",)
    return tuple(f"tcp:{host}" for host in external.host)


async def reach(externals: Iterable[External]) -> dict[str, Reach]:
    """Return whether each of *externals* can be reached; all of its hosts must be."""
    wanted = list(externals)
    found = await asyncio.gather(*(_reach_all(external) for external in wanted))
    return {external.name: result for external, result in zip(wanted, found, strict=True)}


async def _reach_all(external: External) -> Reach:
    results = await asyncio.gather(*(_reach(address) for address in addresses_of(external)))
    bad = [result for result in results if result.state != "reachable"]
    if not bad:
        return Reach("reachable", "")
    state = "unreachable" if any(result.state == "unreachable" for result in bad) else "unknown"
    return Reach(state, "; ".join(result.reason for result in bad))


async def _reach(address: str) -> Reach:
    try:
        async with asyncio.timeout(_PATIENCE):
            await _connect(address)
    except TimeoutError:
        return Reach("unreachable", f"{address}: no connection within {_PATIENCE:g} s")
    except OSError as error:
        if error.errno == errno.EACCES:
            return Reach("unknown", f"{address}: the manager's user may not connect to it")
        if error.errno == errno.EAGAIN:
            return Reach("reachable", "")  # somebody listens, and many wait
        reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
        return Reach("unreachable", f"{address}: {reason}")
    return Reach("reachable", "")


async def _connect(address: str) -> None:
    kind, _, rest = address.partition(":")
    if kind == "unix":
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect(rest)  # to a Unix socket it is done, or refused, at once
        return
    host, _, port = rest.rpartition(":")
    _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.close()
