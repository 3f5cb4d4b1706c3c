"""The connector socket: web servers ask here for applications that are not there yet; docs/connector-protocol.md.

A connection costs one object and at most one timer, and a question about a ready application nothing that lasts.
"""

from __future__ import annotations

import asyncio
import enum
import resource
import socket
import struct
import traceback
from typing import Any, Final

from fcgipm.config.identity import user_name
from fcgipm.core.commands import Severity
from fcgipm.counting import counted
from fcgipm.manager.connectors.answer import Answer
from fcgipm.manager.connectors.asking import Asker
from fcgipm.manager.connectors.question import BadRequest, Question, Reader, encode, refuse
from fcgipm.manager.driver import Driver
from fcgipm.manager.serving.guard import Limits

PER_USER: Final = 1024
IN_ALL: Final = 2048
_SHARE: Final = 4
"""What part of all descriptors that the manager may have are for connections of connectors, at most."""
SLOWEST: Final = 10.0
"""Seconds for a whole request to come, and for the next one to begin after an answer."""
_DEPTH: Final = 1024
"""As the keeper has bound it: asyncio has called listen again."""
_AT_ONCE: Final = 64
"""Connections that are taken together; so often asyncio tries where there is no descriptor for any, too."""
_QUIET: Final = 60.0
"""Seconds between two lines about too many connections."""
_UCRED: Final = struct.Struct("3i")


async def serve_connector(listener: socket.socket, driver: Driver, keeper_uid: int) -> None:
    """Answer on *listener*, a Unix socket, from now on."""
    desk = Desk(driver, keeper_uid)
    await asyncio.get_running_loop().create_unix_server(lambda: Connection(desk), sock=listener, backlog=_AT_ONCE)
    listener.listen(_DEPTH)


class Desk:
    """What all connections share: who answers, and how many may be open."""

    def __init__(self, driver: Driver, keeper_uid: int) -> None:
        most = min(IN_ALL, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE)
        self.ensuring = driver.ensuring
        self._say = driver.say
        self._limits = Limits(frozenset({0, keeper_uid}), per_user=min(PER_USER, most), in_all=most)
        self._said_at = -_QUIET

    def enter(self, uid: int) -> str | None:
        """Count a connection of *uid*; return None, or why it may not stay."""
        refusal = self._limits.enter(uid)
        now = asyncio.get_running_loop().time()
        if refusal is not None and now - self._said_at >= _QUIET:
            self._said_at = now
            waiting = counted(self.ensuring.waiting, "question")
            text = f"connector.sock refuses a connection of user {user_name(uid)}: {refusal}; {waiting} under way"
            self._say(Severity.WARNING, None, text)
        return refusal

    def leave(self, uid: int) -> None:
        """Forget a connection of *uid*."""
        self._limits.leave(uid)

    def tell(self, error: Exception) -> None:
        """Say what went wrong, which should not have."""
        text = "".join(traceback.format_exception(error))
        self._say(Severity.ERROR, None, f"cannot answer a question on connector.sock: {text}")


class _Stage(enum.Enum):
    READING = enum.auto()
    WAITING = enum.auto()
    """For the answer to a question that has come whole."""
    CLOSED = enum.auto()


class Connection(asyncio.Protocol):
    """One connection."""

    __slots__ = ("_asker", "_desk", "_due", "_keep", "_loop", "_reader", "_stage", "_timer", "_transport", "_uid")

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._loop = asyncio.get_running_loop()
        self._reader = Reader()
        self._stage = _Stage.CLOSED
        self._transport: Any = None
        self._uid = -1
        self._asker: Asker | None = None
        self._keep = False
        self._due = 0.0
        """By when something must have come, while reading."""
        self._timer: asyncio.TimerHandle | None = None
        """Never later than that, but maybe earlier: then it is set again."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or refuse where there are too many."""
        self._transport = transport
        uid = _uid_of(transport.get_extra_info("socket"))
        refusal = self._desk.enter(uid)
        if refusal is not None:
            self._end(refuse(503, f"{refusal}; try again later", retry_after=1))
            return
        self._uid, self._stage = uid, _Stage.READING
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Take what comes."""
        if self._stage is _Stage.CLOSED:
            return
        if self._reader.idle:
            self._due = self._loop.time() + SLOWEST
        try:
            if self._stage is _Stage.WAITING:
                raise BadRequest("a request came before the last one was answered")
            question = self._reader.feed(data)
            if question is not None:
                self._ask(question)
        except BadRequest as error:
            self._end(refuse(error.status, str(error)))
        except Exception as error:  # noqa: BLE001  # one question's bug is not the others'; the engine's ends the manager
            self._desk.tell(error)
            self._end(refuse(500, "fcgipm has a bug; its log says more"))

    def pause_writing(self) -> None:
        """Give up: it asks and asks, and takes no answer."""
        self._transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002
        """Forget the connection, and its question."""
        self._stage = _Stage.CLOSED
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._asker is not None:
            self._desk.ensuring.forget(self._asker)
            self._asker = None
        if self._uid >= 0:
            self._desk.leave(self._uid)

    def _ask(self, question: Question) -> None:
        self._stage, self._keep = _Stage.WAITING, question.keep
        self._asker = self._desk.ensuring.ensure(question.target, self._answer)

    def _answer(self, answer: Answer) -> None:
        self._asker = None
        data = encode(answer, keep=self._keep)
        if not self._keep:
            self._end(data)
            return
        self._stage = _Stage.READING
        self._transport.write(data)
        self._expect()

    def _end(self, last: bytes) -> None:
        """Send *last*, and close."""
        self._stage = _Stage.CLOSED
        self._transport.write(last)
        self._transport.close()
        self._expect()

    def _expect(self) -> None:
        """Cut the connection off if nothing has come, or gone, by then."""
        self._due = self._loop.time() + SLOWEST
        if self._timer is None:
            self._timer = self._loop.call_at(self._due, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._stage is _Stage.WAITING:
            return  # that has its own deadline
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._expire)
        else:
            self._transport.abort()


def _uid_of(sock: socket.socket) -> int:
    _, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(uid)
