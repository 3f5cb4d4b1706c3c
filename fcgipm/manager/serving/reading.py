"""Waiting until the keeper has read the configuration for who has asked for that."""

from __future__ import annotations

import asyncio

from fcgipm import wire
from fcgipm.counting import counted
from fcgipm.manager.serving.arguments import unknown_app
from fcgipm.manager.serving.call import Call
from fcgipm.manager.serving.refusal import Refused
from fcgipm.verbs import ExitCode


async def read(call: Call, future: asyncio.Future[wire.Applied]) -> wire.Applied:
    """Return what the keeper has read; raise `Refused` where it is of no use, or does not come in time.

    What was asked for is done all the same when it has come.
    """
    seconds = call.arguments.timeout
    try:
        applied = await asyncio.wait_for(asyncio.shield(future), seconds)
    except TimeoutError:
        name = call.verb.name
        text = f"the keeper has not read the configuration within {seconds:g} s; the {name} goes on when it has"
        raise Refused(504, text, ExitCode.TIMED_OUT) from None
    if applied.unknown:
        raise unknown_app(applied.unknown[0], call.driver.state.applications)
    if applied.problems:
        text = f"the configuration has {counted(len(applied.problems), 'problem')}; nothing was changed"
        raise Refused(422, text, ExitCode.FAILED, problems=list(applied.problems))
    return applied
