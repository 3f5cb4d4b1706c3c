"""Connections to the manager's own sockets: how many, how slow, and what is said to those that are no HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, Final

from aiohttp import web

from fcgipm.verbs import ExitCode

PER_USER: Final = 64
"""Connections of one user, or from one address."""
IN_ALL: Final = 256
SLOWEST: Final = 10.0
"""Seconds for a whole request to come, and for a whole answer to be taken."""

_SILENT: Final = logging.getLogger("fcgipm.http")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
"""What strangers do wrong is their affair: it is answered, and not logged."""


class Limits:
    """Counts connections; *exempt* keys are bounded by *per_user* alone, so that nobody can lock root out."""

    def __init__(
        self, exempt: frozenset[Hashable] = frozenset(), *, per_user: int = PER_USER, in_all: int = IN_ALL
    ) -> None:
        self._exempt = exempt
        self._per_user, self._in_all = per_user, in_all
        self._counts: Counter[Hashable] = Counter()

    def enter(self, key: Hashable) -> str | None:
        """Count a connection of *key*; return None, or why it may not stay."""
        if self._counts[key] >= self._per_user:
            return f"{self._per_user} connections of the same user are open already"
        if key not in self._exempt and self._counts.total() >= self._in_all:
            return f"{self._in_all} connections are open already"
        self._counts[key] += 1
        return None

    def leave(self, key: Hashable) -> None:
        """Forget a connection of *key*."""
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key]


class Connection(web.RequestHandler):
    """One connection, for one request."""

    __slots__ = ("_identify", "_key", "_limits", "_slow", "peer")

    def __init__(self, server: web.Server, limits: Limits, identify: Callable[[Any], Any]) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=0,
            tcp_keepalive=False,
            logger=_SILENT,
            access_log=None,  # type: ignore[arg-type]  # as documented: no access log
            auto_decompress=False,
            lingering_time=1.0,
        )
        self._limits = limits
        self._identify = identify
        self._key: Hashable = None
        self._slow: asyncio.TimerHandle | None = None
        self.peer: Any = None
        """Who is at the other end, as *identify* has it; its ``uid``, or itself, is what is counted."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or refuse where there are too many."""
        self.peer = self._identify(transport)
        key = getattr(self.peer, "uid", self.peer)
        refusal = self._limits.enter(key)
        if refusal is not None:
            _refuse(transport, refusal)
            return
        self._key = key
        super().connection_made(transport)
        self._wait(transport)

    def data_received(self, data: bytes) -> None:
        """Take what comes, unless the connection was refused."""
        if self._key is not None:
            super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        if self._key is None:
            return
        self._limits.leave(self._key)
        self._stop_waiting()
        super().connection_lost(exc)

    def has_whole_request(self) -> None:
        """Say that the request has come completely: its answer may take as long as it takes."""
        self._stop_waiting()

    def is_answered(self) -> None:
        """Say that all of the answer is on its way: it must be taken in time."""
        if self.transport is not None:
            self._stop_waiting()
            self._wait(self.transport)

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002  # the signature is aiohttp's
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no request at all, as everything here is answered: by JSON."""
        text = f"this is no request: {message}" if status < 500 else "fcgipm has a bug; its log says more"
        code = ExitCode.USAGE if status < 500 else ExitCode.FAILED
        response = web.json_response({"version": 1, "error": text, "exit": int(code)}, status=status)
        response.force_close()
        return response

    def _wait(self, transport: asyncio.BaseTransport) -> None:
        abort = getattr(transport, "abort", transport.close)
        self._slow = asyncio.get_running_loop().call_later(SLOWEST, abort)

    def _stop_waiting(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None


def _refuse(transport: Any, why: str) -> None:
    body = json.dumps({"version": 1, "error": f"{why}; try again later", "exit": int(ExitCode.FAILED)}).encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Retry-After: 1\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    transport.write(head.encode() + body)
    transport.close()
