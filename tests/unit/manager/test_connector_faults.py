"""A bug that one question meets is not the others' affair."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from types import SimpleNamespace
from typing import Any

from fcgipm.core.commands import Severity
from fcgipm.manager.connectors.connector import Connection, Desk

QUESTION = b"GET /v1/ensure HTTP/1.1\r\nX-Fcgipm-App: blog\r\n\r\n"


def test_a_bug_is_logged_and_answered_and_the_next_question_is_served() -> None:
    said: list[tuple[Severity, str]] = []

    def ensure(_target: str, _done: Any) -> None:
        raise ZeroDivisionError("as if")

    def say(severity: Severity, _app: str | None, text: str) -> None:
        said.append((severity, text))

    async def main() -> list[bytes]:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: said.append((Severity.ERROR, f"unhandled: {context}")))
        desk = Desk(SimpleNamespace(ensuring=SimpleNamespace(ensure=ensure), say=say), keeper_uid=0)  # type: ignore[arg-type]
        return [await ask(loop, desk), await ask(loop, desk)]

    answers = asyncio.run(main())

    assert [answer.split(b"\r\n")[0] for answer in answers] == [b"HTTP/1.1 500 Internal Server Error"] * 2
    assert [severity for severity, _ in said] == [Severity.ERROR] * 2
    assert all("ZeroDivisionError: as if" in text and "unhandled" not in text for _, text in said)


async def ask(loop: asyncio.AbstractEventLoop, desk: Desk) -> bytes:
    """Ask over a connection of its own; return all that is answered."""
    theirs, ours = socket.socketpair()
    await loop.connect_accepted_socket(lambda: Connection(desk), theirs)
    reader, writer = await asyncio.open_connection(sock=ours)
    writer.write(QUESTION)
    answer = await reader.read()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return answer
