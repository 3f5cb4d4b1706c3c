"""One request of the control protocol, checked, and what its handlers have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from fcgipm.manager.driver import Driver
from fcgipm.manager.serving.arguments import Arguments, unknown_app
from fcgipm.manager.serving.refusal import misused
from fcgipm.verbs import Verb


@dataclass(frozen=True, slots=True)
class Call:
    """One request, checked."""

    verb: Verb
    arguments: Arguments
    request: web.BaseRequest
    driver: Driver


def check_known(call: Call, names: Iterable[str], *, external: bool, more: Iterable[str] = ()) -> None:
    """Raise `Refused` unless *names* are applications, declared or *external* or among *more*."""
    state = call.driver.state
    known = [*state.applications, *state.externals, *more]
    for name in names:
        if name not in known:
            raise unknown_app(name, known)
        if name in state.externals and not external:
            what = "show logs of" if call.verb.name == "logs" else call.verb.name
            raise misused(f"cannot {what} {name}: it is external, managed elsewhere")


def named(name: str, names: Iterable[str]) -> bool:
    """Return whether *name* is among *names*; none of them means all."""
    return not names or name in names


def answer(document: Mapping[str, Any]) -> web.Response:
    """Answer with *document* as JSON."""
    return web.json_response(document)
