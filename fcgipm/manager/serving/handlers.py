"""What each verb does: here those that act, in `showing` those that show."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web

from fcgipm.codec import to_json
from fcgipm.core import events
from fcgipm.core.outcome import Outcome, Verdict
from fcgipm.manager.connectors.answer import Answer, Ending
from fcgipm.manager.observing.reach import addresses_of
from fcgipm.manager.serving import outcomes, showing
from fcgipm.manager.serving.arguments import processes, unknown_app
from fcgipm.manager.serving.call import Call, answer, check_known
from fcgipm.manager.serving.reading import read
from fcgipm.manager.serving.refusal import Refused, misused
from fcgipm.manager.serving.reload import reload
from fcgipm.manager.serving.request import RequestError, request
from fcgipm.verbs import VERBS, ExitCode

_UNREADY: Final = {Ending.LATE: (504, ExitCode.TIMED_OUT), Ending.UNKNOWN: (404, ExitCode.FAILED)}
"""The status of an answer that has no address, and its exit code, where they are not those of a refusal."""


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


async def change(call: Call) -> web.StreamResponse:
    """Start, stop, restart or scale, and wait for the outcome if that is wanted."""
    check_known(call, call.arguments.apps, external=False)
    driver, verb = call.driver, call.verb.name
    given = {name: _event(call, name) for name in call.arguments.apps}
    watched: list[outcomes.Watched] = []
    for name, event in given.items():
        before = driver.state.view(name)
        if before is None:
            raise unknown_app(name, driver.state.applications)
        watched.append(outcomes.Watched(verb, name, before))
        driver.step(event)
    return await _outcome(call, watched, {})


def _event(call: Call, app: str) -> events.Event:
    match call.verb.name:
        case "start":
            return events.StartRequested(app=app)
        case "stop":
            return events.StopRequested(app=app)
        case "restart":
            return events.RestartRequested(app=app)
        case "scale":
            return events.ScaleRequested(app=app, processes=processes(call.arguments.word))
        case _:
            raise AssertionError(call.verb.name)


async def apply(call: Call) -> web.StreamResponse:
    """Have the configuration read again."""
    before = outcomes.views(call.driver.state)
    applied = await read(call, call.driver.ask_apply())
    more = {"changes": to_json(applied.changes), "warnings": list(applied.warnings)}
    watched = outcomes.of_apply(call.driver.state, applied.changes, before)
    return await _outcome(call, watched, more)


async def ensure(call: Call) -> web.StreamResponse:
    """Start an application if need be, and answer when an instance of it is ready."""
    driver, target = call.driver, str(call.arguments.word)
    if target in driver.state.externals or "/" not in target:
        check_known(call, [target], external=False)
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def done(found: Answer) -> None:
        if not future.done():  # it is, if time was up just now
            future.set_result(found)

    asker = driver.ensuring.ensure(target, done)
    try:
        if asker is not None and not call.arguments.wait:
            return answer({"version": 1, "address": None, "apps": [_outcome_of(target, "pending", "it is asked for")]})
        found = await asyncio.wait_for(future, call.arguments.timeout)
    except TimeoutError:
        text = f"no instance of {target} is ready after {call.arguments.timeout:g} s; it goes on"
        raise Refused(504, text, ExitCode.TIMED_OUT) from None
    finally:
        if asker is not None:
            driver.ensuring.forget(asker)
    if found.ending is Ending.READY:
        text = f"{found.app} is ready at {found.address}"
        return answer({"version": 1, "address": found.address, "apps": [_outcome_of(found.app, "done", text)]})
    status, code = _UNREADY.get(found.ending, (409, ExitCode.FAILED))
    raise Refused(status, found.reason, code)


async def send_request(call: Call) -> web.StreamResponse:
    """Send one FastCGI request to an application, and answer with what it answered."""
    name = call.arguments.apps[0]
    check_known(call, call.arguments.apps, external=True)
    uri = str(call.arguments.word)
    if not uri.startswith("/"):
        raise misused(f"cannot request {uri!r} from {name}: it does not begin with /")
    state = call.driver.state
    application = state.applications.get(name) or state.externals[name]
    listener = state.listener(name)
    addresses = addresses_of(state.externals[name]) if name in state.externals else ()
    address = addresses[0] if addresses else listener.address if listener is not None else None
    if address is None:
        raise Refused(409, f"{name} has no socket now", ExitCode.FAILED)
    try:
        found = await request(application, address, uri, call.arguments.timeout)
    except RequestError as error:
        timed_out = error.timed_out
        code = ExitCode.TIMED_OUT if timed_out else ExitCode.FAILED
        raise Refused(504 if timed_out else 502, str(error), code) from error
    return answer(
        {
            "version": 1,
            "status": found.status,
            "headers": [list(pair) for pair in found.headers],
            "body": base64.b64encode(found.body).decode(),
            "stderr": found.stderr.decode(errors="backslashreplace"),
        }
    )


async def upgrade(call: Call) -> web.StreamResponse:
    """Have the program replaced; where that is done, this manager ends, and the next one tells of it in its status."""
    future = call.driver.ask_upgrade()
    if not call.arguments.wait:
        return answer({"version": 1})
    try:
        failed = await asyncio.wait_for(future, call.arguments.timeout)
    except TimeoutError:
        text = f"the upgrade is not done after {call.arguments.timeout:g} s; it goes on"
        raise Refused(504, text, ExitCode.TIMED_OUT) from None
    raise Refused(409, failed.error, ExitCode.FAILED)


async def reopen_logs(call: Call) -> web.StreamResponse:
    """Have the keeper open the log file anew."""
    call.driver.reopen_logs()
    return answer({"version": 1})


async def shutdown(call: Call) -> web.StreamResponse:
    """End the daemon; the answer comes when all instances have ended."""
    driver = call.driver
    if not call.arguments.wait:
        driver.step(events.ShutdownRequested())
        return answer({"version": 1})
    mourner = driver.mourn()
    try:
        driver.step(events.ShutdownRequested())
        async with asyncio.timeout(call.arguments.timeout):
            while driver.ending is None:
                await driver.state.changed.wait()
        response = web.json_response({"version": 1, "text": driver.ending.why})
        response.force_close()
        await response.prepare(call.request)
        await response.write_eof()
    except TimeoutError:
        text = f"instances are still there after {call.arguments.timeout:g} s; fcgipm goes on with its end"
        raise Refused(504, text, ExitCode.TIMED_OUT) from None
    else:
        return response
    finally:
        if not mourner.done():
            mourner.set_result(None)


HANDLERS: Final[Mapping[str, Handler]] = {
    "status": showing.show_status,
    "start": change,
    "stop": change,
    "restart": change,
    "scale": change,
    "apply": apply,
    "reload": reload,
    "logs": showing.show_logs,
    "events": showing.show_events,
    "explain": showing.show_explanation,
    "ensure": ensure,
    "request": send_request,
    "snippet": showing.show_definitions,
    "metrics": showing.show_metrics,
    "reopen-logs": reopen_logs,
    "upgrade": upgrade,
    "shutdown": shutdown,
}
assert HANDLERS.keys() == VERBS.keys(), "every verb has a handler"


async def _outcome(call: Call, watched: list[outcomes.Watched], more: Mapping[str, Any]) -> web.StreamResponse:
    state = call.driver.state
    if not call.arguments.wait:
        return answer({"version": 1, "apps": _outcomes(outcomes.look(state, watched)), **more})
    found = await outcomes.wait(state, watched, call.arguments.timeout)
    shown = _outcomes(found)
    for verdict, code, http in ((Verdict.FAILED, ExitCode.FAILED, 409), (Verdict.PENDING, ExitCode.TIMED_OUT, 504)):
        texts = [outcome.text for outcome in found.values() if outcome.state is verdict]
        if texts:
            late = f" (after {call.arguments.timeout:g} s; it goes on)" if verdict is Verdict.PENDING else ""
            raise Refused(http, "; ".join(texts) + late, code, apps=shown, **more)
    return answer({"version": 1, "apps": shown, **more})


def _outcomes(found: Mapping[str, Outcome]) -> list[dict[str, Any]]:
    return [_outcome_of(name, outcome.state.value, outcome.text) for name, outcome in found.items()]


def _outcome_of(name: str, state: str, text: str) -> dict[str, Any]:
    return {"name": name, "state": state, "text": text}
