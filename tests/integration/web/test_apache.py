"""What Apache does in its own way: mod_proxy_fcgi and mod_authnz_fcgi before a daemon."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.components import need
from harness.daemon import Daemon
from harness.ports import free_port
from harness.waiting import until
from integration.web.applications import app, demo
from integration.web.foreign import foreign
from integration.web.servers import Answer, WebServer, connected

pytestmark = pytest.mark.needs("apache")

Starter = Callable[..., Daemon]
Apache = Callable[..., WebServer]

ALLOW = {"X-Allow": "yes"}
SHOW = "<?php header('Content-Type: application/json'); echo json_encode($_SERVER + ['ran' => basename(__FILE__)]);"

JUDGE = """
import socket, sys
from fcgipm.fastcgi import RequestParser, encode_response
listener = socket.socket(fileno=0)
while True:
    connection, _ = listener.accept()
    parser, requests = RequestParser(), []
    while not requests and (data := connection.recv(65536)):
        requests = parser.feed(data)
    for request in requests:
        with open(sys.argv[1], "w") as file:
            file.write("\\n".join(f"{name}={value}" for name, value in request.params.items()))
        answer = b"Status: 200 OK\\r\\nVariable-REMOTE_USER: ann\\r\\n\\r\\n"
        connection.sendall(encode_response(request.request_id, answer))
    connection.close()
"""
"""An authorizer that lets everybody pass, calls all of them ann, and writes down what it was told."""


@pytest.fixture
def apache(server: Callable[..., WebServer]) -> Apache:
    """Give a function (daemon, *apps, include="") that starts an Apache."""
    return lambda daemon, *apps, include="": server("apache", daemon, *apps, include=include)


def php(root: Path, *lines: str) -> str:
    """Return the table of an application for PHP's files below *root*."""
    return app("php", [need("php-cgi")], 'uri = [".php"]', f'document-root = "{root}"', *lines)


def authorizer(uri: str, *lines: str) -> str:
    """Return the table of an authorizer; Apache reaches them over TCP only."""
    return demo("guard", f'uri = ["{uri}"]', 'role = "authorizer"', f"port = {free_port('127.0.0.1')}", *lines)


def printed(daemon: Daemon) -> str:
    """Return what `fcgipmctl snippet apache` prints."""
    done = daemon.ctl("snippet", "apache")
    assert done.returncode == 0, done
    return done.stdout


def raw(site: WebServer, target: bytes) -> bytes:
    """Send a request whose target is *target* as it stands; return all that comes back."""
    with contextlib.closing(connected(site.address, timeout=20)) as connection:
        connection.sendall(b"GET " + target + b" HTTP/1.0\r\nHost: localhost\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def told(answer: Answer) -> dict[str, Any]:
    """Return the variables that the demonstration application got."""
    found = answer.json()["request"]
    assert isinstance(found, dict)
    return found


# ── which request is whose ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/all/a%20b", "/a b"),
        (b"/all/a%0d%0aX-Evil:%20yes", "/a\r\nX-Evil: yes"),
        (b"/all/%C3%A4/\xc3\xb6", "/\u00e4/\u00f6"),
        (b"/all/a%3fb%23c%25d%26e", "/a?b#c%d&e"),
        (b"/all/x/%2e%2e/y", "/y"),
        (b"/all//a///b", "/a/b"),
        (b"/all/%24%7BHOME%7D$1%25%7BREMOTE_ADDR%7D", "/${HOME}$1%{REMOTE_ADDR}"),
        (b"/all/\\1\"'", "/\\1\"'"),
    ],
)
def test_hostile_paths_arrive_as_what_they_are(start_daemon: Starter, apache: Apache, target: bytes, path: str) -> None:
    site = apache(start_daemon(demo("all", 'uri = ["/all/"]')))

    answer = raw(site, target)

    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.partition(b"\r\n\r\n")[2].decode() == f"no such page: {path}\n"
    assert b"x-evil" not in answer.partition(b"\r\n\r\n")[0].lower()


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/all/%2e%2e/x", 404), (b"/all/..%2f..%2fetc/passwd", 404), (b"/all/%00", 404), (b"/all/a b", 400),
        (b"/all/%zz", 400), (b"/all%2fping", 404), (b"/../all/ping", 400), (b"/ALL/ping", 404),
    ],
)  # fmt: skip
def test_other_paths_do_not_reach_it(start_daemon: Starter, apache: Apache, target: bytes, status: int) -> None:
    site = apache(start_daemon(demo("all", 'uri = ["/all/"]')))

    answer = raw(site, target)

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"pong" not in answer
    assert b"no such page" not in answer


