"""Answers a line at a time: what is kept, then what comes, for as long as the client stays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final

from aiohttp import web

from fcgipm.manager.telling.feed import Feed, ItemT

_PIECE: Final = 64 * 1024
"""Bytes after which the client's pace is waited for."""


async def send(
    request: web.BaseRequest,
    kept: Iterable[ItemT],
    feed: Feed[ItemT],
    encode: Callable[[ItemT], dict[str, Any] | None],
    *,
    follow: bool,
) -> web.StreamResponse:
    """Answer with a JSON object a line for each of *kept* and, to *follow*, of what *feed* publishes from now on.

    *encode* returns None for what this client did not ask for.  A client that is too slow loses lines, and gets
    ``{"lost": N}`` in their place.
    """
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    response.force_close()
    with feed.follow() as follower:
        kept = list(kept)  # nothing is published between these two lines: no line is missed or comes twice
        await response.prepare(request)
        await _write(response, kept, encode)
        while follow:
            lost, items = await follower.take()
            if lost:
                await response.write(_line({"lost": lost}))
            await _write(response, items, encode)
    await response.write_eof()
    return response


async def _write(
    response: web.StreamResponse, items: list[ItemT], encode: Callable[[ItemT], dict[str, Any] | None]
) -> None:
    data = bytearray()
    for item in items:
        document = encode(item)
        if document is not None:
            data += _line(document)
        if len(data) >= _PIECE:
            await response.write(bytes(data))
            data.clear()
    if data:
        await response.write(bytes(data))


def _line(item: dict[str, Any]) -> bytes:
    return json.dumps(item, ensure_ascii=True).encode() + b"\n"
