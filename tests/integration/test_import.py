"""``fcgipm import`` beside those whose configurations it reads: Apache, lighttpd and spawn-fcgi themselves."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import stat
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.components import need
from harness.daemon import FCGIPM, Daemon
from harness.waiting import until
from integration.web.servers import APACHE_MODULES, WebServer
from unit.importing.conftest import EXAMPLES

from fcgipm.cli.importing import Disk
from fcgipm.importing import apache_tree, lighttpd_tree
from fcgipm.importing.apache_lines import words
from fcgipm.importing.found import Found
from fcgipm.importing.lighttpd_values import Array, Scope, Value
from fcgipm.linux import procfs, sock_diag

FOUND = {
    "apache-access-checker": (1, 0, 0), "apache-authenticator": (1, 0, 0), "apache-authorizer": (1, 0, 0),
    "apache-every-option": (2, 2, 1), "apache-external-aliased": (0, 1, 0), "apache-external-inside": (0, 1, 0),
    "apache-php": (1, 0, 0), "apache-typical": (3, 0, 1), "lighttpd-authorizer": (0, 1, 0),
    "lighttpd-balancing": (0, 1, 0), "lighttpd-every-option": (2, 0, 0), "lighttpd-php": (1, 0, 0),
    "lighttpd-php-alone": (1, 0, 0), "lighttpd-prefix": (0, 1, 0), "lighttpd-rewritten": (1, 0, 0),
    "lighttpd-roadsend": (1, 0, 0), "lighttpd-several-extensions": (1, 0, 0),
}  # fmt: skip
"""How many applications, external ones and roots each example has."""


def imported(*arguments: str) -> str:
    done = subprocess.run(
        [FCGIPM, "import", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def checked(place: Path, text: str) -> subprocess.CompletedProcess[str]:
    file = place / "apps.toml"
    file.write_text(text)
    file.chmod(0o644)
    around = {**os.environ, "XDG_RUNTIME_DIR": str(place)}
    return subprocess.run(
        [FCGIPM, "check", str(file)], capture_output=True, text=True, timeout=30, check=False, env=around
    )


def make_tree(tables: dict[str, Any]) -> None:
    """Make the programs and directories that *tables* name."""
    directories = [Path(root["path"]) for root in tables.get("dynamic", {}).get("roots", [])]
    directories += [Path(tables["fcgipm"][key]).parent for key in ("runtime-dir",) if key in tables.get("fcgipm", {})]
    for app in tables.get("app", {}).values():
        program = Path(app["command"][0])
        program.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/true", program)
        directories += [Path(app["socket"]).parent] if app.get("socket", "").startswith("/") else []
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)


@pytest.mark.parametrize("name", FOUND)
def test_what_is_made_of_an_example_passes_the_check(name: str, place: Path) -> None:
    source = place / f"{name}.conf"
    source.write_text((EXAMPLES / source.name).read_text().replace("@", str(place)))

    text = imported(str(source))

    tables = tomllib.loads(text)
    roots = tables.get("dynamic", {}).get("roots", [])
    assert (len(tables.get("app", {})), len(tables.get("external", {})), len(roots)) == FOUND[name]
    assert "NOT CARRIED OVER" not in text.replace('begins with "NOT CARRIED OVER"', "")
    make_tree(tables)
    done = checked(place, text)
    assert done.returncode == 0, done.stdout + text


def test_every_example_is_tried() -> None:
    assert set(FOUND) == {path.stem for path in EXAMPLES.glob("*.conf")}


# ── Apache ───────────────────────────────────────────────────────────────────────────────────────────────────────

HTTPD = r"""
ServerRoot @
LoadModule mpm_event_module MODULES/mod_mpm_event.so
LoadModule authz_core_module MODULES/mod_authz_core.so
LoadModule info_module MODULES/mod_info.so
LoadModule alias_module MODULES/mod_alias.so
LoadModule mime_module MODULES/mod_mime.so
LoadModule actions_module MODULES/mod_actions.so
ServerName localhost
TypesConfig /dev/null
ErrorLog /dev/null
PidFile @/pid
Listen 127.0.0.1:1
Define WHERE "/srv/a b"
Define ALSO "${WHERE}/c"
Define EMPTY
# a comment \
Alias /unseen /srv
   # another
<IfModule alias_module>
Alias "/one" "${WHERE}/x"
  alias /tw\\o \
     '/srv/it\'s'
ALIAS	/tabs	"/srv/\"quoted\""
</IfModule>
<IfModule !mod_alias.c>
Alias /absent /srv
</IfModule>
<IfModule mod_alias.c>
Alias /three "${ALSO}/d"
</IfModule>
<IfDefine WHERE>
Alias /four /srv
</IfDefine>
<IfDefine !WHERE>
Alias /five /srv
</IfDefine>
UnDefine EMPTY
<IfDefine EMPTY>
Alias /six /srv
</IfDefine>
<IfVersion >= 2.4>
</IfVersion>
<VirtualHost *:1>
    DocumentRoot "/srv"
    <Directory "/srv/a b">
        SetHandler fastcgi-script
        Options +ExecCGI -Indexes
    </Directory>
    <FilesMatch "\.(php|inc)$">
        SetHandler php
    </FilesMatch>
    <Location ~ "^/x">
        AddHandler fastcgi-script .fcgi
    </Location>