def test_each_prefix_is_told_its_own(start_daemon: Starter, apache: Apache) -> None:
    outer = demo("all", 'uri = ["/"]', 'docroot = "/jail"', 'pass-header = ["Authorization", "X_Token"]')
    site = apache(start_daemon(outer + demo("inner", 'uri = ["/x/run", "/y/"]')))
    headers = {"Authorization": "Basic YTpi", "X_Token": "t", "Proxy": "evil"}

    seen = told(site.page("/env", headers=headers))
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"], seen["DOCUMENT_ROOT"]) == ("", "/env", "/jail")
    assert (seen["HTTP_AUTHORIZATION"], seen["HTTP_X_TOKEN"]) == ("Basic YTpi", "t")
    for prefix in ("/x/run", "/y"):
        seen = told(site.page(f"{prefix}/env?a=%20b", headers=headers))
        assert (seen["SCRIPT_NAME"], seen["PATH_INFO"], seen["QUERY_STRING"]) == (prefix, "/env", "a=%20b")
        assert (seen["DOCUMENT_ROOT"], seen["SCRIPT_FILENAME"]) == (str(site.root), seen["SCRIPT_FILENAME"])
        assert not {"HTTP_AUTHORIZATION", "HTTP_X_TOKEN", "HTTP_PROXY", "PATH_TRANSLATED"} & set(seen)
    assert "/y/ping" in told_links(site.page("/y/").text)


def told_links(page: str) -> list[str]:
    """Return where the demonstration application's first page leads."""
    return [piece.partition('"')[0] for piece in page.split('href="')[1:]]


@pytest.mark.needs("php-cgi")
@pytest.mark.parametrize("name", ["plain", "sp ace", "\u00e4\u00f6", "per%cent", "pl+us", "per%20cent"])
def test_a_script_is_found_whatever_its_name(start_daemon: Starter, apache: Apache, place: Path, name: str) -> None:
    root = place / "else where"
    root.mkdir(mode=0o755)
    (root / f"{name}.php").write_text(SHOW)
    (root / "private.txt").write_text("private")
    (root / "directory.php").mkdir()
    site = apache(start_daemon(php(root)))
    path = "/" + "".join(f"%{byte:02x}" for byte in f"{name}.php".encode())

    seen = site.page(f"{path}/a%20b?q=1").json()
    assert seen["SCRIPT_FILENAME"] == f"{root}/{name}.php"
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"], seen["QUERY_STRING"]) == (f"/{name}.php", "/a b", "q=1")
    assert seen["DOCUMENT_ROOT"] == str(root)
    for other in ("/missing.php", "/missing.php/a", "/private.txt", "/private.txt/x.php", "/directory.php/a"):
        assert site.get(other).status in (403, 404), other


@pytest.mark.parametrize("name", ["a$1b", "a%{REMOTE_ADDR}b", "50%", "a\\b", 'a"b', "a'b", "a b\u00e4", "$&", "a\\"])
def test_the_document_root_is_taken_as_it_is_written(
    start_daemon: Starter, apache: Apache, place: Path, name: str
) -> None:
    root = place / name
    root.mkdir(mode=0o755)
    (root / "a.demo").write_text("")
    at_file = demo("file", 'uri = [".demo"]', f"document-root = {json.dumps(str(root))}")
    at_prefix = demo("prefix", f"docroot = {json.dumps(str(root))}")
    site = apache(start_daemon(at_file + at_prefix))

    seen, written = told(site.page("/a.demo/env")), str(root).encode().decode("latin-1")
    assert (seen["SCRIPT_FILENAME"], seen["DOCUMENT_ROOT"]) == (f"{written}/a.demo", written)
    assert told(site.page("/prefix/env"))["SCRIPT_FILENAME"] == f"{written}/prefix"


@pytest.mark.needs("php-cgi")
def test_a_front_controller_behind_a_rewrite(start_daemon: Starter, apache: Apache, www: Path) -> None:
    (www / "index.php").write_text(SHOW)
    daemon = start_daemon(php(www))
    rules = f'<Directory "{www}">\nRewriteEngine On\nRewriteRule "^nice/(.*)$" "/index.php/$1" [L]\n</Directory>\n'
    site = apache(daemon, include=printed(daemon) + rules + "DirectoryIndex index.php\n")

    for path, info in (("/nice/page", "/page"), ("/index.php/page", "/page"), ("/", "")):
        seen = site.page(path).json()
        assert (seen["ran"], seen.get("PATH_INFO", "")) == ("index.php", info)
        assert seen["REQUEST_URI"] == path


@pytest.mark.needs("php-cgi")
def test_in_one_virtual_host_and_in_all_of_them(start_daemon: Starter, apache: Apache, www: Path) -> None:
    (www / "a.php").write_text(SHOW)
    daemon = start_daemon(php(www) + demo())
    inside = apache(daemon, include=f"<VirtualHost *>\n{printed(daemon)}</VirtualHost>\n")
    above = apache(daemon, include=f"{printed(daemon)}<VirtualHost *>\nServerName localhost\n</VirtualHost>\n")

    for site in (inside, above):
        assert site.page("/demo/ping").text == "pong\n"
        assert site.page("/a.php").json()["ran"] == "a.php"


