"""Configuration for lighttpd (the tests run 1.4.69), as `fcgipmctl snippet lighttpd` prints it.

For each place of the URI space one condition, the longest prefix first, holding all that applies there: where two
conditions match, lighttpd takes fastcgi.server from the last one alone.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fcgipm.reporting import LIGHTTPD
from fcgipm.webserver.target import (
    UNCHECKED_FILES,
    Claims,
    Scripts,
    Site,
    SnippetError,
    Target,
    claims,
    roots,
    seconds,
    targets,
)

_INDENT = "    "


def snippet(site: Site) -> str:
    """Return the configuration that sends requests to the applications of *site*.

    Raises `SnippetError` if two applications want the same requests, or one asks for what lighttpd cannot do.
    """
    found = targets(site.declared)
    for target in found:
        if target.authorizes and target.options.docroot is None:
            raise SnippetError(f"{target.name}: lighttpd's authorizers need docroot, where the allowed files are")
    scripts = roots(site)
    return "\n".join(_lines(site, found, scripts, claims(found, scripts))) + "\n"


def _lines(site: Site, found: Sequence[Target], scripts: Sequence[Scripts], wanted: Claims) -> Iterator[str]:
    yield "# fcgipm: include this at the top level of lighttpd.conf, by include, or by include_shell with"
    yield '# "fcgipmctl snippet lighttpd". lighttpd starts none of these applications, it only connects to them.'
    for target in found:
        yield from _remarks(target)
    modules = ["mod_fastcgi"]
    if scripts or any(target.follows_demand for target in found):
        yield from _demand(scripts)
        modules += ["mod_alias", "mod_accesslog"] if scripts else ["mod_accesslog"]
    yield ""
    yield f"server.modules += ( {', '.join(map(_quote, modules))} )"
    if debug := max((target.options.debug for target in found), default=0):
        yield f"fastcgi.debug = {debug}"
    mapped = {alias: meant for target in found for alias, meant in target.options.map_extensions.items()}
    if mapped:
        pairs = ", ".join(f"{_quote(alias)} => {_quote(meant)}" for alias, meant in mapped.items())
        yield f"fastcgi.map-extensions = ( {pairs} )"
    otherwise = ""
    for place in _places(wanted, mapped):
        yield f'{otherwise}$HTTP["url"] =~ {_quote(place.condition)} {{'
        yield from (f"{_INDENT}{line}" for line in (*place.body, *_report(site, place.reported)))
        yield "}"
        otherwise = "else "


def _remarks(target: Target) -> Iterator[str]:
    """Yield comments about what lighttpd cannot do, or does anyway."""
    options = target.options
    remarks = []
    if options.pass_header:
        remarks.append(
            f"pass-header {', '.join(options.pass_header)}: lighttpd passes every request header, as HTTP_NAME"
        )
    if options.broken_scriptfilename and options.docroot is not None:
        remarks.append("broken-scriptfilename does nothing here: with docroot, lighttpd never mangles SCRIPT_FILENAME")
    if options.nph:
        remarks.append("nph: lighttpd takes the status from a first line HTTP/1.1, and makes the answer itself")
    if len(target.addresses) > 1:
        remarks.append("of several hosts the least busy one is taken; another only while nothing was sent yet")
    if target.runs_unchecked_files:
        remarks.append(UNCHECKED_FILES)
    for remark in remarks:
        yield f"# {target.name}: {remark}."


def _demand(scripts: Sequence[Scripts]) -> Iterator[str]:
    """Yield comments about what follows demand."""
    yield "#"
    yield "# Of applications that follow demand: a declared one always has its socket, and fcgipm sees who waits there,"
    yield "# so nobody has to ask it for an instance. Where too many wait (listen-queue-depth), lighttpd answers 500;"
    yield '# overload-response = "503" lets fcgipm turn visitors away then, and says when to come again.'
    yield "# Each finished request of theirs is told to fcgipm by the access log below, and lighttpd writes one log for"
    yield "# a request: of these, your own gets nothing. To have both, or neither: see docs/webservers.md."
    if scripts:
        yield "# Of the scripts below a root, those are here that had a socket when this was written. listen = true"
        yield "# gives each its socket from the start on; when scripts have come or gone, let lighttpd read this again."


def _report(site: Site, target: str | None) -> Iterator[str]:
    """Yield what tells fcgipm of finished requests; *target* is how lighttpd's log says whose they are."""
    if target is not None:
        command = f"|{shlex.quote(site.reporter)} -s {shlex.quote(site.report)}"
        yield f"accesslog.filename = {_quote(command)}"
        yield f"accesslog.format = {_quote(f'{LIGHTTPD}{target}')}"


