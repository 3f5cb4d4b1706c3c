"""Kill instances whatever they do, and whatever can be seen of them."""

from __future__ import annotations

import signal
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from fcgipm.config.schema import MILLISECOND
from fcgipm.keeper.instances import retire, session
from fcgipm.keeper.instances.book import Instance
from fcgipm.keeper.instances.session import IsLeader, Process
from fcgipm.linux import pidfd as pidfds
from fcgipm.linux import procfs
from fcgipm.linux.sock_diag import Diag

_LIMIT: Final = 100 * MILLISECOND
"""How long new members of killed sessions are looked for."""


def cut(instance: Instance, is_leader: IsLeader | None) -> int:
    """Kill *instance*, its children too, and return how many connections were cut, as far as is seen."""
    if instance.starting is None:
        try:
            return retire.cut(Process(instance.pid, instance.pidfd), instance.listener.endpoint, is_leader)
        except OSError:
            pass  # /proc cannot be read: its children are found as strays, or end with their pipes
    pidfds.send(instance.pidfd, signal.SIGKILL)
    return 0


def cut_all(instances: Collection[Instance], diag: Diag) -> dict[str, int]:
    """Kill all *instances* at once; return by application how many connections were cut, as far as is seen.

    Nothing is frozen, and nobody is waited for.
    """
    connections: dict[str, int] = {}
    listeners = {id(instance.listener): instance.listener for instance in instances}.values()
    with suppress(OSError):
        busy = diag.busy(listener.endpoint for listener in listeners)
        for listener in listeners:
            connections[listener.app] = connections.get(listener.app, 0) + busy.get(listener.endpoint, 0)
    leaders = {instance.pid for instance in instances}
    try:
        _kill_members(leaders)
    finally:
        for instance in instances:
            pidfds.send(instance.pidfd, signal.SIGKILL)
    return connections


def _kill_members(leaders: Collection[int]) -> None:
    """Kill all that belong to *leaders*, but not themselves, until nothing new is found or time is over."""
    deadline = time.monotonic_ns() + _LIMIT
    killed: set[tuple[int, int]] = set()
    with suppress(OSError):
        while time.monotonic_ns() < deadline:
            found = session.members_among(leaders, procfs.processes())
            new = [stat for stat in found if stat.pid not in leaders and (stat.pid, stat.started) not in killed]
            if not new:
                break
            for stat in new:
                killed.add((stat.pid, stat.started))
                session.kill(stat)
