"""What the snippets say; that real servers understand it is shown by tests/integration/web."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from fcgipm.config.schema import SECOND, Application, External
from fcgipm.webserver import lighttpd, nginx
from fcgipm.webserver.target import Site, SnippetError

HTTP, SERVER = nginx.Context.HTTP, nginx.Context.SERVER


def app(name: str, *uri: str, **more: Any) -> Application:
    more.setdefault("socket", f"/run/fcgipm/{name}.sock")
    return Application(name=name, command=("/bin/true",), uri=uri or (f"/{name}/",), **more)


def in_nginx(apps: Sequence[Application | External], contexts: Sequence[nginx.Context] = (HTTP, SERVER)) -> str:
    return nginx.snippet(Site(applications=apps), contexts)


def in_lighttpd(apps: Sequence[Application | External]) -> str:
    return lighttpd.snippet(Site(applications=apps))


def location(text: str, head: str) -> str:
    """Return the body of one location of nginx."""
    assert f"\nlocation {head} {{\n" in text, text
    return text.split(f"\nlocation {head} {{\n")[1].split("\n}", maxsplit=1)[0]


def test_the_first_comment_says_where_it_is_included() -> None:
    assert in_nginx([app("a")], [HTTP]).startswith("# fcgipm, context http: include this part within http { }")
    assert in_nginx([app("a")], [SERVER]).startswith("# fcgipm, context server: include this part within server")
    assert in_lighttpd([app("a")]).startswith("# fcgipm: include this at the top level of lighttpd.conf")


def test_both_contexts_are_printed_with_a_comment_between_them() -> None:
    text = in_nginx([app("a")])

    assert text == in_nginx([app("a")], [HTTP]) + "\n" + in_nginx([app("a")], [SERVER])


def test_a_prefix_is_the_script_and_the_rest_is_its_path() -> None:
    body = location(in_nginx([app("blog")], [SERVER]), '^~ "/blog/"')

    assert 'fastcgi_split_path_info "(?s)^(/blog)(.*)$";' in body
    assert "fastcgi_pass fcgipm_blog;" in body
    assert '"/blog" => (' in in_lighttpd([app("blog")])


def test_a_prefix_without_a_slash_at_its_end_wants_that_path_too_but_no_longer_name() -> None:
    text = in_nginx([app("a", "/cgi/run")], [SERVER])

    assert location(text, '= "/cgi/run"') == location(text, '^~ "/cgi/run/"')
    assert '$HTTP["url"] =~ "^/cgi/run(/|$)"' in in_lighttpd([app("a", "/cgi/run")])


def test_an_extension_needs_its_file_and_the_root_is_the_applications() -> None:
    body = location(in_nginx([app("a", ".php", document_root="/srv/a b")], [SERVER]), '~ "\\\\.php(/|$)"')

    assert 'root "/srv/a b";' in body
    assert "try_files $fastcgi_script_name =404;" in body
    assert 'server.document-root = "/srv/a b"' in in_lighttpd([app("a", ".php", document_root="/srv/a b")])
    assert '"check-local" => "enable"' in in_lighttpd([app("a", ".php", document_root="/srv/a b")])


def test_files_of_another_machine_are_not_looked_for_unless_told() -> None:
    far = External(name="far", host=("10.0.0.5:9000",), uri=(".php",))
    near = External(name="far", host=("10.0.0.5:9000",), uri=(".php",), check_local=True)

    assert "try_files" not in in_nginx([far])
    assert "cgi.fix_pathinfo=0" in in_nginx([far])
    assert "cgi.fix_pathinfo=0" in in_lighttpd([far])
    assert "try_files" in in_nginx([near])
    assert '"check-local" => "enable"' in in_lighttpd([near])


def test_the_application_may_see_its_files_elsewhere() -> None:
    body = in_nginx([app("a", ".php", document_root="/srv/jail/www", docroot="/www")], [SERVER])

    assert 'root "/srv/jail/www";' in body
    assert 'fastcgi_param DOCUMENT_ROOT "/www";' in body
    assert 'fastcgi_param SCRIPT_FILENAME "/www$fastcgi_script_name";' in body


def test_a_program_at_a_prefix_is_told_its_own_name() -> None:
    assert 'fastcgi_param SCRIPT_FILENAME "/bin/true";' in in_nginx([app("a")])
    rooted = in_nginx([app("a", document_root="/srv")])
    assert 'fastcgi_param SCRIPT_FILENAME "$document_root$fastcgi_script_name";' in rooted


def test_times_and_flush_are_carried_over() -> None:
    one = app("a", app_conn_timeout=2 * SECOND + 1, idle_timeout=90 * SECOND, flush=True)
    text, other = in_nginx([one]), in_lighttpd([one])

    assert "fastcgi_connect_timeout 2001ms;" in text
    assert "fastcgi_read_timeout 90s;" in text
    assert "fastcgi_buffering off;" in text
    assert '"connect-timeout" => 3,' in other
    assert '"read-timeout" => 90,' in other
    assert "server.stream-response-body = 1" in other


def test_without_a_connect_timeout_the_servers_default_holds() -> None:
    assert "connect_timeout" not in in_nginx([app("a")])
    assert "connect-timeout" not in in_lighttpd([app("a")])


def test_several_hosts_are_balanced_over() -> None:
    one = External(name="far", host=("10.0.0.5:9000", "[::1]:9001"), uri=("/far/",), disable_time=7 * SECOND)

    assert 'server "10.0.0.5:9000" fail_timeout=7s;\n    server "[::1]:9001" fail_timeout=7s;' in in_nginx([one])
    text = in_lighttpd([one])
    assert '"host" => "10.0.0.5",\n                "port" => 9000,' in text
    assert '"host" => "::1",\n                "port" => 9001,' in text
    assert text.count('"disable-time" => 7,') == 2


@pytest.mark.parametrize(("address", "written"), [("0.0.0.0", "127.0.0.1:81"), ("::", "[::1]:81"), ("::1", "[::1]:81")])
def test_who_listens_on_every_address_is_asked_on_the_loopback(address: str, written: str) -> None:
    assert f'server "{written}";' in in_nginx([app("a", socket=None, port=81, address=address)])


def test_names_that_differ_in_case_or_dots_give_different_upstreams() -> None:
    names = ["Blog", "blog", "_blog", "b.log", "b-log", "b_log", "B_log"]
    found = {
        line
        for line in in_nginx([app(name[0] + name[1:], f"/{name}/") for name in names]).lower().splitlines()
        if line.startswith("upstream ")
    }

    assert len(found) == len(names)


def test_what_nginx_cannot_do_is_said() -> None:
    one = app("a", nph=True, pass_header=("Authorization",), allow_x_send_file=True, debug=1)
    text = in_nginx([one])

    for word in ("# a: nph: nginx cannot", "# a: pass-header Authorization:", "X-Accel-Redirect", "fastcgi.debug"):
        assert word in text


def test_what_is_lighttpds_alone_is_carried_over() -> None:
    one = app(
        "a", ".php", document_root="/srv", broken_scriptfilename=True, allow_x_send_file=True, debug=1,
        map_extensions={".php3": ".php"}, docroot="/jail",
    )  # fmt: skip
    text = in_lighttpd([one])
    assert "# a: broken-scriptfilename does nothing here: with docroot," in text
    assert "does nothing" not in in_lighttpd([app("a", ".php", document_root="/srv", broken_scriptfilename=True)])

    for words in (
        '"broken-scriptfilename" => "enable"', '"x-sendfile" => "enable"', "fastcgi.debug = 1",
        'fastcgi.map-extensions = ( ".php3" => ".php" )', '"docroot" => "/jail"', "\\.php3(/|$)",
    ):  # fmt: skip
        assert words in text


def test_an_authorizer_guards_what_is_below_it_and_the_applications_there() -> None:
    found = [app("guard", "/blog/admin/", role="authorizer", docroot="/srv"), app("blog"), app("php", ".php")]
    text = in_nginx(found, [SERVER])

    admin = location(text, '^~ "/blog/admin/"')
    assert "auth_request /.fcgipm-authorizer/guard;" in admin
    assert "fastcgi_pass fcgipm_blog;" in admin
    assert "auth_request" not in location(text, '^~ "/blog/"')
    assert "internal;" in location(text, "= /.fcgipm-authorizer/guard")


def test_extensions_within_a_guarded_place_are_guarded() -> None:
    text = in_nginx([app("guard", "/in/", role="authorizer", docroot="/srv"), app("php", ".php")], [SERVER])

    body = location(text, '^~ "/in/"')
    assert "auth_request /.fcgipm-authorizer/guard;" in body.split("location ~")[1]


def test_lighttpd_needs_the_docroot_of_an_authorizer() -> None:
    with pytest.raises(SnippetError, match="guard: lighttpd's authorizers need docroot"):
        in_lighttpd([app("guard", role="authorizer")])


def test_two_applications_cannot_have_the_same_requests() -> None:
    with pytest.raises(SnippetError, match="a and b both want /x/"):
        in_nginx([app("a", "/x"), app("b", "/x/")])


def test_a_header_that_fools_programs_is_blanked_unless_asked_for() -> None:
    assert 'fastcgi_param HTTP_PROXY "";' in in_nginx([app("a")])
    assert "HTTP_PROXY" not in in_nginx([app("a", pass_header=("Proxy",))])


@pytest.mark.parametrize("root", ["/srv/$uri", "/srv/a\nb"])
def test_what_nginx_has_no_words_for_is_refused(root: str) -> None:
    with pytest.raises(SnippetError, match="nginx"):
        in_nginx([app("a", ".php", document_root=root)])


def test_quotes_and_backslashes_are_escaped() -> None:
    one = app("a", ".php", document_root='/srv/a"\\b')

    assert 'root "/srv/a\\"\\\\b";' in in_nginx([one])
    assert 'server.document-root = "/srv/a\\"\\b"' in in_lighttpd([one])
