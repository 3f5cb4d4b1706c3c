"""Configuration for nginx, as `fcgipmctl snippet nginx` prints it.

Two pieces: upstream blocks for the http context, locations for the server context.  Only modules of a plain build are
used.  An authorizer is asked by auth_request through an internal location.  What applications need beside this whose
number of instances follows demand is in `nginx_demand` and `nginx_scripts`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping, Sequence

from fcgipm.config.schema import Application, ServerOptions
from fcgipm.webserver import nginx_demand, nginx_scripts
from fcgipm.webserver.nginx_language import INDENT, block, ends_with, quote, regex, time
from fcgipm.webserver.target import (
    UNCHECKED_FILES,
    Claims,
    Responder,
    Scripts,
    Site,
    Target,
    claims,
    roots,
    targets,
)

_PARAMS = (
    ("QUERY_STRING", "$query_string"),
    ("REQUEST_METHOD", "$request_method"),
    ("CONTENT_TYPE", "$content_type"),
    ("CONTENT_LENGTH", "$content_length"),
    ("REQUEST_URI", "$request_uri"),
    ("DOCUMENT_URI", "$document_uri"),
    ("SERVER_PROTOCOL", "$server_protocol"),
    ("REQUEST_SCHEME", "$scheme"),
    ("HTTPS", "$https if_not_empty"),
    ("GATEWAY_INTERFACE", "CGI/1.1"),
    ("SERVER_SOFTWARE", "nginx/$nginx_version"),
    ("SERVER_NAME", "$server_name"),
    ("SERVER_ADDR", "$server_addr"),
    ("SERVER_PORT", "$server_port"),
    ("REMOTE_ADDR", "$remote_addr"),
    ("REMOTE_PORT", "$remote_port"),
    ("REMOTE_USER", "$remote_user"),
    ("REDIRECT_STATUS", "200"),
)
"""What every request carries; in each location, since nginx inherits fastcgi_param only where there is none."""

_QUERY = "$fcgipm_query"  # of the request that is to be authorized; $args is empty in auth_request's subrequest


class Context(enum.Enum):
    """Where a snippet is included."""

    HTTP = "http"
    SERVER = "server"


def snippet(site: Site, contexts: Sequence[Context] = (Context.HTTP, Context.SERVER)) -> str:
    """Return the configuration that sends requests to the applications of *site*, a part for each of *contexts*.

    Raises `SnippetError` if two applications want the same requests, or a path cannot be written in nginx's language.
    """
    found = targets(site.declared)
    scripts = roots(site)
    wanted = claims(found, scripts)
    parts = {Context.HTTP: lambda: _http(site, found, scripts), Context.SERVER: lambda: _server(found, scripts, wanted)}
    return "\n".join("\n".join(parts[context]()) + "\n" for context in contexts)


def _http(site: Site, found: Sequence[Target], scripts: Sequence[Scripts]) -> Iterator[str]:
    yield "# fcgipm, context http: include this part within http { }, for instance as /etc/nginx/conf.d/fcgipm.conf."
    if any(target.authorizes for target in found):
        yield ""
        yield f"map $request_uri {_QUERY} {{"
        yield f'{INDENT}"~\\?(?<fcgipm_arguments>.*)$" $fcgipm_arguments;'
        yield f'{INDENT}default "";'
        yield "}"
    for target in found:
        yield ""
        yield from _upstream(target)
    if _starts(found, scripts):
        yield from nginx_demand.http_part(site, list(nginx_scripts.maps(scripts)))


def _starts(found: Sequence[Target], scripts: Sequence[Scripts]) -> list[int]:
    """Return how long an instance may take to come (ns), of each that follows demand."""
    declared = [target.options for target in found if target.follows_demand]
    times = [options.start_timeout for options in declared if isinstance(options, Application)]
    return times + [one.options.start_timeout for one in scripts]


def _upstream(target: Target) -> Iterator[str]:
    several = len(target.addresses) > 1
    if several:
        yield "# A POST is never repeated once it was sent: only while it was not does another host get it. nginx may"
        yield "# repeat requests that change nothing (GET); add non_idempotent to fastcgi_next_upstream for the others."
    yield f"upstream {_upstream_name(target)} {{"
    for address in target.addresses:
        pause = f" fail_timeout={time(target.options.disable_time)}" if several else ""
        yield f"{INDENT}server {quote(str(address), variables=False)}{pause};"
    yield "}"


def _server(found: Sequence[Target], scripts: Sequence[Scripts], wanted: Claims) -> Iterator[str]:
    yield "# fcgipm, context server: include this part within server { }; it needs the part for http."
    for target in found:
        yield from (f"# {target.name}: {remark}." for remark in _remarks(target))
    for one in scripts:
        told = (*_remarks_on(one.options), *nginx_scripts.remarks(one))
        yield from (f"# {one.name}: {remark}." for remark in told)
    yield from nginx_scripts.before_locations(scripts)
    for target in found:
        if target.authorizes:
            yield from block(f"location = {_guard_path(target)}", _guard_body(target))
    for place in wanted.places():
        yield from _place(wanted, place)
    for extension in _extensions(wanted):
        yield from _extension(wanted, extension, wanted.guarded_extensions.get(extension), root=None)
    if starts := _starts(found, scripts):
        yield from nginx_demand.server_part(max(starts))


def _remarks(target: Target) -> Iterator[str]:
    """Yield comments about what nginx cannot do, or does anyway."""
    yield from _remarks_on(target.options)
    if target.authorizes:
        yield (
            "authorizer: of its answer nginx takes the status alone (200, 401 or 403; all else becomes 500), no "
            "Variable- headers and no page"
        )
    if target.runs_unchecked_files:
        yield UNCHECKED_FILES


def _remarks_on(options: ServerOptions) -> Iterator[str]:
    if options.nph:
        yield "nph: nginx cannot pass on an answer that begins with HTTP/1.1; it needs CGI headers (Status:)"
    if options.pass_header:
        yield f"pass-header {', '.join(options.pass_header)}: nginx passes every request header, as HTTP_NAME"
    if options.allow_x_send_file:
        yield "allow-x-send-file: nginx knows X-Accel-Redirect to an internal location, not X-Sendfile"
    if options.debug:
        yield "fastcgi.debug is lighttpd's; here: error_log FILE debug, with a binary built for it"


def _place(wanted: Claims, place: str) -> Iterator[str]:
    """Yield the locations for what begins at the prefix *place*."""
    guard = wanted.guard(place)
    responder = wanted.responder(place)
    body = list(_guarded(guard))
    if responder is None:
        yield from block(f"location ^~ {quote(place + '/', variables=False)}", [*body, *_files(wanted, guard)])
        return
    if place in wanted.bare:  # "location ^~ /blog" would match /blogger as well
        exact = [*body, *_respond_to_prefix(*responder, exactly=place)]
        yield from block(f"location = {quote(place, variables=False)}", exact)
    guarded = wanted.guarded_extensions.items() if guard is None else ()
    for extension, other in guarded:  # before the scripts of a root: nginx takes the first that matches
        inner = [*_guarded(other), *_respond_to_prefix(*responder)]
        body += block(f"location ~ {quote(ends_with(extension), variables=False)}", inner)
    body += _respond_to_prefix(*responder)
    yield from block(f"location ^~ {quote(place + '/', variables=False)}", body)


def _files(wanted: Claims, guard: Target | None) -> Iterator[str]:
    """Yield what holds in a guarded place where no application answers: its files, and the extensions."""
    root = guard.options.docroot if guard is not None else None
    if root is not None:
        yield f"root {quote(root)};"
    for extension in _extensions(wanted):
        yield from _extension(wanted, extension, guard, root=root)


def _extensions(wanted: Claims) -> list[str]:
    """Return all extensions in the order in which nginx shall try them: the guarded ones first."""
    return [
        *wanted.guarded_extensions,
        *(other for other in wanted.extensions if other not in wanted.guarded_extensions),
    ]


def _extension(wanted: Claims, extension: str, guard: Target | None, *, root: str | None) -> Iterator[str]:
    """Yield the location of *extension*, and of those that are mapped to it; *root* is where its files are, if set."""
    target = wanted.extensions.get(extension)
    mapped = target.options.map_extensions if target is not None else {}
    for written in (extension, *(alias for alias, meant in mapped.items() if meant == extension)):
        body = list(_guarded(guard or wanted.guarded_extensions.get(written)))
        if target is not None:
            body += _respond_to_extension(target, written, root)
        yield from block(f"location ~ {quote(ends_with(written), variables=False)}", body)


def _respond_to_prefix(prefix: str, responder: Responder, exactly: str | None = None) -> Iterator[str]:
    """Yield what leads to *responder*, which has *prefix*; *exactly* is the path where only one leads here."""
    if isinstance(responder, Scripts):
        told = nginx_scripts.parameters(prefix, responder)
        delivery = [*_params(told), *_delivery(responder.options, nginx_scripts.address(responder))]
        if exactly is None:
            yield from nginx_scripts.location(prefix, responder, delivery)
        else:
            yield from nginx_scripts.exact_location(exactly.removeprefix(prefix), responder, delivery)
        return
    options = responder.options
    split = f"(?s)^({regex(prefix)})(.*)$"  # (?s): a line feed in a path is a character like others
    yield from _demanding(responder)
    yield f"fastcgi_split_path_info {quote(split, variables=False)};"
    if options.document_root is not None:
        yield f"root {quote(options.document_root)};"
    script = None
    if isinstance(options, Application) and options.document_root is None:
        script = options.command[0]  # as CGI has it; programs look there whether they have been replaced
    yield from _pass(responder, "$fastcgi_path_info", script)


def _respond_to_extension(target: Target, extension: str, root: str | None) -> Iterator[str]:
    split = f"(?s)^(.+?{regex(extension)})(/.*)$"
    root = root or target.options.document_root
    yield from _demanding(target)
    if root is not None:
        yield f"root {quote(root)};"
    yield f"fastcgi_split_path_info {quote(split, variables=False)};"
    if not target.checks_files:
        yield from _pass(target, "$fastcgi_path_info")
        return
    missing = nginx_demand.MISSING if target.follows_demand else "=404"
    yield "set $fcgipm_path_info $fastcgi_path_info;  # before try_files, which makes nginx forget it"
    yield f"try_files $fastcgi_script_name {missing};  # else /picture.jpg/x.php could run the picture"
    yield from _pass(target, "$fcgipm_path_info")


def _demanding(target: Target) -> Iterator[str]:
    if target.follows_demand:
        yield from nginx_demand.in_location(target.name)


def _pass(target: Target, path_info: str, program: str | None = None) -> Iterator[str]:
    """Yield what a request carries; *program* is its SCRIPT_FILENAME where no document root begins it."""
    options = target.options
    more = f"$fastcgi_script_name{path_info if options.broken_scriptfilename else ''}"
    script = f'"$document_root{more}"' if options.docroot is None else quote(options.docroot, more)
    if program is not None and options.docroot is None and "$" not in program:
        script = quote(program)
    root = "$document_root" if options.docroot is None else quote(options.docroot)
    told = {"DOCUMENT_ROOT": root, "SCRIPT_NAME": "$fastcgi_script_name"}
    yield from _params({**told, "SCRIPT_FILENAME": script, "PATH_INFO": path_info})
    yield from _delivery(options, _upstream_name(target))


def _params(told: Mapping[str, str]) -> Iterator[str]:
    """Yield what every request carries, with what *told* says of this one."""
    for name, value in {**dict(_PARAMS), **told}.items():
        yield f"fastcgi_param {name} {value};"


def _delivery(options: ServerOptions, address: str) -> Iterator[str]:
    """Yield what concerns the connection to *address*, whatever the request."""
    if not any(name.lower() == "proxy" for name in options.pass_header):
        yield 'fastcgi_param HTTP_PROXY "";  # programs take this variable for their own proxy setting'
    if options.app_conn_timeout:
        yield f"fastcgi_connect_timeout {time(options.app_conn_timeout)};"
    yield f"fastcgi_read_timeout {time(options.idle_timeout)};"
    yield f"fastcgi_send_timeout {time(options.idle_timeout)};"
    if options.flush:
        yield "fastcgi_buffering off;"
    yield f"fastcgi_pass {address};"


def _guarded(guard: Target | None) -> Iterator[str]:
    if guard is not None:
        yield f"auth_request {_guard_path(guard)};"


def _guard_body(target: Target) -> Iterator[str]:
    """Yield the body of the internal location that asks the authorizer; it gets no body, script name or path info."""
    changed = {"QUERY_STRING": _QUERY, "CONTENT_LENGTH": '""', "CONTENT_TYPE": "$content_type"}
    yield "internal;"
    yield "fastcgi_pass_request_body off;"
    for name, value in _PARAMS:
        if name != "DOCUMENT_URI":
            yield f"fastcgi_param {name} {changed.get(name, value)};"
    yield "fastcgi_param FCGI_ROLE AUTHORIZER;  # the record itself says responder: nginx knows no other role"
    if target.options.docroot is not None:
        yield f"fastcgi_param DOCUMENT_ROOT {quote(target.options.docroot)};"
    yield from _delivery(target.options, _upstream_name(target))


def _guard_path(target: Target) -> str:
    return f"/.fcgipm-authorizer/{target.name}"


def _upstream_name(target: Target) -> str:
    """Return the name of the upstream of *target*: nginx ignores case there, names of applications do not."""
    return "fcgipm_" + re.sub("[A-Z_]", lambda match: "_" + match[0].lower(), target.name)
