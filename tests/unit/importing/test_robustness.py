"""Whatever stands in a file: it is refused with a place, or what is printed is an apps.toml whose values are read."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unit.importing.conftest import EXAMPLES, Texts, apache, lighttpd

from fcgipm.config.drafts import Reader
from fcgipm.config.problems import Report
from fcgipm.config.schema import Application, Daemon, Dynamic, External
from fcgipm.config.sources import Source
from fcgipm.config.tables import gather
from fcgipm.importing.apache import from_apache
from fcgipm.importing.apache_options import DYNAMIC, EXTERNAL, STATIC
from fcgipm.importing.found import Found, Unreadable
from fcgipm.importing.lighttpd import from_lighttpd
from fcgipm.importing.lighttpd_options import KNOWN
from fcgipm.importing.spawnfcgi import from_spawn_fcgi
from fcgipm.importing.writer import render, summary


def problems_of(text: str) -> list[str]:
    """Return what the reader of apps.toml finds wrong with *text*, whatever this machine has."""
    report = Report()
    tables = gather([Source("apps.toml", tomllib.loads(text), {}, readable_by_all=False)], report)
    reader = Reader(tables.defaults, report)
    reader.draft("fcgipm", tables.daemon, Daemon, inherits=False)
    for name, table in tables.applications.items():
        reader.draft(name, table, Application)
    for name, table in tables.externals.items():
        reader.draft(name, table, External)
    if tables.dynamic is not None:
        reader.draft("dynamic", tables.dynamic, Dynamic)
    return [str(problem) for problem in report.problems]


def is_refused_or_good(read: Callable[[], Found]) -> None:
    try:
        found = read()
    except Unreadable:
        return
    text = "\n".join(render(found))
    text.encode()
    assert problems_of(text) == []
    assert "\n" not in summary(found)
    assert "\n".join(render(read())) == text


odd = st.text(st.characters(codec="utf-8") | st.sampled_from("\"'\\ \t\r\n#$<>{}()=,;\udcff\x1b\x85\u2028"), max_size=8)
numbers = st.integers(-5, 70000).map(str) | st.sampled_from(["0", "1", "1e5", "9" * 25, "x", ".5", ""])
paths = st.sampled_from(
    ["/srv/x", "/srv/f/y.fcgi", "bin/z", "/", "..", "/srv/\udcff", "/a b", "/" + "x/" * 60, "/v", "/srv"]
)
words = odd | numbers | paths | st.sampled_from(["On", "Off", "fastcgi-script", "h", ".php", "*", "${X}", "A=b", "h:9"])
quoted = words.map(lambda word: '"' + word.replace('"', '\\"') + '"') | words

apache_options = st.sampled_from(sorted({*STATIC, *DYNAMIC, *EXTERNAL})).flatmap(
    lambda name: st.sampled_from([f"-{name}", name.upper(), f"-{name}"])
)
apache_names = st.sampled_from(
    [
        "FastCgiServer", "AppClass", "FastCgiExternalServer", "FastCgiConfig", "FastCgiIpcDir", "FastCgiWrapper",
        "FastCgiAuthorizer", "FastCgiAccessChecker", "FastCgiAuthorizerAuthoritative", "FastCgiBogus", "User", "Group",
        "Alias", "ScriptAlias", "DocumentRoot", "AddHandler", "SetHandler", "Action", "Options", "ServerRoot", "Define",
        "Include", "IncludeOptional", "LoadModule", "SuexecUserGroup", "AddType", "UnDefine",
    ]
)  # fmt: skip
apache_sections = st.sampled_from(
    ["VirtualHost", "Directory", "Location", "Files", "FilesMatch", "IfModule", "IfDefine", "DirectoryMatch", "Macro"]
)
apache_line = st.builds(
    lambda name, rest: " ".join([name, *rest]), apache_names, st.lists(apache_options | quoted, max_size=6)
)
apache_block = st.recursive(
    st.lists(apache_line | odd, max_size=5).map("\n".join),
    lambda inner: st.builds(
        lambda kind, argument, body: f"<{kind} {argument}>\n{body}\n</{kind}>", apache_sections, quoted, inner
    ),
    max_leaves=6,
)
apache_texts = st.lists(apache_block, max_size=4).map("\n".join)


@given(apache_texts, apache_texts)
@example('FastCgiServer "\\', "")
@example("FastCgiServer /srv/x -port 9753\nFastCgiServer /srv/y -port 9753", "")
@example("FastCgiServer /srv/x -socket control.sock\nFastCgiServer /srv/y -socket private/z", "")
@example("FastCgiServer /srv/x\nFastCgiServer /srv/y -socket x.sock\nFastCgiServer /srv/z -socket x.sock", "")
@example("FastCgiServer /srv/x -port 9\nFastCgiExternalServer /v -host localhost:9", "")
@example("Alias / /\nFastCgiServer /", "")
@example("<Directory />\nSetHandler fastcgi-script\nOptions ExecCGI\n</Directory>\nAlias / /", "")
def test_any_apache_configuration(text: str, more: str) -> None:
    texts = Texts({"/etc/apache2/apache2.conf": text, "/etc/apache2/bin/z": more, "/srv/x": more})

    is_refused_or_good(lambda: from_apache("/etc/apache2/apache2.conf", texts, {"X": "/srv"}))


lighttpd_texts_of_strings = words.map(lambda word: '"' + word.replace("\\", "").replace('"', '\\"') + '"')
lighttpd_values = st.recursive(
    lighttpd_texts_of_strings | st.integers(0, 70000).map(str) | st.sampled_from(["env.X", "x", "env.NOPE", "var.y"]),
    lambda inner: (
        st.lists(
            inner | st.builds(lambda key, value: f"{key} => {value}", lighttpd_texts_of_strings, inner), max_size=3
        ).map(lambda items: f"({', '.join(items)})")
        | st.builds(lambda one, other: f"{one} + {other}", inner, inner)
    ),
    max_leaves=6,
)
lighttpd_options = st.dictionaries(
    st.sampled_from(sorted(KNOWN)) | odd.filter(lambda text: '"' not in text and "\\" not in text), lighttpd_values,
    max_size=6,
).map(lambda options: "(" + ", ".join(f'"{key}" => {value}' for key, value in options.items()) + ")")  # fmt: skip
lighttpd_server = st.builds(
    lambda uri, host: f'fastcgi.server += ( "{uri}" => ( {host} ) )',
    st.sampled_from(["/x/", ".php", "", "a b", "/"]),
    lighttpd_options,
)
lighttpd_line = (
    lighttpd_server
    | st.builds(
        lambda key, sign, value: f"{key} {sign} {value}",
        st.sampled_from(
            [
                "x", "var.y", "server.document-root", "server.chroot", "server.username", "server.max-worker",
                "fastcgi.debug", "fastcgi.map-extensions", "fastcgi.server", "fastcgi.bogus",
            ]
        ),
        st.sampled_from(["=", "+=", ":="]),
        lighttpd_values,
    )
    | st.sampled_from(['include "more.conf"', 'include_shell "x"', "else", "}", "global {"])
    | odd
)  # fmt: skip
lighttpd_block = st.recursive(
    st.lists(lighttpd_line, max_size=5).map("\n".join),
    lambda inner: st.builds(lambda value, body: f'$HTTP["host"] == {value} {{\n{body}\n}}', lighttpd_values, inner),
    max_leaves=6,
)
lighttpd_texts = st.lists(lighttpd_block, max_size=4).map("\n".join)


@given(lighttpd_texts, lighttpd_texts)
@example('fastcgi.server = ( "/x/" => (( "bin-path" => "/a", "socket" => "/run/fcgipm/state.json" )) )', "")
def test_any_lighttpd_configuration(text: str, more: str) -> None:
    texts = Texts({"/etc/lighttpd/lighttpd.conf": text, "/etc/lighttpd/more.conf": more})

    is_refused_or_good(lambda: from_lighttpd("/etc/lighttpd/lighttpd.conf", texts, {"X": "/srv"}))


@given(st.lists(words | st.sampled_from(["-s", "-p", "-f", "-nF", "-c", "-S", "-u", "-M", "--", "-C", "-x", "-"])))
def test_any_command_line(line: list[str]) -> None:
    is_refused_or_good(lambda: from_spawn_fcgi(["spawn-fcgi", *line], lambda _name: None))


@given(st.text())
def test_any_text_at_all(text: str) -> None:
    is_refused_or_good(lambda: apache(text))
    is_refused_or_good(lambda: lighttpd(text))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.conf")), ids=lambda path: path.stem)
def test_a_file_that_is_cut_off_anywhere(path: str) -> None:
    whole = EXAMPLES.joinpath(path).read_text()
    read = apache if "apache" in str(path) else lighttpd

    for end in range(0, len(whole), 7):
        is_refused_or_good(lambda text=whole[:end]: read(text))  # type: ignore[misc]  # bound, not late


MUCH = 15_000
HOSTILE = {
    "options": "FastCgiServer /srv/x " + "-bogus x " * MUCH,
    "variables": "FastCgiServer /srv/x " + " ".join(f"-initial-env A{number}=1" for number in range(MUCH)),
    "passed": "FastCgiConfig " + " ".join(f"-initial-env A{number}" for number in range(MUCH)),
    "headers": "FastCgiConfig -pass-header X\n" * (MUCH // 10),
    "applications": "\n".join(f"FastCgiServer /srv/x{number}" for number in range(9000)),
    "too many": "\n".join(f"FastCgiServer /srv/x{number}" for number in range(MUCH)),
    "the same": "FastCgiServer /srv/x\n" * 9000,
    "aliases": "\n".join(f"Alias /a{number} /srv/x" for number in range(MUCH)) + "\nFastCgiServer /srv/x/y",
    "actions": "Alias /p /srv/x\nFastCgiServer /srv/x\n" + "Action h /p\nAddHandler h .php\n" * (MUCH // 2),
    "hosts": "".join(
        f"<VirtualHost {number}>\nDocumentRoot /srv\nAddHandler h .php\n</VirtualHost>\n" for number in range(5000)
    )
    + "Action h /p\nAlias /p /srv/x\nFastCgiServer /srv/x",
    "roots": "AddHandler fastcgi-script .fcgi\n"
    + "".join(f"ScriptAlias /a{number}/ /srv/a{number}/\n" for number in range(5000)),
    "handlers": "ScriptAlias /a/ /srv/a/\n" + "AddHandler fastcgi-script .fcgi .fpl\n" * MUCH,
    "long path": "FastCgiServer " + "/x" * 200_000 + "\nAlias /a " + "/x" * 200_000,
    "quotes": 'FastCgiServer "' + '\\"' * 200_000,
    "continued": "FastCgiServer /srv/x \\\n" * MUCH,
    "variables in variables": "Define A x\n" + "Define A ${A}${A}\n" * 40 + "FastCgiServer /srv/${A}",
    "sections": "<If a>\n</If>\n" * MUCH + "FastCgiServer /srv/x",
}
HOSTILE_LIGHTTPD = {
    "conditions": "".join(f'$HTTP["host"] == "{number}" {{ x = 1 }}\n' for number in range(MUCH)),
    "else": '$HTTP["host"] == "x" { }\n' + 'else $HTTP["host"] == "y" { }\n' * MUCH,
    "hosts": 'fastcgi.server = ( "/x/" => (' + '( "host" => "a", "port" => 1 ), ' * MUCH + "))",
    "different hosts": 'fastcgi.server = ( "/x/" => ('
    + "".join(f'( "host" => "a{number}", "port" => 1 ), ' for number in range(MUCH))
    + "))",
    "programs": 'fastcgi.server = ( "/x/" => ('
    + "".join(f'( "bin-path" => "/p{number}" ), ' for number in range(MUCH))
    + "))",
    "doubling": 'x = ( "a" )\n' + "y = ( x, x )\nx := ( y, y )\n" * 50 + 'fastcgi.server = ( "/x/" => x )',
    "deep": "x = ()\n" + "x := ( x )\n" * MUCH,
    "comments": "#" * 1_000_000,
    "text": 'x = "' + "\\" * 1_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_apache_configuration_is_done_with_soon(name: str) -> None:
    _soon(lambda: apache(HOSTILE[name]))


@pytest.mark.parametrize("name", HOSTILE_LIGHTTPD)
def test_a_hostile_lighttpd_configuration_is_done_with_soon(name: str) -> None:
    _soon(lambda: lighttpd(HOSTILE_LIGHTTPD[name]))


def _soon(read: Callable[[], Found]) -> None:
    begun = time.process_time()
    is_refused_or_good(read)
    assert time.process_time() - begun < 30
