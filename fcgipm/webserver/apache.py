"""Configuration for Apache 2.4 (the tests run Debian's 2.4.71), as `fcgipmctl snippet apache` prints it.

Prefixes are ProxyPass, extensions SetHandler on files that exist; both lead to a worker, declared once for each
application.  What the application is told beside Apache's own variables stands in the sections at the end.  An
authorizer is asked by mod_authnz_fcgi in the phase that finds out who the visitor is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from fcgipm.config.schema import Application, ServerOptions
from fcgipm.webserver import apache_demand
from fcgipm.webserver.apache_language import block, host, literal, quote, regex
from fcgipm.webserver.apache_remarks import PASSED_BY_OPTION, head
from fcgipm.webserver.target import (
    Address,
    Claims,
    Responder,
    Scripts,
    Site,
    SnippetError,
    Target,
    claims,
    roots,
    seconds,
    targets,
)

_NOBODY = "-"
"""The user of visitors whom an authorizer let pass without saying who they are."""

_SOCKET = re.compile(r"[^\x00-\x1f\x7f|?#%\\\"]+")
"""Paths that survive the address of a worker, which is parsed as a URL."""


def snippet(site: Site) -> str:
    """Return the configuration that sends requests to the applications of *site*.

    Raises `SnippetError` if two applications want the same requests, or one asks for what Apache cannot do.
    """
    found, scripts = targets(site.declared), roots(site)
    wanted = claims(found, scripts)
    parts = [head(found, scripts), _workers(found, scripts), _routes(wanted), _sections(wanted)]
    if scripts or any(target.follows_demand for target in found):
        parts.append(apache_demand.reports(site))
    return "\n".join(line for part in (*parts, _guards(wanted)) for line in part) + "\n"


# ── where the applications are ───────────────────────────────────────────────────────────────────────────────────────


def _workers(found: Sequence[Target], scripts: Sequence[Scripts]) -> Iterator[str]:
    for one in scripts:
        yield ""
        yield from block(f"<Proxy {quote(apache_demand.worker(one))}>", [f"ProxySet {_settings(one.options)} retry=0"])
    for target in found:
        yield ""
        if target.authorizes:
            yield f"AuthnzFcgiDefineProvider authnz {host(target.name)} {quote(f'fcgi://{_tcp(target)}/')}"
        elif len(target.addresses) == 1:
            yield from block(f"<Proxy {quote(_url(target))}>", [f"ProxySet {_settings(target.options)} retry=0"])
        else:
            again = seconds(target.options.disable_time)
            again_words = f"retry={again} hcmethod=TCP hcinterval={max(again, 1)}"
            members = [
                f"BalancerMember {quote(f'fcgi://{address}')} {_settings(target.options)} {again_words}"
                for address in target.addresses
            ]
            yield from block(f"<Proxy {quote(_url(target))}>", [*members, "ProxySet maxattempts=0"])


def _tcp(target: Target) -> Address:
    address = target.addresses[0]
    if address.port is None:
        raise SnippetError(f"{target.name}: Apache reaches authorizers over TCP only; give it a port")
    return address


def _settings(options: ServerOptions) -> str:
    words = ["enablereuse=off", f"timeout={seconds(options.idle_timeout)}"]
    if options.app_conn_timeout:
        words.append(f"connectiontimeout={-(-options.app_conn_timeout // 1_000_000)}ms")
    if options.flush:
        words.append("flushpackets=on")
    return " ".join(words)


def _url(target: Target) -> str:
    """Return the address of the worker of *target*, which is also its name."""
    if len(target.addresses) > 1:
        return f"balancer://{host(target.name)}"
    address = target.addresses[0]
    if address.port is not None:
        return f"fcgi://{address}/"
    if not _SOCKET.fullmatch(address.host):
        raise SnippetError(f"{target.name}: Apache cannot name this socket: {address.host}")
    return f"unix:{address.host}|fcgi://{host(target.name)}/"


# ── which request goes where ─────────────────────────────────────────────────────────────────────────────────────────


def _routes(wanted: Claims) -> Iterator[str]:
    yield ""
    for prefix, target in wanted.prefixes.items():
        slash = "" if prefix in wanted.bare else "/"
        if isinstance(target, Scripts):
            yield f"ProxyPass {quote(prefix + '/')} !"
            yield f"Alias {quote(prefix + '/')} {quote(target.directory + '/')}"
            continue
        yield f"ProxyPass {quote(prefix + slash)} {quote(_target_url(target) + slash)}"
    for extension, target in _written(wanted):
        if not target.checks_files:
            yield f"ProxyPassMatch {quote(f'{regex(extension)}(/|$)')} {quote(_target_url(target) + '/')}"
    aliases = list(_aliases(wanted))
    for pattern, root in aliases:
        yield f"AliasMatch {quote(pattern)} {quote(literal(root) + '$1')}"
    for root in dict.fromkeys(root for _, root in aliases):
        yield from block(f"<Directory {quote(root)}>", ["Require all granted"])


def _target_url(target: Target) -> str:
    return _url(target).removesuffix("/")


def _aliases(wanted: Claims) -> Iterator[tuple[str, str]]:
    """Yield the paths whose files are elsewhere because an application says so: (regular expression, directory)."""
    for place, guard in wanted.guarded_prefixes.items():
        if guard.options.docroot is not None and wanted.responder(place) is None:
            yield f"^({regex(place)}(?:/.*)?)$", guard.options.docroot
    for extension, target in _written(wanted):
        if target.options.document_root is not None and target.checks_files:
            yield f"^(/.*{regex(extension)}(?:/.*)?)$", target.options.document_root


def _written(wanted: Claims) -> Iterator[tuple[str, Target]]:
    """Yield every extension with its application, also those that are handled like another one."""
    for extension, target in wanted.extensions.items():
        mapped = target.options.map_extensions
        for written in (extension, *(alias for alias, meant in mapped.items() if meant == extension)):
            yield written, target


# ── what the applications are told ───────────────────────────────────────────────────────────────────────────────────


def _sections(wanted: Claims) -> Iterator[str]:
    far = []
    for extension, target in _written(wanted):
        if target.checks_files:
            yield ""
            yield "# Only files that are there: else a path behind a picture's name could run the picture."
            yield from block(f"<FilesMatch {quote(regex(extension) + '$')}>", _file(target))
        else:
            far.append((extension, target))
    for extension, target in reversed(far):  # of several that match, the last section counts: the first route's
        others = "".join(f"(?!{regex(prefix)}(?:/|$))" for prefix in wanted.prefixes)
        split = f"^(.+?{regex(extension)})(/.*)?$"
        yield ""
        yield from block(
            f"<LocationMatch {quote(f'^{others}.+?{regex(extension)}(?:/|$)')}>",
            [*_split(split, "$1", "$2"), *_told(target, "%{reqenv:SCRIPT_NAME}")],
        )
    for prefix, responder in wanted.prefixes.items():
        yield ""
        if isinstance(responder, Scripts):
            yield from apache_demand.directory(responder, _told(responder, None))
        else:
            yield from block(*_prefix(wanted, prefix, responder))


def _prefix(wanted: Claims, prefix: str, target: Target) -> tuple[str, list[str]]:
    """Return head and body of the section for *prefix*, which leaves out the other applications below it."""
    inner = [other for other in wanted.prefixes if other != prefix and other.startswith(f"{prefix}/")]
    section = _place(prefix)
    if inner:
        others = "".join(f"(?!{regex(other)}(?:/|$))" for other in inner)
        section = f"<LocationMatch {quote(f'^{others}{regex(prefix)}(?:/|$)')}>"
    script = None
    if isinstance(target.options, Application) and target.options.document_root is None:
        script = target.options.command[0]  # as CGI has it; programs look there whether they have been replaced
    body = [*_split(f"^{regex(prefix)}(.*)$", literal(prefix), "$1"), *_told(target, "%{reqenv:SCRIPT_NAME}", script)]
    return section, body


def _place(prefix: str) -> str:
    """Return the head of a section for *prefix* and all below it."""
    if re.search(r"[*?\[~]", prefix):  # patterns of Apache's
        return f"<LocationMatch {quote(f'^{regex(prefix)}(?:/|$)')}>"
    return f"<Location {quote(prefix or '/')}>"


def _split(pattern: str, script: str, path_info: str) -> Iterator[str]:
    # (?s): a line feed in a path is a character like others
    condition = quote(f"%{{REQUEST_URI}} =~ m#(?s){pattern}#")
    yield f"ProxyFCGISetEnvIf {condition} SCRIPT_NAME {quote(script)}"
    yield f"ProxyFCGISetEnvIf {condition} PATH_INFO {quote(path_info)}"


def _file(target: Target) -> Iterator[str]:
    yield '<If "-f %{REQUEST_FILENAME}">'
    yield f"    SetHandler {quote('proxy:' + _target_url(target))}"
    yield "</If>"
    yield from _told(target, None)


def _told(target: Responder, script_name: str | None, program: str | None = None) -> Iterator[str]:
    """Yield what is told to *target*; *script_name* is None where Apache itself has found the script's file."""
    options = target.options
    root = options.docroot or options.document_root
    where = "%{DOCUMENT_ROOT}" if root is None else literal(root)
    script = f"{where}{script_name}" if script_name is not None else "%{reqenv:SCRIPT_FILENAME}"
    if script_name is None and options.docroot is not None:
        script = f"{where}%{{reqenv:SCRIPT_NAME}}"
    if options.broken_scriptfilename:
        script += "%{reqenv:PATH_INFO}"
    if program is not None and options.docroot is None:
        script = literal(program)
    yield "ProxyFCGIBackendType GENERIC"
    yield "SetEnv proxy-sendcl 1"  # a chunked body's length is not known, and CGI programs read by CONTENT_LENGTH
    yield f'ProxyFCGISetEnvIf "true" SCRIPT_FILENAME {quote(script)}'
    yield f'ProxyFCGISetEnvIf "true" DOCUMENT_ROOT {quote(where)}'
    yield 'ProxyFCGISetEnvIf "true" !PATH_TRANSLATED'  # with this or the next one, php-cgi takes Apache for what
    yield 'ProxyFCGISetEnvIf "true" !REDIRECT_URL'  # has run it by mod_actions, and looks for its script elsewhere
    yield f"ProxyFCGISetEnvIf \"reqenv('REMOTE_USER') == '{_NOBODY}'\" !REMOTE_USER"
    if isinstance(target, Target) and target.follows_demand:
        yield f"SetEnv {apache_demand.APPLICATION} {target.name}"
    yield from _headers(target)