def test_files_of_another_machine_are_asked_for_unseen(start_daemon: Starter, apache: Apache) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, foreign(listener):
        port = listener.getsockname()[1]
        far = f'[external.far]\nhost = "127.0.0.1:{port}"\nuri = [".demo"]\ndocument-root = "/far"\n'
        far += 'pass-header = ["X_Token"]\n'
        site = apache(start_daemon(far + demo("near", 'uri = ["/near/", "/near.demo"]'), wait="answering"))

        seen = told(site.page("/some/where/a.demo/env"))
        assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/some/where/a.demo", "/env")
        assert (seen["SCRIPT_FILENAME"], seen["DOCUMENT_ROOT"]) == ("/far/some/where/a.demo", "/far")
        assert site.get("/near/a.demo/env").text == "no such page: /a.demo/env\n"
        assert told(site.page("/a.demo/env", headers={"X_Token": "t"}))["HTTP_X_TOKEN"] == "t"
        seen = told(site.page("/near.demo/env", headers={"X_Token": "t"}))
        assert (seen["SCRIPT_NAME"], "HTTP_X_TOKEN" in seen) == ("/near.demo", False)


# ── bodies, connections, failures ────────────────────────────────────────────────────────────────────────────────────


def test_a_large_body_comes_back_also_in_chunks(start_daemon: Starter, apache: Apache) -> None:
    body = os.urandom(6_000_000)
    site = apache(start_daemon(demo("demo", "idle-timeout = 60")))
    assert isinstance(site.address, int)

    assert site.page("/demo/echo", method="POST", body=body).body == body
    pieces = (body[start : start + 100_000] for start in range(0, len(body), 100_000))
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", site.address, timeout=60)) as connection:
        connection.request("POST", "/demo/echo", pieces, encode_chunked=True)
        assert connection.getresponse().read() == body
        connection.request("POST", "/demo/env", iter((b"x" * 70_000, b"y")), encode_chunked=True)
        assert json.loads(connection.getresponse().read())["request"]["CONTENT_LENGTH"] == "70001"


def test_no_connection_is_kept(start_daemon: Starter, apache: Apache) -> None:
    daemon = start_daemon(demo())
    site = apache(daemon)

    for _ in range(20):  # the one instance would be occupied by the first of them
        assert site.page("/demo/ping", timeout=5).text == "pong\n"
    until(lambda: daemon.app("demo")["busy"] == 0, what="the last connection is closed")  # after its page has come


def test_who_is_not_there_is_503_and_answers_as_soon_as_it_is(start_daemon: Starter, apache: Apache) -> None:
    port = free_port("127.0.0.1")
    apps = f'[external.far]\nhost = "127.0.0.1:{port}"\n[external.near]\nsocket = "/nowhere/s"\n'
    site = apache(start_daemon(apps, wait="answering"))

    assert site.get("/far/ping").status == 503
    assert site.get("/near/ping").status == 503
    with socket.create_server(("127.0.0.1", port)) as listener, foreign(listener):
        assert site.page("/far/ping").text == "pong\n"


@pytest.mark.parametrize("uri", ["/demo/", ".demo"])
def test_the_idle_timeout_holds_however_it_is_reached(
    start_daemon: Starter, apache: Apache, www: Path, uri: str
) -> None:
    (www / "a.demo").write_text("")
    lines = (f'uri = ["{uri}"]', f'document-root = "{www}"', "idle-timeout = 1", "stop-timeout = 0")
    site = apache(start_daemon(demo("demo", *lines)))

    script = "/demo" if uri == "/demo/" else "/a.demo"
    assert site.get(f"{script}/slow?seconds=10", timeout=8).status == 504


def test_several_hosts_take_turns(start_daemon: Starter, apache: Apache) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
        foreign(one),
        foreign(two),
    ):
        hosts = ", ".join(f'"127.0.0.1:{listener.getsockname()[1]}"' for listener in (one, two))
        site = apache(start_daemon(f"[external.far]\nhost = [{hosts}]\n", wait="answering"))

        seen = told(site.page("/far/env?a=1"))
        assert (seen["SCRIPT_NAME"], seen["PATH_INFO"], seen["QUERY_STRING"]) == ("/far", "/env", "a=1")
        assert len({site.page("/far/pid").text for _ in range(6)}) == 2


