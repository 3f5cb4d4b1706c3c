"""The control socket and the metrics socket: who asks is known, what is asked is checked, then a handler answers."""

from __future__ import annotations

import asyncio
import functools
import socket
import traceback
from typing import Any, Final

from aiohttp import web

from fcgipm.core.commands import Severity
from fcgipm.manager.driver import Driver
from fcgipm.manager.serving import handlers, showing
from fcgipm.manager.serving.access import Peer, peer_of, role_of
from fcgipm.manager.serving.arguments import Arguments, from_body, from_query, nearest
from fcgipm.manager.serving.call import Call
from fcgipm.manager.serving.guard import Connection, Limits
from fcgipm.manager.serving.refusal import Refused, misused
from fcgipm.verbs import VERBS, Access, ExitCode, Verb

MAX_BODY: Final = 64 * 1024
_PREFIX: Final = "/v1/"
_ALIASES: Final = {"/metrics": "metrics", "/v1/definitions": "snippet"}


async def serve_control(listener: socket.socket, driver: Driver, keeper_uid: int) -> None:
    """Answer on *listener*, a Unix socket, from now on."""
    control = _Control(driver, keeper_uid)
    server = web.Server(control.answer, request_factory=_request, handler_cancellation=True)
    limits = Limits(frozenset({0, keeper_uid}))

    def identify(transport: asyncio.BaseTransport) -> Peer:
        return peer_of(transport.get_extra_info("socket"))

    factory = functools.partial(Connection, server, limits, identify)
    await asyncio.get_running_loop().create_unix_server(factory, sock=listener)


async def serve_metrics(listener: socket.socket, driver: Driver) -> None:
    """Answer GET /metrics on *listener*, of whatever family, from now on."""
    server = web.Server(functools.partial(_answer_metrics, driver), request_factory=_request, handler_cancellation=True)

    def identify(transport: asyncio.BaseTransport) -> str:
        name = transport.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else "unix"

    factory = functools.partial(Connection, server, Limits(), identify)
    loop = asyncio.get_running_loop()
    if listener.family == socket.AF_UNIX:
        await loop.create_unix_server(factory, sock=listener)
    else:
        await loop.create_server(factory, sock=listener)


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY)


class _Control:
    """Routes by the table of verbs."""

    def __init__(self, driver: Driver, keeper_uid: int) -> None:
        self._driver = driver
        self._keeper_uid = keeper_uid

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        return await _guarded(request, self._driver, self._handle)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = _connection(request)
        body = await _body(request)
        connection.has_whole_request()
        verb = _verb(request)
        self._check_access(connection.peer, verb)
        arguments = _arguments(verb, request, body)
        return await handlers.HANDLERS[verb.name](Call(verb, arguments, request, self._driver))

    def _check_access(self, peer: Peer, verb: Verb) -> None:
        role = role_of(peer, self._driver.state.access, self._keeper_uid)
        if role is Access.ADMIN or role is verb.access:
            return
        wanted = "admins or readers" if verb.access is Access.READ else "admins"
        raise Refused(403, f"{peer} may not use {verb.name}: it is for root and {wanted}", ExitCode.NO_DAEMON)


async def _answer_metrics(driver: Driver, request: web.BaseRequest) -> web.StreamResponse:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        await _body(request)
        _connection(request).has_whole_request()
        if request.path != "/metrics":
            raise misused("nothing is here but /metrics", 404)
        if request.method not in ("GET", "HEAD"):
            raise misused(f"/metrics takes GET, not {request.method[:20]}", 405)
        return await showing.metrics(driver, request)

    return await _guarded(request, driver, handle)


async def _guarded(request: web.BaseRequest, driver: Driver, handle: Any) -> web.StreamResponse:
    """Turn what goes wrong in *handle* into answers; every answer ends its connection."""
    response: web.StreamResponse
    try:
        response = await handle(request)
    except Refused as refusal:
        response = refusal.response()
    except (ConnectionError, asyncio.CancelledError):
        raise  # the client has gone
    except Exception as error:  # noqa: BLE001  # one request's bug is not the others'; the engine's ends the manager
        text = "".join(traceback.format_exception(error))
        driver.say(Severity.ERROR, None, f"cannot answer {request.method} {request.path}: {text}")
        response = Refused(500, f"fcgipm has a bug: {error!r}; its log says more", ExitCode.FAILED).response()
    response.force_close()
    if isinstance(response, web.Response):  # a stream may be read as slowly as somebody scrolls through it
        _connection(request).is_answered()
    return response


def _connection(request: web.BaseRequest) -> Connection:
    connection = request.protocol
    assert isinstance(connection, Connection)
    return connection


async def _body(request: web.BaseRequest) -> bytes:
    too_large = misused(f"the arguments, the body of this request, are larger than {MAX_BODY // 1024} KiB", 413)
    if (request.content_length or 0) > MAX_BODY:
        raise too_large
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise too_large from None
    except (web.RequestPayloadError, web.HTTPException) as error:
        raise misused(f"the body cannot be read: {error}") from None


def _verb(request: web.BaseRequest) -> Verb:
    name = _ALIASES.get(request.path) or request.path.removeprefix(_PREFIX)
    verb = VERBS.get(name)
    if verb is None or not request.path.startswith("/"):
        raise misused(f"nothing is at {request.path[:100]!r}{nearest(name, VERBS)}", 404)
    if request.method != verb.method:
        raise misused(f"{name} takes {verb.method}, not {request.method[:20]}", 405)
    return verb


def _arguments(verb: Verb, request: web.BaseRequest, body: bytes) -> Arguments:
    if verb.method == "POST":
        if request.query_string:
            raise misused(f"{verb.name} takes its arguments as a JSON body, not as a query")
        return from_body(verb, body)
    if body:
        raise misused(f"{verb.name} takes no body")
    return from_query(verb, request.query)