</VirtualHost>
Action php /php virtual
AddType php .php5 .PHP
Include "sub"
Include more/*.conf
IncludeOptional more/*.nope
IncludeOptional nothing/at/all.conf
"""


@pytest.mark.needs("apache")
def test_apache_itself_reads_the_same(place: Path) -> None:
    main = place / "apache2.conf"
    main.write_text(HTTPD.replace("@", str(place)).replace("MODULES", str(APACHE_MODULES)))
    for name in ("sub/2.conf", "sub/10", "sub/in/x", "more/b.conf", "more/a.conf", "more/c.off"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(f"Alias /{name} /srv\nAlias /{name}/2 \\\n/srv\n")

    done = subprocess.run(
        [need("apache"), "-t", "-D", "DUMP_CONFIG", "-f", str(main)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    tree = apache_tree.read_tree(str(main), Disk(), {}, Found(""))
    ours = [
        (directive.place.file, directive.key, tuple(directive.words), tuple(str(part) for part in directive.within))
        for directive in tree.directives
    ]
    theirs = [item for item in _dumped(done.stdout) if item[1] in {directive.key for directive in tree.directives}]
    assert ours == theirs
    assert len(ours) > 20


def _dumped(text: str) -> Iterator[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    """Yield the directives of a dump: file, name in small letters, words, sections."""
    file, around = "", list[str]()
    for line in (line.strip() for line in text.split("\n")):
        if line.startswith("# In file: "):
            file = line.removeprefix("# In file: ")
        elif line.startswith("</"):
            around.pop()
        elif line.startswith("<"):
            name, _, argument = line.strip("<>").partition(" ")
            around.append(f"<{' '.join((name.lower(), *words(argument)))}>")
        elif line and not line.startswith("#"):
            name, _, arguments = line.partition(" ")
            yield file, name.lower(), tuple(words(arguments)), tuple(around)


# ── lighttpd ─────────────────────────────────────────────────────────────────────────────────────────────────────

LIGHTTPD = r"""
server.port = 1
server.document-root = "/srv" + "/www"
var.x = "a" + 1 + "b"
y = "\"quoted\" \n # no comment" + var.x
server.errorlog = "/dev/null" # a comment
server.modules = ( "mod_setenv", "mod_fastcgi", )
server.modules += ( "mod_access" )
fastcgi.server = (
    ".php" => (( "host" => "127.0.0.1", "port" => 1 + 2, "check-local" => "disable" )), # one
    "/" + x => (( "socket" => "@/s" + x ))
)
setenv.add-environment = ( "A" => var.y, "B" => env.HOME )
include "more/*.conf"
include "also.conf"
$HTTP["host"] == "one" + "x" {
    fastcgi.server += ( "/inner" => (( "host" => "::1", "port" => 9 )) )
    $HTTP["url"] =~ "^/deeper" { setenv.add-environment = ( "A" => "2" ) }
} else $HTTP["host"] =~ "two$" {
    var.x = "z"
    setenv.add-environment = ( "A" => x )
}
$SERVER["socket"] == ":2" {
    setenv.add-environment := ( "A" => "socket" )
}
$HTTP["host"] == "onex" { setenv.add-environment += ( "C" => "3" ) }
"""


@pytest.mark.needs("lighttpd")
def test_lighttpd_itself_reads_the_same(place: Path) -> None:
    main = place / "lighttpd.conf"
    main.write_text(LIGHTTPD.replace("@", str(place)))
    for name in ("more/b.conf", "more/a.conf", "also.conf"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(f'fastcgi.server += ( "/{name}" => (( "host" => "h", "port" => "7" )) )\n')
    around = {"HOME": "/home", "PATH": os.environ["PATH"]}

    done = subprocess.run(
        [need("lighttpd"), "-p", "-f", str(main)], capture_output=True, text=True, check=False, env=around
    )

    assert done.returncode == 0, done.stderr
    printed = place / "printed.conf"
    printed.write_text(re.sub(r"\Aconfig \{|\}\s*\Z", "", done.stdout))
    ours = lighttpd_tree.read_tree(str(main), Disk(), around, Found(""))
    theirs = lighttpd_tree.read_tree(str(printed), Disk(), around, Found(""))
    assert _plain_scopes(ours) == _plain_scopes(theirs)
    assert len(ours) == 5


def _plain_scopes(scopes: list[Scope]) -> list[tuple[int, dict[str, Any]]]:
    kept = ("fastcgi.", "server.document-root", "server.modules", "setenv.", "var.x", "var.y")
    return [
        (len(scope.conditions()), {key: _plain(scope.values[key][0]) for key in scope.values if key.startswith(kept)})
        for scope in scopes
    ]


def _plain(value: Value) -> Any:
    if isinstance(value, Array):
        return [(item.key, _plain(item.value)) for item in value.items]
    return value


PAGE = """<?php
header("Content-Type: text/plain");
foreach (["PHP_FCGI_CHILDREN", "PHP_FCGI_MAX_REQUESTS", "COLOUR", "PATH", "HOME"] as $name)
    echo $name, "=", var_export(getenv($name), true), "\\n";
foreach (["SCRIPT_NAME", "SCRIPT_FILENAME", "DOCUMENT_ROOT", "PATH_INFO", "QUERY_STRING"] as $name)
    echo $name, "=", var_export($_SERVER[$name] ?? null, true), "\\n";
"""


@pytest.mark.needs("lighttpd", "php-cgi")
def test_a_page_is_the_same_before_and_after(place: Path, start_daemon: Callable[..., Daemon]) -> None:
    www, sockets = place / "www", place / "sockets"
    for directory in (www, sockets):
        directory.mkdir(mode=0o755)
    if os.geteuid() == 0:
        shutil.chown(sockets, "www-data", "www-data")
    (www / "page.php").write_text(PAGE)
    text = (
        f'fastcgi.server = ( ".php" => (( "bin-path" => "{need("php-cgi")}", "socket" => "{sockets}/php.sock",\n'
        '"max-procs" => 1, "bin-environment" => ( "COLOUR" => "green" ), "bin-copy-environment" => ( "PATH" ) )) )\n'
    )
    original = place / "lighttpd.conf"
    original.write_text(f'server.document-root = "{www}"\n{text}')
    daemon = start_daemon(imported(str(original)))

    answers = []
    for name, include in (("before", text), ("after", "")):
        (place / name).mkdir(mode=0o755)
        web = WebServer("lighttpd", place / name, www)
        try:
            modules = 'server.modules += ( "mod_fastcgi" )\n' if include else ""
            web.start(daemon, include=modules + include)
            answers.append(web.page("/page.php?a=b").text)
        finally:
            web.stop()

    assert "COLOUR='green'" in answers[0]
    assert "PHP_FCGI_CHILDREN='1'" in answers[0]
    assert answers[0] == answers[1]


# ── spawn-fcgi ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.needs("spawn-fcgi", "php-cgi")
@pytest.mark.parametrize(
    "options", ["-M 0620 -b 33 -C 2 -d @", pytest.param("-d @ -U www-data -G www-data", marks=pytest.mark.root)]
)
def test_an_instance_is_started_as_spawn_fcgi_starts_it(
    place: Path, start_daemon: Callable[..., Daemon], options: str
) -> None:
    path = place / "a.sock"
    line = [need("spawn-fcgi"), "-s", str(path), *options.replace("@", str(place)).split()]
    if os.geteuid() == 0:
        line += ["-u", "www-data", "-g", "www-data"]
    line += ["--", need("php-cgi"), "-d", "memory_limit=64M"]
    old = os.umask(0)  # which spawn-fcgi takes from the permissions by default
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=True, start_new_session=True)
    finally:
        os.umask(old)
    pid = int(done.stdout.rpartition(" ")[2])
    try:
        program = os.path.realpath(need("php-cgi"))
        until(lambda: os.path.realpath(f"/proc/{pid}/exe") == program, what="spawn-fcgi's child has become php-cgi")
        before = _instance(pid, path)
    finally:
        os.kill(pid, signal.SIGTERM)
        until(lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid), what="php-cgi has ended")
    path.unlink()

    daemon = start_daemon(imported("--", *line))

    (new,) = daemon.instances("php-cgi")
    assert _instance(new, path) == before
    assert before["children"] == ("2" if "-C" in options else None)


def _is_zombie(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return procfs.stat(pid).state == "Z"
    return True


def _instance(pid: int, path: Path) -> dict[str, Any]:
    """Return what an instance got: its words, directory, listener; of its environment what was asked for."""
    proc = Path(f"/proc/{pid}")
    environ = dict(pair.split("=", 1) for pair in (proc / "environ").read_text().split("\0") if "=" in pair)
    status = path.stat()
    with contextlib.closing(sock_diag.Diag()) as diag:
        row = diag.unix_socket(int(os.readlink(proc / "fd" / "0").removeprefix("socket:[").removesuffix("]")))
    assert row is not None
    assert row.queue is not None
    return {
        "command": (proc / "cmdline").read_text(),
        "directory": os.readlink(proc / "cwd"),
        "children": environ.get("PHP_FCGI_CHILDREN"),
        "permissions": oct(stat.S_IMODE(status.st_mode)),
        "owner": (status.st_uid, status.st_gid),
        "backlog": row.queue.limit,
        "user": proc.stat().st_uid,
    }
