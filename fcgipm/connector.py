"""What a web server in Python needs of fcgipm: ask for an application, send it requests, report how they went.

`Client` waits for each answer, `AsyncClient` is for asyncio.  Both need nothing but the standard library;
docs/connector-protocol.md says what they speak, for who wants to write the same in another language.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from fcgipm.exchange import LIMIT, exchange, reach
from fcgipm.fastcgi import FastCGIError, Response, Role, encode_request
from fcgipm.reporter import Reporter
from fcgipm.reporting import Report

DEFAULT_DIRECTORY: Final = "/run/fcgipm"
DEFAULT_TIMEOUT: Final = 60.0
_MAX_ANSWER: Final = 64 * 1024
"""Bytes of an answer about an application."""
_KNOWN: Final = 1024
"""Addresses that are remembered."""
_BAD_GATEWAY: Final = 502
_SERVICE_UNAVAILABLE: Final = 503


class ConnectorError(Exception):
    """There is no answer; the text says why."""


class Unavailable(ConnectorError):
    """Nobody answers: the daemon or the application is not there, too slow, or something else."""


class NotFound(ConnectorError):
    """There is no such application, and no such script."""


class Forbidden(ConnectorError):
    """There is such a script, and it may not be run; the log of fcgipm says why."""


class Refused(ConnectorError):
    """No instance is ready, and none will be soon; *retry_after* is in seconds."""

    def __init__(self, text: str, retry_after: int) -> None:
        super().__init__(text)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Ready:
    """An application that has an instance; *address* is ``unix:/path`` or ``tcp:HOST:PORT``."""

    app: str
    address: str


@dataclass(slots=True)
class _Course:
    """How a request goes: seconds from the beginning of the connect, None where it has not come to that."""

    begun: float = field(default_factory=time.monotonic)
    connected: float | None = None
    answered: float | None = None

    def elapsed(self) -> float:
        return time.monotonic() - self.begun

    def has_connected(self) -> None:
        self.connected = self.elapsed()

    def is_answered(self) -> None:
        self.answered = self.elapsed()

    def report(self, target: str, status: int) -> Report:
        return Report(
            target=target,
            status=status,
            connect=self.connected,
            header=self.answered,
            response=self.elapsed(),
            reached=self.connected is not None,
        )


class AsyncClient:
    """Asks, sends and reports without blocking; as many at once as there are tasks.

    *directory* is runtime-dir, where *connector* and *report*, the sockets, are unless they are given as paths.
    *timeout*, in seconds, holds for each answer: of fcgipm, which waits up to start-timeout, and of an application.
    """

    def __init__(
        self,
        directory: str = DEFAULT_DIRECTORY,
        *,
        connector: str | None = None,
        report: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        self._connector = connector or os.path.join(directory, "connector.sock")
        self._timeout = timeout
        self._addresses: dict[str, str] = {}
        self.reporter = Reporter(report or os.path.join(directory, "report.sock"))

    async def ensure(self, *, app: str | None = None, path: str | None = None) -> Ready:
        """Return where *app*, or the application of the script at *path*, is reached, once it has an instance.

        Raises `Refused`, `NotFound`, `Forbidden` or `Unavailable`.
        """
        target, question = _question(app, path)
        ready = _read_answer(await self._ask(question), f"the answer of {self._connector}")
        if len(self._addresses) >= _KNOWN:
            self._addresses.pop(next(iter(self._addresses)))
        self._addresses[target] = ready.address
        return ready

    async def request(
        self,
        params: Mapping[str, str],
        body: bytes = b"",
        *,
        app: str | None = None,
        path: str | None = None,
        role: Role = Role.RESPONDER,
        limit: int = LIMIT,
    ) -> Response:
        """Send one request to an application, which is started if need be; report it, and return its answer.

        *params* are the CGI variables, *limit* bounds the answer, in bytes.  fcgipm is asked only where the application
        is not known yet or cannot be reached, and what was sent is never sent again.  Raises as `ensure`.
        """
        target, _ = _question(app, path)
        message = encode_request(params, body, role=role)
        course = _Course()
        address = self._addresses.get(target, "")
        streams = await self._reach(address) if address else None
        if streams is None:
            try:
                address = (await self.ensure(app=app, path=path)).address
            except Refused:
                self.report(Report(target=target, status=_SERVICE_UNAVAILABLE, reached=False))
                raise
            course = _Course()
        status = _BAD_GATEWAY
        try:
            async with asyncio.timeout(self._timeout):
                response = await _converse(streams or await reach(address), message, limit, course)
            status = response.status
        except (OSError, FastCGIError) as error:
            raise _unavailable(f"{target} at {address}", error, self._timeout) from error
        finally:
            self.report(course.report(target, status))
        return response

    def report(self, report: Report) -> bool:
        """Tell of a finished request, without waiting; return whether that could be done.

        `request` does it by itself.
        """
        return self.reporter.send(report) is None

    def close(self) -> None:
        """Close what is open."""
        self.reporter.close()

    async def _ask(self, question: bytes) -> bytes:
        answer = bytearray()
        try:
            async with asyncio.timeout(self._timeout):
                reader, writer = await reach(f"unix:{self._connector}")
                try:
                    writer.write(question)
                    while len(answer) < _MAX_ANSWER and (piece := await reader.read(_MAX_ANSWER)):
                        answer += piece
                finally:
                    writer.close()
        except OSError as error:
            raise _unavailable(f"fcgipm at {self._connector}", error, self._timeout) from error
        return bytes(answer)

    async def _reach(self, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Connect to where an application was last time; return None if nobody is there."""
        try:
            async with asyncio.timeout(self._timeout):
                return await reach(address)
        except OSError:
            return None


