"""Renders the web server's configuration for the applications that a running daemon has."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from fcgipm.cli.client import ClientError
from fcgipm.codec import CodecError, from_json
from fcgipm.config.schema import Application, Daemon, Dynamic, External
from fcgipm.verbs import ExitCode
from fcgipm.webserver import apache, lighttpd, nginx
from fcgipm.webserver.target import Site, SnippetError

SERVERS: Final = ("nginx", "lighttpd", "apache")
_REPORTER: Final = "fcgipm-report"


def render(definitions: Mapping[str, Any], server: str, names: Sequence[str], context: str | None) -> str:
    """Return the configuration for *server* and what is called *names*, or all; raises `ClientError`.

    *definitions* is the answer of ``/v1/definitions``; *names* are applications and roots of [dynamic].  *context* is
    ``http``, ``server``, or None for both.
    """
    if server not in SERVERS:
        raise ClientError(f"no snippet for {server!r}: known are {', '.join(SERVERS)}", ExitCode.USAGE)
    if context is not None and server != "nginx":
        raise ClientError(f"--context is for nginx: {server} has one context", ExitCode.USAGE)
    site = _named(_read(definitions), names)
    try:
        if server == "lighttpd":
            return lighttpd.snippet(site)
        if server == "apache":
            return apache.snippet(site)
        contexts = tuple(nginx.Context) if context is None else (nginx.Context(context),)
        return nginx.snippet(site, contexts)
    except SnippetError as error:
        raise ClientError(f"cannot make a snippet for {server}: {error}", ExitCode.FAILED) from None


def _read(definitions: Mapping[str, Any]) -> Site:
    try:
        found: list[Application | External] = [from_json(Application, item) for item in definitions["applications"]]
        found += [from_json(External, item) for item in definitions["externals"]]
        dynamic = from_json(Dynamic, item) if (item := definitions.get("dynamic")) is not None else None
        runtime_dir = from_json(Daemon, definitions["daemon"]).runtime_dir
    except (CodecError, KeyError) as error:
        text = f"cannot understand the definitions: {error}; is fcgipmctl of the same version as the daemon?"
        raise ClientError(text, ExitCode.FAILED) from None
    return Site(applications=found, dynamic=dynamic, runtime_dir=runtime_dir, reporter=_reporter())


def _reporter() -> str:
    """Return where the program is that logs are piped into: beside this one, else where the system looks for it."""
    beside = Path(sys.argv[0]).absolute().with_name(_REPORTER)
    return str(beside) if beside.is_file() else _REPORTER


def _named(site: Site, names: Sequence[str]) -> Site:
    """Return the part of *site* that is called *names*; a root brings its scripts with it."""
    if not names:
        return site
    roots = {root.name: root for root in site.dynamic.roots} if site.dynamic is not None else {}
    known = {one.name: one for one in site.declared}
    for name in names:
        if name not in known and name not in roots:
            every = ", ".join((*known, *roots)) or "none"
            raise ClientError(f"no such application: {name}; known are {every}", ExitCode.USAGE)
    wanted = tuple(roots[name] for name in dict.fromkeys(names) if name in roots)
    return replace(
        site,
        applications=[*(known[name] for name in dict.fromkeys(names) if name in known), *site.scripts],
        dynamic=replace(site.dynamic, roots=wanted) if wanted and site.dynamic is not None else None,
    )
