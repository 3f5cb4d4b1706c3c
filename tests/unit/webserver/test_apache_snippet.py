"""What the snippet for Apache says; that a real Apache understands it is shown by tests/integration/web."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from fcgipm.config.schema import SECOND, Application, External
from fcgipm.webserver import apache
from fcgipm.webserver.target import Site, SnippetError


def app(name: str, *uri: str, **more: Any) -> Application:
    if "port" not in more:
        more.setdefault("socket", f"/run/fcgipm/{name}.sock")
    return Application(name=name, command=("/bin/true",), uri=uri or (f"/{name}/",), **more)


def snippet(apps: Sequence[Application | External]) -> str:
    return apache.snippet(Site(applications=apps))


def section(text: str, head: str) -> str:
    """Return the body of one section."""
    assert f"\n{head}\n" in text, text
    return text.split(f"\n{head}\n")[1].split("\n</", maxsplit=1)[0]


def modules(text: str) -> list[str]:
    line = next(line for line in text.splitlines() if "a2enmod" in line)
    return line.split("a2enmod ")[1].split()


def test_the_first_comment_says_where_it_belongs_and_what_it_needs() -> None:
    text = snippet([app("a")])

    assert text.startswith("# fcgipm: save this as /etc/apache2/conf-available/fcgipm.conf, then\n")
    assert "include it within its <VirtualHost>" in text
    assert modules(text) == ["alias", "env", "proxy", "proxy_fcgi"]
    guarded = snippet([app("guard", role="authorizer", port=9000)])
    assert modules(guarded)[4:] == ["authnz_fcgi", "authz_user"]
    assert "Apache allows authorizers nowhere else" in guarded
    several = snippet([External(name="far", host=("10.0.0.5:1", "10.0.0.6:1"), uri=("/far/",))])
    assert modules(several)[4:] == ["proxy_balancer", "lbmethod_byrequests", "proxy_hcheck"]


def test_a_prefix_is_the_script_and_the_rest_is_its_path() -> None:
    text = snippet([app("blog")])

    assert '\nProxyPass "/blog/" "unix:/run/fcgipm/blog.sock|fcgi://fcgipm-blog/"\n' in text
    body = section(text, '<Location "/blog">')
    assert 'ProxyFCGISetEnvIf "%{REQUEST_URI} =~ m#(?s)^/blog(.*)$#" SCRIPT_NAME "/blog"' in body
    assert 'ProxyFCGISetEnvIf "%{REQUEST_URI} =~ m#(?s)^/blog(.*)$#" PATH_INFO "$1"' in body
    assert 'SCRIPT_FILENAME "/bin/true"' in body
    assert '"%{DOCUMENT_ROOT}%{reqenv:SCRIPT_NAME}"' not in body


def test_the_longest_prefix_comes_first_and_is_left_out_of_the_others() -> None:
    text = snippet([app("all", "/"), app("x", "/x/run")])

    assert text.index('ProxyPass "/x/run" ') < text.index('ProxyPass "/" ')
    section(text, '<LocationMatch "^(?!/x/run(?:/|$))(?:/|$)">')
    section(text, '<Location "/x/run">')


def test_a_prefix_that_would_be_a_pattern_is_none() -> None:
    section(snippet([app("a", "/a[b]*/")]), '<LocationMatch "^/a\\[b\\]\\*(?:/|$)">')


def test_an_extension_needs_its_file() -> None:
    text = snippet([app("a", ".php", document_root="/srv/a b")])

    body = section(text, '<FilesMatch "\\.php$">')
    assert '<If "-f %{REQUEST_FILENAME}">' in body
    assert 'SetHandler "proxy:unix:/run/fcgipm/a.sock|fcgi://fcgipm-a"' in body
    assert 'AliasMatch "^(/.*\\.php(?:/.*)?)$" "/srv/a b$1"' in text
    assert "Require all granted" in section(text, '<Directory "/srv/a b">')


def test_files_of_another_machine_are_not_looked_for_unless_told() -> None:
    far = snippet([External(name="far", host=("10.0.0.5:9000",), uri=(".php",), document_root="/srv")])
    near = snippet([External(name="far", host=("10.0.0.5:9000",), uri=(".php",), check_local=True)])

    assert 'ProxyPassMatch "\\.php(/|$)" "fcgi://10.0.0.5:9000/"' in far
    assert "cgi.fix_pathinfo=0" in far
    assert "-f " not in far
    assert "<Directory" not in far
    assert '<If "-f %{REQUEST_FILENAME}">' in near


def test_connections_are_not_kept_and_failures_not_remembered() -> None:
    body = section(snippet([app("a")]), '<Proxy "unix:/run/fcgipm/a.sock|fcgi://fcgipm-a/">')

    assert body.split() == ["ProxySet", "enablereuse=off", "timeout=30", "retry=0"]


def test_times_and_flush_are_carried_over() -> None:
    text = snippet([app("a", app_conn_timeout=2 * SECOND + 1, idle_timeout=90 * SECOND, flush=True)])

    assert "timeout=90 connectiontimeout=2001ms flushpackets=on" in text


def test_several_hosts_are_balanced_over_but_never_asked_one_after_the_other() -> None:
    hosts = ("10.0.0.5:9000", "[::1]:9001")
    text = snippet([External(name="far", host=hosts, uri=("/far/",), disable_time=7 * SECOND)])

    body = section(text, '<Proxy "balancer://fcgipm-far">')
    assert 'BalancerMember "fcgi://10.0.0.5:9000" enablereuse=off timeout=30 retry=7 hcmethod=TCP hcinterval=7' in body
    assert 'BalancerMember "fcgi://[::1]:9001" ' in body
    assert "ProxySet maxattempts=0" in body
    assert 'ProxyPass "/far/" "balancer://fcgipm-far/"' in text


@pytest.mark.parametrize(("address", "written"), [("0.0.0.0", "127.0.0.1:81"), ("::", "[::1]:81"), ("::1", "[::1]:81")])
def test_who_listens_on_every_address_is_asked_on_the_loopback(address: str, written: str) -> None:
    assert f'"fcgi://{written}/"' in snippet([app("a", port=81, address=address)])


def test_names_that_differ_in_case_or_dots_give_different_workers() -> None:
    names = ["Blog", "blog", "b.log", "b-log", "b_log", "B_log"]
    text = snippet([app(name, f"/{name}/", socket="/run/s") for name in names])

    assert len({line.lower() for line in text.splitlines() if line.startswith("<Proxy ")}) == len(names)


def test_the_application_may_see_its_files_elsewhere() -> None:
    body = section(snippet([app("a", ".php", document_root="/srv/jail/www", docroot="/www")]), '<FilesMatch "\\.php$">')

    assert 'DOCUMENT_ROOT "/www"' in body
    assert 'SCRIPT_FILENAME "/www%{reqenv:SCRIPT_NAME}"' in body


def test_headers_are_passed_that_usually_are_not() -> None:
    assert 'ProxyFCGISetEnvIf "true" !HTTP_PROXY' in snippet([app("a")])
    text = snippet([app("a", pass_header=("Authorization", "X_Token", "Proxy"))])

    assert "CGIPassAuth On" in text
    assert 'ProxyFCGISetEnvIf "-n req(\'X_Token\')" HTTP_X_TOKEN "%{HTTP:X_Token}"' in text
    assert "!HTTP_PROXY" not in text
    with pytest.raises(SnippetError, match="a: Apache cannot name this header: X'"):
        snippet([app("a", pass_header=("X'",))])


def test_an_authorizer_guards_the_innermost_place() -> None:
    found = [app(name, f"/{name}/", role="authorizer", port=9000) for name in ("in", "in/deep")]
    text = snippet([Application(**{**vars_of(one), "name": f"g{number}"}) for number, one in enumerate(found)])

    assert 'AuthnzFcgiDefineProvider authnz fcgipm-g0 "fcgi://127.0.0.1:9000/"' in text
    assert text.index('<Location "/in">') < text.index('<Location "/in/deep">')
    body = section(text, '<Location "/in/deep">')
    assert "AuthnzFcgiCheckAuthnProvider fcgipm-g1 RequireBasicAuth Off" in body
    assert "AuthMerging And" in body
    assert "FCGI_APACHE_ROLE=AUTHENTICATOR" in text


def vars_of(one: Application) -> dict[str, Any]:
    return {name: getattr(one, name) for name in ("command", "uri", "role", "port")}


def test_an_authorizer_needs_a_port() -> None:
    with pytest.raises(SnippetError, match="guard: Apache reaches authorizers over TCP only; give it a port"):
        snippet([app("guard", role="authorizer")])


def test_what_apache_cannot_do_is_said() -> None:
    text = snippet([app("a", nph=True, allow_x_send_file=True, debug=1)])

    for word in ("# a: nph: Apache cannot", "# a: allow-x-send-file", "# a: fastcgi.debug"):
        assert word in text


@pytest.mark.parametrize("root", ["/srv/${HOME}", "/srv/a\nb"])
def test_what_apache_has_no_words_for_is_refused(root: str) -> None:
    with pytest.raises(SnippetError, match="Apache"):
        snippet([app("a", ".php", document_root=root, docroot="/")])


@pytest.mark.parametrize("character", ["|", "?", "#", "%", "\\", '"', "\n"])
def test_a_socket_that_apache_would_misread_is_refused(character: str) -> None:
    with pytest.raises(SnippetError, match="a: Apache cannot name this socket"):
        snippet([app("a", socket=f"/run/a{character}b")])


def test_quotes_backslashes_and_what_expressions_read_are_escaped() -> None:
    text = snippet([app("a", ".php", document_root='/srv/a"\\b%{c}$1')])

    assert '<Directory "/srv/a\\"\\b%{c}$1">' in text
    assert 'DOCUMENT_ROOT "/srv/a\\"\\\\\\b\\%{c}\\$1"' in text


def test_two_applications_cannot_have_the_same_requests() -> None:
    with pytest.raises(SnippetError, match="a and b both want /x/"):
        snippet([app("a", "/x"), app("b", "/x/")])
