"""What each verb does."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from fcgipm.codec import to_json
from fcgipm.core import events
from fcgipm.core.outcome import Outcome, Verdict
from fcgipm.counting import counted
from fcgipm.log import wall_clock
from fcgipm.manager import explain, outcomes, streams
from fcgipm.manager.answer import Answer, Ending
from fcgipm.manager.arguments import Arguments, processes, unknown_app
from fcgipm.manager.driver import Driver
from fcgipm.manager.metrics import Picture, render
from fcgipm.manager.reach import addresses_of
from fcgipm.manager.refusal import Refused, misused
from fcgipm.manager.request import RequestError, request
from fcgipm.manager.status import daemon, external, managed
from fcgipm.manager.usage import read_usage
from fcgipm.verbs import VERBS, ExitCode, Verb

_LOOK: Final = 0.05
"""Seconds that a scrape or a status waits at most for external applications, and for the keeper."""
_UNREADY: Final = {Ending.LATE: (504, ExitCode.TIMED_OUT), Ending.UNKNOWN: (404, ExitCode.FAILED)}
"""The status of an answer that has no address, and its exit code, where they are not those of a refusal."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, checked."""

    verb: Verb
    arguments: Arguments
    request: web.BaseRequest
    driver: Driver


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


async def show_status(call: Call) -> web.StreamResponse:
    """Answer with the applications' state."""
    state, names = call.driver.state, call.arguments.apps
    _check_known(call, names, external=True, more=outcomes.views(state))  # those that are leaving, too
    externals = [external for name, external in state.externals.items() if _named(name, names)]
    reach = await state.prober.look(externals, within=_LOOK)
    await call.driver.observer.prepare(within=_LOOK)
    now = state.now()
    views = [view for view in state.engine.view(now) if _named(view.name, names)]
    usage = read_usage([each.pid for view in views for each in view.instances if each.pid is not None])
    samples = call.driver.observer.glance(now)
    apps = [*managed(state, views, samples, usage), *(external(each, reach) for each in externals)]
    return _answer({**daemon(state), "apps": apps})


async def change(call: Call) -> web.StreamResponse:
    """Start, stop, restart or scale, and wait for the outcome if that is wanted."""
    _check_known(call, call.arguments.apps, external=False)
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
    future = call.driver.ask_apply()
    try:
        applied = await asyncio.wait_for(future, call.arguments.timeout)
    except TimeoutError:
        text = f"the keeper has not read the configuration within {call.arguments.timeout:g} s"
        raise Refused(504, text, ExitCode.TIMED_OUT) from None
    if applied.problems:
        text = f"the configuration has {counted(len(applied.problems), 'problem')}; nothing was changed"
        raise Refused(422, text, ExitCode.FAILED, problems=list(applied.problems))
    more = {"changes": to_json(applied.changes), "warnings": list(applied.warnings)}
    watched = outcomes.of_apply(call.driver.state, applied.changes, before)
    return await _outcome(call, watched, more)


async def show_logs(call: Call) -> web.StreamResponse:
    """Answer with the last lines of one application or all, and those that come."""
    _check_known(call, call.arguments.apps, external=False)
    app = call.arguments.apps[0] if call.arguments.apps else None
    logs = call.driver.state.logs

    def encode(line: Any) -> dict[str, Any] | None:
        return line.to_json() if app is None or line.app == app else None

    return await streams.send(call.request, logs.lines(app), logs.feed, encode, follow=call.arguments.follow)


async def show_events(call: Call) -> web.StreamResponse:
    """Answer with what happened lately, and what happens."""
    feed = call.driver.state.events
    return await streams.send(call.request, feed, feed, lambda record: record.to_json(), follow=call.arguments.follow)


async def show_explanation(call: Call) -> web.StreamResponse:
    """Answer with why an application has as many instances as it has, after a fresh look at it."""
    state, driver, name = call.driver.state, call.driver, call.arguments.apps[0]
    _check_known(call, [name], external=True, more=outcomes.views(state))
    if name in state.externals:
        reach = await state.prober.look([state.externals[name]], within=_LOOK)
        return _answer(explain.external(state.externals[name], reach, wall=wall_clock()))
    found = state.engine.explain(name, state.now())
    if found is not None and found.policy == "classic":
        driver.step(driver.observer.observe([name], state.now()))
    now, wall = state.now(), wall_clock()
    found, samples = state.engine.explain(name, now), driver.observer.glance(now)
    if found is None:
        raise unknown_app(name, state.applications)
    definition = state.applications.get(name)
    kind = "dynamic" if definition is not None and definition.is_dynamic else "static"
    return _answer(explain.explained(found, samples.get(name), kind=kind, now=now, wall=wall))


async def ensure(call: Call) -> web.StreamResponse:
    """Start an application if need be, and answer when an instance of it is ready."""
    driver, target = call.driver, str(call.arguments.word)
    if target in driver.state.externals or "/" not in target:
        _check_known(call, [target], external=False)
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def done(found: Answer) -> None:
        if not future.done():  # it is, if time was up just now
            future.set_result(found)

    asker = driver.ensuring.ensure(target, done)
    try:
        if asker is not None and not call.arguments.wait:
            return _answer({"version": 1, "address": None, "apps": [_outcome_of(target, "pending", "it is asked for")]})
        found = await asyncio.wait_for(future, call.arguments.timeout)
    except TimeoutError:
        text = f"no instance of {target} is ready after {call.arguments.timeout:g} s; it goes on"
        raise Refused(504, text, ExitCode.TIMED_OUT) from None
    finally:
        if asker is not None:
            driver.ensuring.forget(asker)
    if found.ending is Ending.READY:
        text = f"{found.app} is ready at {found.address}"
        return _answer({"version": 1, "address": found.address, "apps": [_outcome_of(found.app, "done", text)]})
    status, code = _UNREADY.get(found.ending, (409, ExitCode.FAILED))
    raise Refused(status, found.reason, code)


