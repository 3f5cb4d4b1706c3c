"""What nginx needs for applications whose number of instances follows demand: to ask for one, and to report.

A request goes straight to the socket, always.  Only where no connection came about, fcgipm is asked (auth_request)
and the request goes the same way a second time.  Nothing that was sent is sent again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from fcgipm.config.schema import SECOND
from fcgipm.reporting import NGINX
from fcgipm.webserver.nginx_language import block, quote, time
from fcgipm.webserver.target import Site, SnippetError

NAME: Final = "$fcgipm_name"
"""The variable with the name of the application that a request is for; empty where it is none of ours."""
ASKING: Final = "@fcgipm_ensure"
MISSING: Final = "@fcgipm_missing"
"""Where a request goes whose file is not there: a page of the server's own for 404 holds again."""

_SET: Final = ("app", "uri", "root", "rest", "again", "verdict", "pause")
_ANSWERS: Final = (
    ('"~^1 .*504$"', 504, "it was sent, and there was no answer in time"),
    ('"~^1 "', 502, "it was sent, and the connection broke"),
    ('"~^ 403 "', 403, "fcgipm may not run this"),
    ('"~^ 404 "', 404, "fcgipm knows no such thing"),
    ('"~^ (200|503) "', 503, "fcgipm refused, or the queue was full again"),
    ("default", 502, "fcgipm did not answer"),
)
_MARGIN: Final = 5 * SECOND
"""How much longer nginx waits for the answer than fcgipm for an instance."""


def in_location(name: str | None) -> Iterator[str]:
    """Yield what begins a location of the application *name*, or of some root's scripts, which have theirs later."""
    if name is not None:
        yield f"set $fcgipm_app {quote(name)};"
    yield "set $fcgipm_uri $uri;  # as it came, for a second time"
    yield "fastcgi_request_buffering on;  # likewise the body"
    yield "fastcgi_intercept_errors off;"
    yield "recursive_error_pages on;"
    yield f"error_page 502 504 = {ASKING};  # replaces the server's own error_page lines here"


def http_part(site: Site, scripts: Sequence[str]) -> Iterator[str]:
    """Yield what belongs into the http context; *scripts* are more maps, for the roots if there are any."""
    yield ""
    yield "# ── applications that follow demand ──"
    yield from block(
        "upstream fcgipm_connector",
        [f"server {quote(f'unix:{site.connector}', variables=False)} max_fails=0;"] * 2,
        "Where fcgipm is asked for an instance. Twice: if the manager dies meanwhile, its successor is asked.",
    )
    yield ""
    yield "# What the locations set; here only so that nginx knows these names everywhere."
    for name in _SET:
        yield f'map "" $fcgipm_{name} {{ default ""; }}'
    yield from scripts
    script = ['"" $fcgipm_app;', 'default "$fcgipm_root$fcgipm_script";'] if scripts else ["default $fcgipm_app;"]
    yield from variable(
        "$fcgipm_root", "name", script, "Whose the request is: a declared application's, or a script's."
    )
    yield from _outcome()
    yield from _reports(site)


def variable(source: str, name: str, values: Iterable[str], *remarks: str) -> Iterator[str]:
    """Yield a map from *source* to the variable *name*, worked out anew whenever it is asked for."""
    yield from block(f"map {source} $fcgipm_{name}", ["volatile;", *values], *remarks)


def _outcome() -> Iterator[str]:
    yield from variable(
        "$upstream_connect_time", "sent", ['"~^-([ ,:]+-)*$" "";', "default 1;"],
        "Whether the application may have got something of the request. A connection that never stood has no time",
        'but "-". Only then a request goes out again: a POST that was read may have done its work already.',
    )  # fmt: skip
    yield from variable(
        '"$fcgipm_again$fcgipm_sent"', "over", ['"" "";', "default 1;"],
        "Whether that was all: it was sent, or it is the second time already.",
    )  # fmt: skip
    yield from variable(
        '"$fcgipm_sent $fcgipm_verdict $upstream_status"', "answer",
        [f"{pattern} {status};  # {why}" for pattern, status, why in _ANSWERS],
        "What the visitor gets in the end.",
    )  # fmt: skip
    yield from variable("$fcgipm_pause", "retry_after", ['"" 1;', "default $fcgipm_pause;"])