class Client:
    """`AsyncClient` for programs without asyncio: every method waits.  For one thread at a time."""

    def __init__(
        self,
        directory: str = DEFAULT_DIRECTORY,
        *,
        connector: str | None = None,
        report: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        self._client = AsyncClient(directory, connector=connector, report=report, timeout=timeout)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ensure(self, *, app: str | None = None, path: str | None = None) -> Ready:
        """Do as `AsyncClient.ensure`."""
        return self._runner.run(self._client.ensure(app=app, path=path))

    def request(
        self,
        params: Mapping[str, str],
        body: bytes = b"",
        *,
        app: str | None = None,
        path: str | None = None,
        role: Role = Role.RESPONDER,
        limit: int = LIMIT,
    ) -> Response:
        """Do as `AsyncClient.request`."""
        return self._runner.run(self._client.request(params, body, app=app, path=path, role=role, limit=limit))

    def report(self, report: Report) -> bool:
        """Do as `AsyncClient.report`."""
        return self._client.report(report)

    def close(self) -> None:
        """Close what is open."""
        self._client.close()
        self._runner.close()


async def _converse(
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], message: bytes, limit: int, course: _Course
) -> Response:
    reader, writer = streams
    course.has_connected()
    try:
        return await exchange(reader, writer, message, limit=limit, began=course.is_answered)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _question(app: str | None, path: str | None) -> tuple[str, bytes]:
    """Return what is wanted, and the question for it."""
    if (app is None) == (path is None):
        raise ValueError("name either an application or the path of a script")
    header, target = ("App", app) if app is not None else ("Path", path)
    assert target is not None
    if not target or any(character in target for character in "\r\n\0") or target.startswith("/") != (path is not None):
        raise ValueError(f"{target!r} is no name of an application" if path is None else f"{target!r} is no path")
    lines = f"GET /v1/ensure HTTP/1.1\r\nHost: fcgipm\r\nConnection: close\r\nX-Fcgipm-{header}: {target}\r\n\r\n"
    return target, lines.encode("utf-8", "surrogateescape")


def _read_answer(data: bytes, what: str) -> Ready:
    """Return what *data*, a whole answer, says of an application; raise what it says if that is not its address."""
    head, end, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("utf-8", "surrogateescape").split("\r\n")
    version, _, rest = first.partition(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if not end or version != "HTTP/1.1" or len(body) != _number(headers.get("content-length")):
        raise Unavailable(f"{what} is none, or not complete; is it fcgipm's connector.sock?")
    status = rest[:3]
    text = body.decode("utf-8", "replace").strip()
    match status:
        case "200" if "x-fcgipm-address" in headers:
            return Ready(headers.get("x-fcgipm-app", ""), headers["x-fcgipm-address"])
        case "403":
            raise Forbidden(text)
        case "404":
            raise NotFound(text)
        case "503":
            raise Refused(text, max(_number(headers.get("retry-after")), 1))
        case _:
            raise Unavailable(f"{what} is {rest!r}: {text}")


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else -1


def _unavailable(where: str, error: Exception, timeout: float) -> Unavailable:
    if isinstance(error, TimeoutError) and not error.errno:
        return Unavailable(f"no answer of {where} within {timeout:g} s")
    reason = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else str(error)
    return Unavailable(f"no answer of {where}: {reason}")