# ── which request is whose ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Place:
    """What holds for the paths that *condition*, a regular expression, matches."""

    condition: str
    body: list[str]
    reported: str | None = None


def _places(wanted: Claims, mapped: dict[str, str]) -> Iterator[_Place]:
    """Yield the places of the URI space; only the first that matches counts."""
    for place in wanted.places():
        guard = wanted.guard(place)
        if guard is None:
            for extension, other in wanted.guarded_extensions.items():
                yield from _place(wanted, place, f"^{_regex(place)}/.*{_regex(extension)}(/|$)", ("/", other))
            yield from _place(wanted, place, f"^{_regex(place)}(/|$)", None)
        else:
            yield from _place(wanted, place, f"^{_regex(place)}(/|$)", (place or "/", guard))
    for extension, guard in wanted.guarded_extensions.items():
        # Its key is "/", since ".pdf" would not match /secret.pdf/more, which is the same file.
        yield _extension(wanted, extension, mapped, [("/", guard)])
    written = {*wanted.extensions, *(alias for alias, meant in mapped.items() if meant in wanted.extensions)}
    for extension in sorted(written - {*wanted.guarded_extensions}, key=lambda text: (-len(text), text)):
        yield _extension(wanted, extension, mapped, [])


def _place(wanted: Claims, place: str, condition: str, guard: tuple[str, Target] | None) -> Iterator[_Place]:
    """Yield what holds where *condition* matches, below *place*; *guard* with the key under which it is asked first."""
    entries = [] if guard is None else [guard]
    responder = wanted.responder(place)
    if responder is None:
        yield _Place(condition, list(_servers([*entries, *wanted.extensions.items()])))
        return
    prefix, whom = responder
    if isinstance(whom, Scripts):
        yield from _below_root(prefix, whom, condition, entries)
    else:
        servers = _servers([*entries, (prefix or "/", whom)])
        yield _Place(condition, [*_surroundings(whom), *servers], _named(whom))


def _below_root(prefix: str, scripts: Scripts, condition: str, entries: list[tuple[str, Target]]) -> Iterator[_Place]:
    """Yield the scripts of a root, and then what holds for everything else there: it is never sent as a file."""
    found = sorted(targets(scripts.known), key=lambda target: (-len(target.name), target.name))
    here = [f"alias.url = ( {_quote(prefix + '/')} => {_quote(scripts.directory + '/')} )"]
    if found:
        paths = {target.name.partition("/")[2]: target for target in found}
        names = "|".join(map(_regex, paths))
        servers = _servers([*entries, *((f"{prefix}/{path}", target) for path, target in paths.items())])
        script = f"^{_regex(prefix)}/({names})(/|$)"
        if condition != f"^{_regex(prefix)}(/|$)":
            script = f"(?={condition}){script}"
        yield _Place(script, [*here, *_surroundings(found[0]), *servers], "%f")
    servers = _servers(entries) if entries else iter(["fastcgi.server = ()"])
    yield _Place(condition, [*here, 'static-file.exclude-extensions = ( "" )', *servers])


