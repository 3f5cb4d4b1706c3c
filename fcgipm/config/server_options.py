"""Every option that the web server is told; a part of `fcgipm.config.schema`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fcgipm.config.option import SECOND, Duration, Kind, server_option


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What the web server is told about an application; carried into `fcgipmctl snippet`."""

    uri: tuple[str, ...] = server_option(
        Kind.URIS,
        "what the web server sends here: a prefix such as /blog/ or an extension such as .php",
        default=(),
        default_text='["/NAME/"]',
        inherits=False,
        fcgi="Alias, AddHandler",
        lighttpd="key of fastcgi.server",
    )
    document_root: str | None = server_option(
        Kind.PATH,
        "directory of the scripts; begins SCRIPT_FILENAME where uri is an extension",
        default=None,
    )
    app_conn_timeout: Duration = server_option(
        Kind.DURATION,
        "how long the web server waits for a connection; 0 is the server's default",
        default=0,
        minimum=0,
        fcgi="-appConnTimeout",
        lighttpd="connect-timeout",
    )
    idle_timeout: Duration = server_option(
        Kind.DURATION,
        "how long the web server waits for the next byte of an answer",
        default=30 * SECOND,
        minimum=1 * SECOND,
        fcgi="-idle-timeout",
        lighttpd="read-timeout",
    )
    flush: bool = server_option(Kind.BOOLEAN, "send every piece of an answer on at once", default=False, fcgi="-flush")
    pass_header: tuple[str, ...] = server_option(
        Kind.TEXTS, "request headers that are passed although they usually are not", default=(), fcgi="-pass-header"
    )
    nph: bool = server_option(Kind.BOOLEAN, "the application writes the whole HTTP answer", default=False, fcgi="-nph")
    role: str = server_option(
        Kind.ENUM,
        "the FastCGI role",
        default="responder",
        choices=("responder", "authorizer"),
        fcgi="FastCgiAuth...",
        lighttpd="mode",
    )
    docroot: str | None = server_option(
        Kind.PATH,
        "document root as the application sees it; required for an authorizer in lighttpd",
        default=None,
        lighttpd="docroot",
    )
    check_local: bool = server_option(
        Kind.BOOLEAN, "ask only for files that exist", default=False, lighttpd="check-local"
    )
    broken_scriptfilename: bool = server_option(
        Kind.BOOLEAN, "work around PHP's mangled SCRIPT_FILENAME", default=False, lighttpd="broken-scriptfilename"
    )
    allow_x_send_file: bool = server_option(
        Kind.BOOLEAN, "let the application name a file to be sent", default=False, lighttpd="allow-x-send-file"
    )
    disable_time: Duration = server_option(
        Kind.DURATION,
        "how long an unreachable host is left alone",
        default=1 * SECOND,
        minimum=0,
        lighttpd="disable-time",
    )
    map_extensions: Mapping[str, str] = server_option(
        Kind.EXTENSIONS,
        "extensions that are handled like another one",
        factory=dict,
        key="fastcgi.map-extensions",
        lighttpd="fastcgi.map-extensions",
    )
    debug: int = server_option(
        Kind.INTEGER,
        "lighttpd's debug level for FastCGI",
        default=0,
        minimum=0,
        maximum=65535,
        key="fastcgi.debug",
        lighttpd="fastcgi.debug",
    )
