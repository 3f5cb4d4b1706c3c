"""What the snippets say of applications that follow demand; that real servers do so is shown by tests/integration."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fcgipm.config.schema import SECOND, Application, Dynamic, Root
from fcgipm.webserver import apache, lighttpd, nginx
from fcgipm.webserver.target import Scripts, Site, SnippetError

RENDERERS = (nginx.snippet, lighttpd.snippet, apache.snippet)


def app(name: str, *uri: str, **more: Any) -> Application:
    more = {"socket": f"/run/fcgipm/{name}.sock", **more}
    return Application(name=name, command=("/bin/true",), uri=uri or (f"/{name}/",), **more)


def flexible(name: str, *uri: str, **more: Any) -> Application:
    return app(name, *uri, processes=None, min_processes=0, max_processes=4, **more)


def root(name: str = "bin", **more: Any) -> Root:
    return Root(**{"path": f"/srv/{name}", "name": name, "uri": f"/{name}/", **more})


def found(path: str, name: str = "bin") -> Application:
    """Return a script that has a socket."""
    uri, socket = f"/{name}/{path}", f"/run/fcgipm/dynamic/{name}/{path}.sock"
    return flexible(f"{name}/{path}", uri, socket=socket)


def site(*apps: Application, roots: tuple[Root, ...] = (), **more: Any) -> Site:
    dynamic = Dynamic(roots=roots, **more) if roots else None
    return Site(applications=apps, dynamic=dynamic)


def block(text: str, head: str) -> str:
    """Return the body of one block of nginx, at whatever depth."""
    match = re.search(rf"^( *){re.escape(head)} \{{\n(.*?)^\1\}}$", text, re.MULTILINE | re.DOTALL)
    assert match is not None, text
    return match[2]


# ── every server ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("render", RENDERERS)
def test_where_nothing_follows_demand_nothing_is_asked_and_nothing_is_reported(render: Any) -> None:
    text = render(site(app("fixed"), app("ranged", processes=None, min_processes=3, max_processes=3)))

    for word in ("demand", "connector", "report", "accesslog", "access_log", "GlobalLog", "error_page", "FCGIPM"):
        assert word not in text


@pytest.mark.parametrize("render", RENDERERS)
def test_only_what_follows_demand_is_reported(render: Any) -> None:
    text = render(site(app("fixed"), flexible("flex")))

    assert re.search(r'^ *(set \$fcgipm_app "flex"|accesslog.format = .*\|flex"|SetEnv FCGIPM_APP flex)', text, re.M)
    assert not re.search(r'fcgipm_app "fixed"|\|fixed"|FCGIPM_APP fixed', text)


@pytest.mark.parametrize("render", RENDERERS)
def test_an_authorizer_is_not_asked_for(render: Any) -> None:
    guard = flexible("guard", "/in/", role="authorizer", docroot="/srv", socket=None, port=9000)

    assert "connector" not in render(site(guard))


@pytest.mark.parametrize("render", RENDERERS)
def test_a_root_and_an_application_cannot_have_the_same_requests(render: Any) -> None:
    with pytest.raises(SnippetError, match="a and bin both want /bin/"):
        render(site(app("a", "/bin/"), roots=(root(),)))


@pytest.mark.parametrize("render", RENDERERS)
def test_scripts_authorize_nobody(render: Any) -> None:
    with pytest.raises(SnippetError, match="has to be declared"):
        render(site(roots=(root(),), role="authorizer"))


def test_the_names_of_scripts_end_where_the_path_of_a_socket_does() -> None:
    scripts = Scripts(root(), Dynamic(roots=(root(),)), "/run/fcgipm")

    assert scripts.sockets == "/run/fcgipm/dynamic/bin"
    assert len(scripts.sockets + "/" + "a" * (scripts.longest - 1) + ".sock") == 107


# ── nginx ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_place_asks_for_all_and_waits_as_long_as_the_slowest_start() -> None:
    apps = (flexible("a", start_timeout=10 * SECOND), flexible("b", ".b", "/c/", start_timeout=70 * SECOND))
    text = nginx.snippet(site(*apps, roots=(root(),)))

    assert text.count("location @fcgipm_ensure {") == 1
    assert "proxy_read_timeout 75s;" in block(text, "location = /.fcgipm-ensure")
    assert text.count("error_page 502 504 = @fcgipm_ensure;") == 4
    for line in ("access_log syslog:", "log_format ", "upstream fcgipm_connector {"):
        assert text.count(f"\n{line}") == 1


def test_nothing_of_the_visitor_goes_into_the_question() -> None:
    body = block(nginx.snippet(site(flexible("a"))), "location = /.fcgipm-ensure")

    for line in ("internal;", "proxy_pass_request_headers off;", "proxy_pass_request_body off;"):
        assert line in body
    assert "$args" not in body
    assert "$uri" not in body


@pytest.mark.parametrize(("path", "safe"), [
    ("/a.fcgi", True), ("/a/b-c_d.fcgi", True), ("/.hidden", True), ("/a..b", True), ("/...", True),
    ("/../a", False), ("/a/..", False), ("/.", False), ("/a/./b", False), ("/a\n", False), ("/a b", False),
    ("/", False), ("/\u00e4", False), ("/a//b", False), ("/a/", False), ("a", False), ("/a$b", False),
    ("/" + "a" * 100, False),
])  # fmt: skip
def test_a_socket_is_named_only_by_a_path_that_a_script_can_have(path: str, safe: bool) -> None:
    line = block(nginx.snippet(site(roots=(root(),))), 'map "$fcgipm_root $uri" $fcgipm_script').splitlines()[1]
    pattern = line.strip().split('"')[1].removeprefix("~").replace("\\\\", "\\")
    python = pattern.replace("(?<", "(?P<").replace("(?P<!", "(?<!").replace(r"\z", r"\Z")

    assert bool(re.search(python, f"bin {path}")) is safe


def test_a_script_is_told_where_it_is_in_its_own_root_directory() -> None:
    inner = root(path="/srv/jail/scripts")
    text = nginx.snippet(site(roots=(inner,), chroot="/srv/jail", document_root="/srv/www"))

    assert 'fastcgi_param SCRIPT_FILENAME "/scripts$fcgipm_script";' in text
    assert 'fastcgi_param DOCUMENT_ROOT "/srv/www";' in text
    assert 'root "/srv/jail/scripts";' in text


def test_a_flat_root_needs_no_files() -> None:
    text = nginx.snippet(site(roots=(root(recursive=False),)))

    assert 'rewrite "(?s)^" $fcgipm_1 break;' in text
    assert "$fcgipm_2" not in text
    assert "fcgipm_document_root" not in text


@pytest.mark.parametrize("directory", ["/run/a b", "/run/a,b", "/run/$a"])
def test_a_directory_that_nginx_cannot_log_to_is_refused(directory: str) -> None:
    with pytest.raises(SnippetError, match="as a log"):
        nginx.snippet(Site(applications=[flexible("a")], runtime_dir=directory), [nginx.Context.HTTP])


# ── lighttpd ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_lighttpd_knows_the_scripts_that_have_sockets_the_longest_name_first() -> None:
    text = lighttpd.snippet(site(found("a"), found("a.b"), found("x", "other"), roots=(root(),)))

    assert '$HTTP["url"] =~ "^/bin/(a\\.b|a)(/|$)" {' in text
    assert text.index('"/bin/a.b" => (') < text.index('"/bin/a" => (')
    assert '"socket" => "/run/fcgipm/dynamic/bin/a.b.sock"' in text
    assert "other" not in text


def test_lighttpd_sends_nothing_else_of_a_root() -> None:
    text = lighttpd.snippet(site(roots=(root(),)))

    body = text.split('$HTTP["url"] =~ "^/bin(/|$)" {\n')[1].split("\n}")[0]
    assert 'static-file.exclude-extensions = ( "" )' in body
    assert "fastcgi.server = ()" in body


def test_lighttpd_pipes_the_reports_to_where_the_daemon_listens() -> None:
    one = Site(applications=[flexible("a")], runtime_dir="/run/my fcgipm", reporter="/opt/fcgipm-report")

    assert "accesslog.filename = \"|/opt/fcgipm-report -s '/run/my fcgipm/report.sock'\"" in lighttpd.snippet(one)


# ── Apache ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_apache_compares_a_script_with_what_may_be_one() -> None:
    text = apache.snippet(site(roots=(root(match="*.fcgi"),)))

    assert 'RewriteCond %{REQUEST_FILENAME} "/(?=[^/]*\\z)(?s:.*\\.fcgi)\\z"' in text
    assert "H=proxy:unix:/run/fcgipm/dynamic/bin%1.sock|fcgi://fcgipm-bin," in text
    assert text.index("[R=404,END]") > text.index("[H=proxy:")
    assert "a2enmod alias env proxy proxy_fcgi rewrite" in text


def test_an_application_around_a_root_does_not_get_its_requests() -> None:
    text = apache.snippet(site(app("all", "/"), roots=(root(),)))

    assert text.index('ProxyPass "/bin/" !') < text.index('ProxyPass "/" ')
    assert '<LocationMatch "^(?!/bin(?:/|$))(?:/|$)">' in text


@pytest.mark.parametrize("directory", ["/run/a b", "/run/50%", "/run/a|b"])
def test_a_directory_that_apache_cannot_name_is_refused(directory: str) -> None:
    one = Site(applications=[], dynamic=Dynamic(roots=(root(),)), runtime_dir=directory)

    with pytest.raises(SnippetError, match="cannot name sockets"):
        apache.snippet(one)