async def send_request(call: Call) -> web.StreamResponse:
    """Send one FastCGI request to an application, and answer with what it answered."""
    name = call.arguments.apps[0]
    _check_known(call, call.arguments.apps, external=True)
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
        answer = await request(application, address, uri, call.arguments.timeout)
    except RequestError as error:
        timed_out = error.timed_out
        code = ExitCode.TIMED_OUT if timed_out else ExitCode.FAILED
        raise Refused(504 if timed_out else 502, str(error), code) from error
    return _answer(
        {
            "version": 1,
            "status": answer.status,
            "headers": [list(pair) for pair in answer.headers],
            "body": base64.b64encode(answer.body).decode(),
            "stderr": answer.stderr.decode(errors="backslashreplace"),
        }
    )


async def show_definitions(call: Call) -> web.StreamResponse:
    """Answer with what snippets for web servers are made from; values of the environment are not in it."""
    _check_known(call, call.arguments.apps, external=True)
    state, names = call.driver.state, call.arguments.apps
    return _answer(
        {
            "version": 1,
            "daemon": to_json(state.daemon),
            "applications": [to_json(item) for item in state.applications.values() if _named(item.name, names)],
            "externals": [to_json(item) for item in state.externals.values() if _named(item.name, names)],
            "dynamic": None if state.dynamic is None else to_json(state.dynamic),
            "listeners": [to_json(item) for item in state.listeners if _named(item.app, names)],
        }
    )


async def show_metrics(call: Call) -> web.StreamResponse:
    """Answer with the exposition."""
    return await metrics(call.driver, call.request)


async def metrics(driver: Driver, asked: web.BaseRequest) -> web.StreamResponse:
    """Answer *asked* with the exposition, in the format that it accepts."""
    state = driver.state
    reach = await state.prober.look(state.externals.values(), within=_LOOK)
    await driver.observer.prepare(within=_LOOK)
    now = state.now()
    picture = Picture(
        now=now,
        started_unix=state.started_unix,
        reload_good=state.reload_good,
        reload_unix=state.reload_unix,
        processes={"keeper": state.keeper_pid, "manager": os.getpid()},
        apps=state.engine.view(now),
        samples=driver.observer.glance(now),
        reachable={name: found.state == "reachable" for name, found in reach.items() if found.state != "unknown"},
    )
    body, kind = render(picture, state.tally, asked.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": kind})


async def reopen_logs(call: Call) -> web.StreamResponse:
    """Have the keeper open the log file anew."""
    call.driver.reopen_logs()
    return _answer({"version": 1})


async def shutdown(call: Call) -> web.StreamResponse:
    """End the daemon; the answer comes when all instances have ended."""
    driver = call.driver
    if not call.arguments.wait:
        driver.step(events.ShutdownRequested())
        return _answer({"version": 1})
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
    "status": show_status,
    "start": change,
    "stop": change,
    "restart": change,
    "scale": change,
    "apply": apply,
    "logs": show_logs,
    "events": show_events,
    "explain": show_explanation,
    "ensure": ensure,
    "request": send_request,
    "snippet": show_definitions,
    "metrics": show_metrics,
    "reopen-logs": reopen_logs,
    "shutdown": shutdown,
}
assert HANDLERS.keys() == VERBS.keys(), "every verb has a handler"


async def _outcome(call: Call, watched: list[outcomes.Watched], more: Mapping[str, Any]) -> web.StreamResponse:
    state = call.driver.state
    if not call.arguments.wait:
        return _answer({"version": 1, "apps": _outcomes(outcomes.look(state, watched)), **more})
    found = await outcomes.wait(state, watched, call.arguments.timeout)
    shown = _outcomes(found)
    for verdict, code, http in ((Verdict.FAILED, ExitCode.FAILED, 409), (Verdict.PENDING, ExitCode.TIMED_OUT, 504)):
        texts = [outcome.text for outcome in found.values() if outcome.state is verdict]
        if texts:
            late = f" (after {call.arguments.timeout:g} s; it goes on)" if verdict is Verdict.PENDING else ""
            raise Refused(http, "; ".join(texts) + late, code, apps=shown, **more)
    return _answer({"version": 1, "apps": shown, **more})


def _outcomes(found: Mapping[str, Outcome]) -> list[dict[str, Any]]:
    return [_outcome_of(name, outcome.state.value, outcome.text) for name, outcome in found.items()]


def _outcome_of(name: str, state: str, text: str) -> dict[str, Any]:
    return {"name": name, "state": state, "text": text}


def _check_known(call: Call, names: Iterable[str], *, external: bool, more: Iterable[str] = ()) -> None:
    state = call.driver.state
    known = [*state.applications, *state.externals, *more]
    for name in names:
        if name not in known:
            raise unknown_app(name, known)
        if name in state.externals and not external:
            what = "show logs of" if call.verb.name == "logs" else call.verb.name
            raise misused(f"cannot {what} {name}: it is external, managed elsewhere")


def _named(name: str, names: Iterable[str]) -> bool:
    return not names or name in names


def _answer(document: Mapping[str, Any]) -> web.Response:
    return web.json_response(document)
