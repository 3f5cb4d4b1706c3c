"""What the configuration for Apache says in comments: where it belongs, what it needs, what Apache cannot do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from fcgipm.config.schema import ServerOptions
from fcgipm.webserver.target import UNCHECKED_FILES, Scripts, Target

PASSED_BY_OPTION: Final = "authorization"
"""The request header, in lower case, that Apache passes where CGIPassAuth says so; others need a line of their own."""


def head(found: Sequence[Target], scripts: Sequence[Scripts]) -> Iterator[str]:
    """Yield the comments at the beginning: where to include it, what it needs, and what Apache cannot do."""
    yield "# fcgipm: save this as /etc/apache2/conf-available/fcgipm.conf, then"
    yield f"#     a2enmod {' '.join(_modules(found, scripts))}"
    yield "#     a2enconf fcgipm"
    yield "#     systemctl restart apache2"
    if any(target.authorizes for target in found):
        yield "# It holds for every virtual host: Apache allows authorizers nowhere else."
    else:
        yield "# It holds for every virtual host; to have it in one, include it within its <VirtualHost> instead."
    yield "#"
    yield "# enablereuse=off: an instance serves one connection at a time; one that Apache kept for later would"
    yield "# occupy it although nobody asks, and others would wait. retry=0: after a failure Apache asks again at once,"
    yield "# not after a minute. A body is passed on as it arrives, so a slow visitor occupies an instance meanwhile."
    if scripts or any(target.follows_demand for target in found):
        yield "#"
        yield "# Of applications that follow demand: a declared one always has its socket, and fcgipm sees who waits"
        yield "# there, so nobody has to ask it for an instance. Where too many wait (listen-queue-depth), more wait in"
        yield '# Apache, each in one of its threads; overload-response = "503" lets fcgipm turn visitors away then.'
    if scripts:
        yield "# A script has its socket from the start on where its root says listen = true. Elsewhere Apache answers"
        yield "# 503 until something that can ask fcgipm has had it started once."
    for target in found:
        yield from _remarks(target)
    for one in scripts:
        yield from (f"# {one.name}: {remark}." for remark in _remarks_on(one.options))


def _modules(found: Sequence[Target], scripts: Sequence[Scripts]) -> list[str]:
    modules = ["alias", "env", "proxy", "proxy_fcgi"]
    if scripts:
        modules.append("rewrite")
    if any(len(target.addresses) > 1 and not target.authorizes for target in found):
        modules += ["proxy_balancer", "lbmethod_byrequests", "proxy_hcheck"]
    if any(target.authorizes for target in found):
        modules += ["authnz_fcgi", "authz_user"]
    return modules


def _remarks(target: Target) -> Iterator[str]:
    """Yield comments about what Apache cannot do, or does anyway."""
    for remark in _authorizer_remarks(target) if target.authorizes else _responder_remarks(target):
        yield f"# {target.name}: {remark}."


def _responder_remarks(target: Target) -> Iterator[str]:
    yield from _remarks_on(target.options)
    if len(target.addresses) > 1:
        yield (
            "of several hosts each gets its turn; all are looked at every disable-time, and who cannot be reached gets "
            "none. A request is never sent to a second one: Apache would do so also after the first has read it"
        )
    if target.runs_unchecked_files:
        yield UNCHECKED_FILES


def _remarks_on(options: ServerOptions) -> Iterator[str]:
    if options.nph:
        yield "nph: Apache cannot pass on an answer that begins with HTTP/1.1; it needs CGI headers (Status:)"
    if options.allow_x_send_file:
        yield "allow-x-send-file: Apache has no X-Sendfile of its own (the module xsendfile brings it, XSendFile on)"
    if options.debug:
        yield "fastcgi.debug is lighttpd's; here: LogLevel proxy_fcgi:trace8"


def _authorizer_remarks(target: Target) -> Iterator[str]:
    options = target.options
    yield (
        "authorizer: it is asked once for each request, with FCGI_ROLE=AUTHORIZER and FCGI_APACHE_ROLE=AUTHENTICATOR: "
        "that is the phase in which Apache needs no user yet. 200 lets pass, and Variable-NAME becomes the variable "
        "NAME of the application behind it, REMOTE_USER also the user's name; any other answer goes to the visitor"
    )
    yield (
        "where Apache knows its users itself (AuthType Basic), define the provider as authz instead and leave "
        "AuthnzFcgiCheckAuthnProvider out: it is then asked with FCGI_APACHE_ROLE=AUTHORIZER, after them"
    )
    yield "mod_authnz_fcgi waits 30 s, whatever idle-timeout says, and looks the host up only when Apache starts"
    if len(target.addresses) > 1:
        yield "mod_authnz_fcgi knows one host: only the first is asked"
    other = [name for name in options.pass_header if name.lower() != PASSED_BY_OPTION]
    if other:
        yield f"pass-header {', '.join(other)}: for an authorizer Apache passes none but Authorization"