def _headers(target: Responder) -> Iterator[str]:
    names = {name.lower(): name for name in target.options.pass_header}
    if "proxy" not in names:
        yield 'ProxyFCGISetEnvIf "true" !HTTP_PROXY'
    for lower, name in names.items():
        if lower == PASSED_BY_OPTION:
            yield "CGIPassAuth On"
            continue
        if not re.fullmatch(r"[A-Za-z0-9!#&*+.^_`|~-]+", name):
            raise SnippetError(f"{target.name}: Apache cannot name this header: {name}")
        variable = "HTTP_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
        yield f"ProxyFCGISetEnvIf \"-n req('{name}')\" {variable} {quote(f'%{{HTTP:{name}}}')}"


# ── who is asked first ───────────────────────────────────────────────────────────────────────────────────────────────


def _guards(wanted: Claims) -> Iterator[str]:
    """Yield a section for each guarded place; of several that match, the last one's authorizer is asked."""
    for extension, guard in wanted.guarded_extensions.items():
        yield from _guard(f"<FilesMatch {quote(regex(extension) + '$')}>", guard)  # by whatever path it is reached
        yield from _guard(f"<LocationMatch {quote(f'{regex(extension)}(?:/|$)')}>", guard)
    for place, guard in reversed(list(wanted.guarded_prefixes.items())):
        yield from _guard(_place(place), guard)


def _guard(head: str, target: Target) -> Iterator[str]:
    user = f'DefaultUser "{_NOBODY}" UserExpr "%{{reqenv:REMOTE_USER}}"'
    body = [
        f"AuthnzFcgiCheckAuthnProvider {host(target.name)} RequireBasicAuth Off {user}",
        "AuthMerging And",  # what else restricts this place goes on doing so
        "Require valid-user",
    ]
    if any(name.lower() == PASSED_BY_OPTION for name in target.options.pass_header):
        body.append("CGIPassAuth On")
    yield ""
    yield from block(head, body)
