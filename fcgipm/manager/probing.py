"""Probes: one FastCGI request to a generation that nobody meets yet, and whether its answer is the right one."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final

from fcgipm import wire
from fcgipm.config.schema import SECOND, Application, Probe
from fcgipm.core import commands, events
from fcgipm.exchange import exchange
from fcgipm.fastcgi import FastCGIError, Response, Role, encode_request
from fcgipm.manager.serving.request import params

if TYPE_CHECKING:
    from fcgipm.manager.state import State

_LONGEST_HINT: Final = 200
"""Characters of what the application has written beside a wrong answer."""
_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of an answer."""


class Probing:
    """Carries out `core.commands.Probe`: asks the keeper for a connection, speaks, and steps what came of it."""

    def __init__(
        self,
        state: State,
        step: Callable[[events.Event], None],
        send: Callable[[wire.Order], None],
        keep: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._state = state
        self._step = step
        self._send = send
        self._keep = keep
        self._expected: dict[tuple[str, int], asyncio.Future[socket.socket]] = {}
        """Connections that the keeper was asked for, by application and generation."""

    def begin(self, command: commands.Probe) -> None:
        """Send the probe that the application's definition has by now; one that has none is right as it is."""
        application = self._state.applications.get(command.app)
        self._keep(self._run(command, application))

    def connected(self, report: wire.Connected, descriptors: list[int]) -> None:
        """Use the connection that the keeper hands, unless nobody waits for it any more."""
        expected = self._expected.pop((report.app, report.generation), None)
        if expected is None or expected.done():
            for number in descriptors:
                os.close(number)
        else:
            expected.set_result(socket.socket(fileno=descriptors[0]))

    def failed(self, report: wire.ConnectFailed) -> None:
        """Take note that there is no connection."""
        expected = self._expected.pop((report.app, report.generation), None)
        if expected is not None and not expected.done():
            expected.set_exception(OSError(0, report.error))

    async def _run(self, command: commands.Probe, application: Application | None) -> None:
        error = None
        if application is not None and application.probe is not None:
            error = await self._probe(command, application, application.probe)
        self._step(events.Probed(app=command.app, generation=command.generation, error=error))

    async def _probe(self, command: commands.Probe, application: Application, probe: Probe) -> str | None:
        """Return what is wrong with the answer, None where nothing is."""
        key = command.app, command.generation
        expected = self._expected[key] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(probe.timeout / SECOND):
                self._send(wire.Connect(app=command.app, generation=command.generation))
                response = await _ask(await expected, application, probe.uri)
        except TimeoutError:
            what = f"no answer in {probe.timeout / SECOND:g} s"
        except (OSError, FastCGIError) as error:
            what = _text(error)
        else:
            if response.status == probe.status:
                return None
            what = f"{response.status} instead of {probe.status}{_hint(response)}"
        finally:
            if self._expected.get(key) is expected:
                del self._expected[key]
        return f"GET {probe.uri}: {what}"


async def _ask(sock: socket.socket, application: Application, uri: str) -> Response:
    sock.setblocking(False)
    role = Role.AUTHORIZER if application.role == "authorizer" else Role.RESPONDER
    message = encode_request(params(application, uri), role=role)
    try:
        reader, writer = await asyncio.open_connection(sock=sock)
    except BaseException:
        sock.close()
        raise
    try:
        return await exchange(reader, writer, message, limit=_LIMIT)
    finally:
        writer.close()


def _text(error: OSError | FastCGIError) -> str:
    if isinstance(error, OSError) and error.errno:
        return f"the connection broke: {os.strerror(error.errno).lower()}"
    return _WORDS.get(str(error), str(error.strerror if isinstance(error, OSError) and error.strerror else error))


_WORDS: Final[Mapping[str, str]] = {
    "the application closed the connection without an answer": "closed without an answer",
}


def _hint(response: Response) -> str:
    """Return what the application has complained of, which often says why."""
    lines = [line.strip() for line in response.stderr.decode("utf-8", "backslashreplace").splitlines() if line.strip()]
    if not lines:
        return ""
    text = "".join(one if one.isprintable() else "?" for one in lines[0])
    return f" ({text[:_LONGEST_HINT]})"