def _extension(wanted: Claims, extension: str, mapped: dict[str, str], entries: list[tuple[str, Target]]) -> _Place:
    target = wanted.extensions.get(mapped.get(extension, extension))
    # All of them, not this one alone: /a.php/b.cgi may be a.php's, and must never be sent as a file.
    servers = _servers([*entries, *wanted.extensions.items()])
    if target is None:
        return _Place(f"{_regex(extension)}(/|$)", list(servers))
    return _Place(f"{_regex(extension)}(/|$)", [*_surroundings(target), *servers], _named(target))


def _named(target: Target) -> str | None:
    return target.name if target.follows_demand else None


# ── who answers there ────────────────────────────────────────────────────────────────────────────────────────────────


def _surroundings(target: Target) -> Iterator[str]:
    if target.options.document_root is not None:
        yield f"server.document-root = {_quote(target.options.document_root)}"
    if target.options.flush:
        yield "server.stream-response-body = 1"


def _servers(entries: Iterable[tuple[str, Target]]) -> Iterator[str]:
    """Yield fastcgi.server for (key, target); a guard and a responder may have one key."""
    keyed = list(entries)
    keys: dict[str, list[Target]] = {}
    for key, target in keyed:
        keys.setdefault(key, []).append(target)
    # With a docroot, lighttpd looks for a file after the authorizer's consent, and does not find the application.
    before_application = any(key.startswith("/") and not target.authorizes for key, target in keyed)
    yield "fastcgi.server += ("
    for key, found in keys.items():
        yield f"{_INDENT}{_quote(key)} => ("
        for target in found:
            for number, host in enumerate(_hosts(key, target, before_application=before_application), start=1):
                yield f"{_INDENT * 2}{_quote(f'{target.name}/{number}')} => ("
                yield from (f"{_INDENT * 3}{_quote(name)} => {value}," for name, value in host)
                yield f"{_INDENT * 2}),"
        yield f"{_INDENT}),"
    yield ")"


def _hosts(key: str, target: Target, *, before_application: bool) -> Iterator[list[tuple[str, str]]]:
    """Yield the settings of each host, as (name, value in lighttpd's language)."""
    common = list(_settings(key, target, before_application=before_application))
    for address in target.addresses:
        if address.port is None:
            yield [("socket", _quote(address.host)), *common]
        else:
            yield [("host", _quote(address.host)), ("port", str(address.port)), *common]


def _settings(key: str, target: Target, *, before_application: bool) -> Iterator[tuple[str, str]]:
    options = target.options
    is_prefix = key.startswith("/")
    # Looking for the script's file is also what splits a path from its name: /picture.jpg/x.php stays a picture.
    by_file = target.is_script or not is_prefix
    check = not target.authorizes and (target.checks_files if by_file else options.check_local)
    yield "check-local", _switch(check)
    if target.authorizes:
        yield "mode", '"authorizer"'
    if options.docroot is not None and not (target.authorizes and before_application):
        yield "docroot", _quote(options.docroot)
    if key == "/" and not target.authorizes:
        yield "fix-root-scriptname", _switch(on=True)
    if options.broken_scriptfilename:
        yield "broken-scriptfilename", _switch(on=True)
    if options.allow_x_send_file:
        yield "x-sendfile", _switch(on=True)
    if options.app_conn_timeout:
        yield "connect-timeout", str(seconds(options.app_conn_timeout))
    yield "read-timeout", str(seconds(options.idle_timeout))
    yield "write-timeout", str(seconds(options.idle_timeout))
    yield "disable-time", str(seconds(options.disable_time))


def _switch(on: bool) -> str:
    return '"enable"' if on else '"disable"'


def _regex(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9/_-]", lambda match: "\\" + match[0], text)


def _quote(text: str) -> str:
    """Return *text* as a string of lighttpd's language, in which a backslash stands for itself."""
    if any(ord(character) < 32 for character in text) or text.endswith("\\"):
        raise SnippetError(f"this cannot be written for lighttpd: {text!r}")
    escaped = text.replace('"', '\\"')
    return f'"{escaped}"'