def _reports(site: Site) -> Iterator[str]:
    if re.search(r"[\s,\"'$;{}\\]", site.report):
        raise SnippetError(f"nginx cannot name this socket as a log: {site.report}")
    yield from block(
        "map $upstream_addr $fcgipm_reported", ['"" "";', f"default {NAME};"],
        "One line to fcgipm for each finished request of these applications, and of no other. Access logs of your",
        "own that are written in http { } go on as they are. A server or location that has an access_log of its",
        "own has to have the one below as well; without it nothing is lost but numbers. (Where nobody has written",
        "an access_log, nginx has one all the same, until it sees this one: then write that out, too.)",
    )  # fmt: skip
    yield f"log_format fcgipm_report '{NGINX}{NAME}';"
    yield f"access_log syslog:server=unix:{site.report},nohostname,tag=fcgipm fcgipm_report if=$fcgipm_reported;"


def server_part(longest_start: int) -> Iterator[str]:
    """Yield what all locations of one server share; *longest_start* (ns) is how long an instance may take to come."""
    yield ""
    yield "# ── applications that follow demand: when nobody was there ──"
    yield "#"
    yield "# A location above could not connect (502, 504) and comes to @fcgipm_ensure. If anything was sent, that is"
    yield "# the end. If not, fcgipm is asked (/.fcgipm-ensure) and answers when an instance is there; then the request"
    yield "# takes the same way again (@fcgipm_again), once. If fcgipm refuses, the visitor is told: 503 with"
    yield "# Retry-After, 403 or 404. In the error log, each connect() that failed is a line, and each refusal another"
    yield '# one, in nginx\'s words "auth request unexpected status".'
    yield from block(
        f"location {ASKING}",
        [
            f"set $fcgipm_app {NAME};",
            'set $fcgipm_root "";',
            *_unless("$fcgipm_over", 502),
            "set $fcgipm_again 1;",
            "satisfy all;  # these three: whoever comes here was let in before",
            "allow all;",
            "auth_basic off;",
            "auth_request /.fcgipm-ensure;",
            "auth_request_set $fcgipm_verdict $upstream_status;",
            "auth_request_set $fcgipm_pause $upstream_http_retry_after;",
            "recursive_error_pages on;",
            "error_page 403 500 502 = @fcgipm_refused;  # auth_request makes 500 of 404 and 503",
            "try_files /.fcgipm-nothing @fcgipm_again;  # there is no such file: go on there",
        ],
    )
    yield from block("location = /.fcgipm-ensure", [
        "internal;",
        "proxy_pass http://fcgipm_connector/v1/ensure;",
        "proxy_pass_request_headers off;  # nothing of the visitor's",
        "proxy_pass_request_body off;",
        'proxy_set_header Content-Length "";',
        "proxy_set_header Host fcgipm;",
        "proxy_set_header X-Fcgipm-App $fcgipm_app;",
        f"proxy_read_timeout {time(longest_start + _MARGIN)};",
        "proxy_next_upstream error;",
        "proxy_intercept_errors off;",
        "proxy_cache off;",
    ])  # fmt: skip
    yield from block("location @fcgipm_again", ['rewrite "(?s)^" $fcgipm_uri last;'])
    yield from _ends()


def _ends() -> Iterator[str]:
    yield from block(
        "location @fcgipm_refused",
        [
            "recursive_error_pages on;",
            "error_page 502 = @fcgipm_failed;",
            *_unless("$fcgipm_answer != 503", 502),
            "add_header Retry-After $fcgipm_retry_after always;",
            "return 503;",
        ],
        "Refused. With nginx's own page: one of yours would come without Retry-After.",
    )
    ifs = [line for status in (403, 404, 504) for line in _unless(f"$fcgipm_answer = {status}", status)]
    yield from block(
        "location @fcgipm_failed",
        [*ifs, "return 502;"],
        "All else. Here the server's own error_page lines hold again.",
    )
    yield from block(f"location {MISSING}", ["return 404;"])


def _unless(condition: str, status: int) -> Iterator[str]:
    yield f"if ({condition}) {{"
    yield f"    return {status};"
    yield "}"
