"""Whether applications that are managed elsewhere can be reached: tried when somebody asks, and not before."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fcgipm.config.schema import External

_PATIENCE: Final = 1.0
"""Seconds that an external application has to take a connection."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Whether an external application can be reached: *state* is ``reachable``, ``unreachable`` or ``unknown``."""

    state: str
    reason: str


def addresses_of(external: External) -> tuple[str, ...]:
    """Return where *external* listens: ``unix:/path`` or ``tcp:HOST:PORT`` for each host."""
    if external.socket is not None:
        return (f"unix:{external.socket}",)
    return tuple(f"tcp:{host}" for host in external.host)


class Prober:
    """Tries external applications, each at most once at a time, and remembers how it went."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, ...], asyncio.Task[Reach]] = {}
        self._last: dict[tuple[str, ...], Reach] = {}

    async def look(self, externals: Iterable[External], *, within: float) -> dict[str, Reach]:
        """Return whether each of *externals* can be reached; all hosts of one must be.

        What is not known *within* so many seconds is as it was last time.
        """
        wanted = {external.name: addresses_of(external) for external in externals}
        tasks = {self._try(addresses) for addresses in wanted.values()}
        if tasks:
            await asyncio.wait(tasks, timeout=within)
        unknown = Reach("unknown", "it has not answered yet")
        return {name: self._last.get(addresses, unknown) for name, addresses in wanted.items()}

    def _try(self, addresses: tuple[str, ...]) -> asyncio.Task[Reach]:
        task = self._running.get(addresses)
        if task is None:
            task = self._running[addresses] = asyncio.get_running_loop().create_task(self._note(addresses))
        return task

    async def _note(self, addresses: tuple[str, ...]) -> Reach:
        try:
            found = self._last[addresses] = await _reach_all(addresses)
        finally:
            del self._running[addresses]
        return found


async def _reach_all(addresses: tuple[str, ...]) -> Reach:
    results = await asyncio.gather(*(_reach(address) for address in addresses))
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
