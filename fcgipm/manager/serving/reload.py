"""What ``POST /v1/reload`` answers: progress, a JSON object a line, and the outcome as the last one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from fcgipm import wire
from fcgipm.codec import to_json
from fcgipm.core.outcome import Outcome, Verdict
from fcgipm.counting import counted
from fcgipm.manager.serving.call import Call, answer
from fcgipm.manager.serving.reading import read
from fcgipm.manager.serving.refusal import misused
from fcgipm.manager.serving.reloading import Reload, would_be
from fcgipm.verbs import ExitCode


async def reload(call: Call) -> web.StreamResponse:
    """Read the configuration again, and give applications a new generation."""
    driver, arguments = call.driver, call.arguments
    for name in arguments.apps:
        if name in driver.state.externals:
            raise misused(f"cannot reload {name}: it is external, managed elsewhere")
    time = asyncio.get_running_loop().time
    began = time()
    if arguments.dry_run:
        applied = await read(call, driver.ask_apply(apps=arguments.apps or None, dry_run=True))
        found = would_be(driver.state, arguments.apps, applied)
        return answer({"version": 1, "dry_run": True, "apps": _shown(found), **_more(applied)})
    going = Reload(driver, arguments.apps, arguments.parallel)
    applied = await read(call, going.begin())
    if not arguments.wait:
        return answer({"version": 1, "apps": _shown(going.found), **_more(applied)})
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    response.force_close()
    await response.prepare(call.request)
    try:
        async with asyncio.timeout_at(began + arguments.timeout):
            await _follow(going, response)
    except TimeoutError:
        pass
    await response.write(_line({**_outcome(going, arguments.timeout, time() - began), **_more(applied)}))
    await response.write_eof()
    return response


def _more(applied: wire.Applied) -> dict[str, Any]:
    return {
        "changes": to_json(applied.changes),
        "pending": to_json(applied.pending),
        "warnings": list(applied.warnings),
    }


async def _follow(going: Reload, response: web.StreamResponse) -> None:
    """Tell what changes, until all is done."""
    told: dict[str, Outcome] = {}
    while True:
        news = {name: outcome for name, outcome in going.found.items() if told.get(name) != outcome}
        told |= news
        if news:
            await response.write(b"".join(_line(each) for each in _shown(news)))
        elif going.is_done:
            return
        else:
            await going.news.wait()


def _outcome(going: Reload, timeout: float, took: float) -> dict[str, Any]:
    """Return the last line: how it has ended, or how far it is."""
    by_verdict = {
        verdict: [name for name, outcome in going.found.items() if outcome.state is verdict] for verdict in Verdict
    }
    done, failed, pending = (by_verdict[one] for one in (Verdict.DONE, Verdict.FAILED, Verdict.PENDING))
    texts = [f"{len(done)} of {counted(len(going.found), 'application')} reloaded in {took:.1f} s"]
    if failed:
        texts.append(f"failed: {', '.join(failed)}")
    if pending:
        texts.append(f"not finished after {timeout:g} s, and going on: {', '.join(pending)}")
    text = "; ".join(texts) if going.found else "no application is running, so there is nothing to reload"
    shown: dict[str, Any] = {"version": 1, "apps": _shown(going.found), "text": text}
    if failed or pending:
        shown |= {"error": text, "exit": int(ExitCode.FAILED if failed else ExitCode.TIMED_OUT)}
    return shown


def _shown(found: Mapping[str, Outcome]) -> list[dict[str, Any]]:
    return [
        {"name": name, "state": outcome.state.value, "text": outcome.text, "phase": outcome.phase}
        for name, outcome in found.items()
    ]


def _line(item: Mapping[str, Any]) -> bytes:
    return json.dumps(item).encode() + b"\n"