# ── authorizers ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("merging", ["On", "Off"])
@pytest.mark.parametrize(
    "target",
    [b"/in/secret.txt", b"//in/secret.txt", b"/%69n/secret.txt", b"/./in/./secret.txt", b"/x/%2e%2e/in/secret.txt",
     b"/in//secret.txt", b"/in/secret.txt/", b"/in", b"/in/", b"http://localhost/in/secret.txt"],
)  # fmt: skip
def test_there_is_no_way_round_an_authorizer(
    start_daemon: Starter, apache: Apache, www: Path, target: bytes, merging: str
) -> None:
    (www / "in").mkdir()
    (www / "in" / "secret.txt").write_text("classified")
    (www / "inside.txt").write_text("open")
    daemon = start_daemon(authorizer("/in/"))
    site = apache(daemon, include=f"MergeSlashes {merging}\n{printed(daemon)}")

    answer = raw(site, target)

    assert answer.startswith(b"HTTP/1.1 403 ")
    assert answer.endswith(b"not allowed\n")  # what the authorizer itself says
    assert site.page("/inside.txt").text == "open"
    assert site.page("/in/secret.txt?allow=yes").text == "classified"


def test_a_guarded_file_is_guarded_under_another_name(start_daemon: Starter, apache: Apache, www: Path) -> None:
    (www / "a.pdf").write_text("pages")
    daemon = start_daemon(authorizer(".pdf"))
    site = apache(daemon, include=f'{printed(daemon)}Alias "/other" "{www}/a.pdf"\n')

    assert site.get("/other").status == 403
    assert site.page("/other?allow=yes").text == "pages"


def test_what_an_authorizer_says_reaches_the_application(start_daemon: Starter, apache: Apache) -> None:
    site = apache(start_daemon(authorizer("/demo/") + demo()))

    assert site.get("/demo/env").status == 403
    seen = told(site.page("/demo/env?allow=yes"))
    assert seen["DEMO_USER"] == "demo"
    assert "REMOTE_USER" not in seen


def test_an_authorizer_is_told_its_role_and_the_authorization(
    start_daemon: Starter, apache: Apache, place: Path
) -> None:
    told_to = place / "told"
    told_to.touch()
    told_to.chmod(0o666)
    program = place / "judge.py"
    program.write_text(JUDGE)
    command = [sys.executable, str(program), str(told_to)]
    lines = ('uri = ["/demo/"]', 'role = "authorizer"', f"port = {free_port('127.0.0.1')}")
    judge = app("judge", command, *lines, 'pass-header = ["Authorization"]')
    site = apache(start_daemon(judge + demo()))

    assert told(site.page("/demo/env", headers={"Authorization": "Bearer x", "Proxy": "evil"}))["REMOTE_USER"] == "ann"
    words = told_to.read_text().split("\n")
    assert "FCGI_ROLE=AUTHORIZER" in words
    assert "FCGI_APACHE_ROLE=AUTHENTICATOR" in words
    assert "HTTP_AUTHORIZATION=Bearer x" in words
    assert not [word for word in words if word.startswith(("HTTP_PROXY=", "CONTENT_LENGTH=", "PATH_INFO="))]


def test_an_authorizer_that_is_not_there_lets_nobody_pass(start_daemon: Starter, apache: Apache, www: Path) -> None:
    (www / "in").mkdir()
    (www / "in" / "secret.txt").write_text("classified")
    far = f'[external.guard]\nhost = "127.0.0.1:{free_port("127.0.0.1")}"\nuri = ["/in/"]\nrole = "authorizer"\n'
    site = apache(start_daemon(far, wait="answering"))

    assert site.get("/in/secret.txt?allow=yes", headers=ALLOW).status == 500


def test_what_else_restricts_a_place_goes_on_doing_so(start_daemon: Starter, apache: Apache, www: Path) -> None:
    (www / "in").mkdir()
    (www / "in" / "secret.txt").write_text("classified")
    daemon = start_daemon(authorizer("/in/") + authorizer("/in/deep/").replace("guard", "deep"))
    closed = apache(daemon, include=f'{printed(daemon)}<Directory "{www}/in">\nRequire all denied\n</Directory>\n')
    (www / "in" / "deep").mkdir()
    (www / "in" / "deep" / "secret.txt").write_text("deep")

    assert closed.get("/in/secret.txt?allow=yes").status == 403
    site = apache(daemon)
    assert site.page("/in/deep/secret.txt?allow=yes").text == "deep"
    assert site.get("/in/deep/secret.txt").status == 403


def test_an_authorizer_on_a_unix_socket_is_refused(start_daemon: Starter) -> None:
    done = start_daemon(demo("guard", 'uri = ["/in/"]', 'role = "authorizer"')).ctl("snippet", "apache")

    assert (done.returncode, done.stdout) == (1, "")
    assert "guard: Apache reaches authorizers over TCP only; give it a port" in done.stderr
