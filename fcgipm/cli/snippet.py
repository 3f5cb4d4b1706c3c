"""Renders the web server's configuration for the applications that a running daemon has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fcgipm.cli.client import ClientError
from fcgipm.codec import CodecError, from_json
from fcgipm.config.schema import Application, External
from fcgipm.verbs import ExitCode
from fcgipm.webserver import apache, lighttpd, nginx
from fcgipm.webserver.target import SnippetError

SERVERS: Final = ("nginx", "lighttpd", "apache")


def render(definitions: Mapping[str, Any], server: str, names: Sequence[str], context: str | None) -> str:
    """Return the configuration for *server* and the applications called *names*, or all; raises `ClientError`.

    *definitions* is the answer of ``/v1/definitions``.  *context* is ``http``, ``server``, or None for both.
    """
    if server not in SERVERS:
        raise ClientError(f"no snippet for {server!r}: known are {', '.join(SERVERS)}", ExitCode.USAGE)
    if context is not None and server != "nginx":
        raise ClientError(f"--context is for nginx: {server} has one context", ExitCode.USAGE)
    applications = _named(_read(definitions), names)
    try:
        if server == "lighttpd":
            return lighttpd.snippet(applications)
        if server == "apache":
            return apache.snippet(applications)
        contexts = tuple(nginx.Context) if context is None else (nginx.Context(context),)
        return nginx.snippet(applications, contexts)
    except SnippetError as error:
        raise ClientError(f"cannot make a snippet for {server}: {error}", ExitCode.FAILED) from None


def _read(definitions: Mapping[str, Any]) -> dict[str, Application | External]:
    try:
        found: list[Application | External] = [from_json(Application, item) for item in definitions["applications"]]
        found += [from_json(External, item) for item in definitions["externals"]]
    except (CodecError, KeyError) as error:
        text = f"cannot understand the definitions: {error}; is fcgipmctl of the same version as the daemon?"
        raise ClientError(text, ExitCode.FAILED) from None
    return {application.name: application for application in found}


def _named(known: Mapping[str, Application | External], names: Sequence[str]) -> list[Application | External]:
    for name in names:
        if name not in known:
            raise ClientError(f"no such application: {name}; known are {', '.join(known) or 'none'}", ExitCode.USAGE)
    return [known[name] for name in dict.fromkeys(names)] if names else list(known.values())
