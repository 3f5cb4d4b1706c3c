"""What the verbs do that only show something."""

from __future__ import annotations

import os
from typing import Any, Final

from aiohttp import web

from fcgipm.codec import to_json
from fcgipm.log import wall_clock
from fcgipm.manager.driver import Driver
from fcgipm.manager.observing.usage import read_usage
from fcgipm.manager.serving import explain, outcomes, streams
from fcgipm.manager.serving.arguments import unknown_app
from fcgipm.manager.serving.call import Call, answer, check_known, named
from fcgipm.manager.telling.metrics import Picture, render
from fcgipm.manager.telling.status import daemon, external, managed

_LOOK: Final = 0.05
"""Seconds that a scrape or a status waits at most for external applications, and for the keeper."""


async def show_status(call: Call) -> web.StreamResponse:
    """Answer with the applications' state."""
    state, names = call.driver.state, call.arguments.apps
    check_known(call, names, external=True, more=outcomes.views(state))  # those that are leaving, too
    externals = [external for name, external in state.externals.items() if named(name, names)]
    reach = await state.prober.look(externals, within=_LOOK)
    await call.driver.observer.prepare(within=_LOOK)
    now = state.now()
    views = [view for view in state.engine.view(now) if named(view.name, names)]
    usage = read_usage([each.pid for view in views for each in view.instances if each.pid is not None])
    samples = call.driver.glance(now)
    apps = [*managed(state, views, samples, usage), *(external(each, reach) for each in externals)]
    return answer({**daemon(state), "apps": apps})


async def show_logs(call: Call) -> web.StreamResponse:
    """Answer with the last lines of one application or all, and those that come."""
    check_known(call, call.arguments.apps, external=False)
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
    check_known(call, [name], external=True, more=outcomes.views(state))
    if name in state.externals:
        reach = await state.prober.look([state.externals[name]], within=_LOOK)
        return answer(explain.external(state.externals[name], reach, wall=wall_clock()))
    found = state.engine.explain(name, state.now())
    if found is not None and found.policy == "classic":
        driver.step(driver.observer.observe([name], state.now()))
    now, wall = state.now(), wall_clock()
    found, samples = state.engine.explain(name, now), driver.glance(now)
    if found is None:
        raise unknown_app(name, state.applications)
    definition = state.applications.get(name)
    kind = "dynamic" if definition is not None and definition.is_dynamic else "static"
    return answer(explain.explained(found, samples.get(name), kind=kind, now=now, wall=wall))


async def show_definitions(call: Call) -> web.StreamResponse:
    """Answer with what snippets for web servers are made from; values of the environment are not in it."""
    check_known(call, call.arguments.apps, external=True)
    state, names = call.driver.state, call.arguments.apps
    return answer(
        {
            "version": 1,
            "daemon": to_json(state.daemon),
            "applications": [to_json(item) for item in state.applications.values() if named(item.name, names)],
            "externals": [to_json(item) for item in state.externals.values() if named(item.name, names)],
            "dynamic": None if state.dynamic is None else to_json(state.dynamic),
            "listeners": [to_json(item) for item in state.listeners if named(item.app, names)],
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
        samples=driver.glance(now),
        reachable={name: found.state == "reachable" for name, found in reach.items() if found.state != "unknown"},
    )
    body, kind = render(picture, state.tally, asked.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": kind})
