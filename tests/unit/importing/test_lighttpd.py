from __future__ import annotations

from typing import Any

import pytest
from unit.importing.conftest import document, lighttpd, lost, only, said

from fcgipm.importing.lighttpd_options import KNOWN

PROGRAM = '"bin-path" => "/srv/x", "socket" => "/run/x.sock", "bin-copy-environment" => ( "PATH" )'
DEFAULTS = {
    "command": ["/srv/x"], "uri": ["/x/"], "socket": "/run/x.sock", "processes": 4, "listen-queue-depth": 1024,
    "pass-env": ["PATH"], "check-local": True, "idle-timeout": "24h", "initial-env": {"PHP_FCGI_CHILDREN": "1"},
}  # fmt: skip
REMOTE = '"host" => "10.0.0.1", "port" => 9'


def server(options: str, uri: str = "/x/", before: str = "") -> str:
    return f'{before}fastcgi.server = ( "{uri}" => (( {options} )) )\n'


def changed(options: str) -> dict[str, Any]:
    """Return what *options* change in the table of a program."""
    table = only(lighttpd(server(f"{PROGRAM}, {options}")))
    return {key: value for key, value in table.items() if DEFAULTS.get(key) != value} | {
        key: None for key in DEFAULTS if key not in table
    }


def test_every_default_that_is_not_fcgipms_is_written() -> None:
    assert only(lighttpd(server(PROGRAM))) == DEFAULTS


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ('"max-procs" => 2', {"processes": 2}),
        ('"max-procs" => 6, "min-procs" => 8', {"processes": 6}),
        ('"max-procs" => "3"', {"processes": 3}),
        ('"max-procs" => 6', {"processes": None, "min-processes": 4, "max-processes": 6}),
        ('"min-procs" => 1', {"processes": None, "min-processes": 1, "max-processes": 4}),
        ('"min-procs" => 0', {"processes": None, "min-processes": 0, "max-processes": 4, "idle-stop": "60s"}),
        ('"min-procs" => 0, "idle-timeout" => 5, "max-procs" => 1',
         {"processes": None, "min-processes": 0, "max-processes": 1, "idle-stop": "5s"}),
        ('"max-load-per-proc" => 3', {"concurrency": 3}),
        ('"listen-backlog" => 10', {"listen-queue-depth": 10}),
        ('"kill-signal" => 10', {"stop-signal": "USR1"}),
        ('"kill-signal" => 15', {"stop-signal": "TERM"}),
        ('"mode" => "authorizer", "docroot" => "/d"', {"role": "authorizer", "docroot": "/d"}),
        ('"check-local" => "disable"', {"check-local": False}),
        ('"check-local" => "enable"', {}),
        ('"broken-scriptfilename" => "enable"', {"broken-scriptfilename": True}),
        ('"allow-x-send-file" => "enable"', {"allow-x-send-file": True}),
        ('"x-sendfile" => "true"', {"allow-x-send-file": True}),
        ('"disable-time" => 9', {"disable-time": "9s"}),
        ('"connect-timeout" => 4, "read-timeout" => 5', {"app-conn-timeout": "4s", "idle-timeout": "5s"}),
        ('"bin-environment" => ( "A" => 1, "PHP_FCGI_CHILDREN" => "7" )',
         {"initial-env": {"A": "1", "PHP_FCGI_CHILDREN": "7"}}),
        ('"BIN-Environment" => ( "A" => "b" )', {"initial-env": {"A": "b", "PHP_FCGI_CHILDREN": "1"}}),
    ],
)  # fmt: skip
def test_each_option_of_a_program(options: str, expected: dict[str, Any]) -> None:
    assert changed(options) == expected


def test_the_number_of_children_may_come_from_the_environment() -> None:
    table = only(lighttpd(server('"bin-path" => "/srv/x", "bin-copy-environment" => ( "PHP_FCGI_CHILDREN" )')))

    assert "initial-env" not in table


def test_without_bin_copy_environment_the_whole_one_was_inherited_and_that_is_told() -> None:
    found = lighttpd(server('"bin-path" => "/srv/x"'))

    assert "pass-env" not in only(found)
    assert any(text.startswith("without bin-copy-environment lighttpd gives its whole") for text in said(found))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ('"max-procs" => 0', "max-procs: 0 is out of range"),
        ('"max-procs" => "many"', '"max-procs" => "many": is not a number'),
        ('"max-procs" => 6, "idle-timeout" => 5', '"idle-timeout" => 5: kill-interval and multi-threshold say'),
        ('"kill-signal" => 99', '"kill-signal" => 99: '),
        ('"mode" => "filter"', '"mode" => "filter": lighttpd takes it for a responder'),
        ('"check-local" => "maybe"', '"check-local" => "maybe": is neither "enable" nor "disable"'),
        ('"strip-request-uri" => "/x"', '"strip-request-uri" => "/x": no snippet takes anything off a URI'),
        ('"fix-root-scriptname" => "enable"', '"fix-root-scriptname" => "enable": '),
        ('"x-sendfile-docroot" => ( "/a" )', '"x-sendfile-docroot": allow-x-send-file = true allows every file'),
        ('"tcp-fin-propagate" => "enable"', '"tcp-fin-propagate" => "enable": '),
        ('"upgrade" => "enable"', '"upgrade" => "enable": '),
        ('"write-timeout" => 5', '"write-timeout" => 5: idle-timeout is for reading and for writing'),
        ('"max_procs" => 5', '"max_procs" => 5: lighttpd has no such option'),
        ('"docroot" => env.NOPE', '"docroot": env.NOPE is not in the environment'),
        ('"docroot" => ( "x" )', '"docroot": is not a text'),
        ('"bin-environment" => ( "A" => ( ) )', "bin-environment: has something that is not"),
        ('"bin-environment" => "A"', "bin-environment: is not a list"),
        ('"bin-environment" => ( "A=B" => "c" )', '"bin-environment" A=B: "A=B" cannot name a variable'),
        ('"host" => "h"', "host h:80: lighttpd does not take it together with socket"),
        ('"nothing"', 'fastcgi.server: /x/: nothing: is not "option" => value'),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_over_is_told(options: str, why: str) -> None:
    assert any(why in text for text in lost(lighttpd(server(f"{PROGRAM}, {options}"))))


def test_no_option_that_lighttpd_knows_is_dropped() -> None:
    for option in KNOWN - {"bin-path", "socket"}:
        found = lighttpd(server(f'{PROGRAM}, "{option}" => ( "odd" )'))
        assert lost(found) or only(found) != DEFAULTS, option


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ('"host" => "127.0.0.1", "port" => 9', {"port": 9, "address": "127.0.0.1"}),
        ('"host" => "localhost", "port" => 9', {"port": 9, "address": "127.0.0.1"}),
        ('"host" => "::1", "port" => 9', {"port": 9, "address": "::1"}),
        ('"host" => "0.0.0.0", "port" => 9', {"port": 9, "address": "0.0.0.0"}),
        ('"host" => "", "port" => "9"', {"port": 9}),
        ('"port" => 9', {"port": 9}),
        ('"socket" => "/s"', {"socket": "/s"}),
        ('"host" => "/s"', {"socket": "/s"}),
        ('"socket" => ""', {}),
    ],
)
def test_where_a_program_listens(options: str, expected: dict[str, Any]) -> None:
    table = only(lighttpd(server(f'"bin-path" => "/srv/x", {options}')))

    assert {key: value for key, value in table.items() if key in ("port", "address", "socket")} == expected


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ('"host" => "example.org", "port" => 9', '"host" => "example.org": only an address can be listened on'),
        ('"socket" => "s"', '"socket" => "s": is relative to where lighttpd is started'),
        ('"socket" => env.NOPE', '"socket": env.NOPE is not in the environment'),
        ('"port" => 70000', "70000 is out of range"),
    ],
)
def test_where_a_program_cannot_listen_is_told(options: str, why: str) -> None:
    assert any(why in text for text in lost(lighttpd(server(f'"bin-path" => "/srv/x", {options}'))))


def test_the_command_is_split_at_each_blank_as_lighttpd_does_it() -> None:
    table = only(lighttpd(server('"bin-path" => "/srv/x -c  /etc/php.ini"')))

    assert table["command"] == ["/srv/x", "-c", "", "/etc/php.ini"]


@pytest.mark.parametrize("path", ['"bin/x"', "env.NOPE", '"relative " + "x"'])
def test_a_program_that_cannot_be_written_down_is_commented_out(path: str) -> None:
    found = lighttpd(server(f'"bin-path" => {path}'))

    assert "app" not in document(found)
    assert lost(found)


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ('(( "host" => "10.0.0.1", "port" => 9 ))', {"host": ["10.0.0.1:9"]}),
        ('(( "host" => "10.0.0.1" ))', {"host": ["10.0.0.1:80"]}),
        ('(( "host" => "fe80::1", "port" => 9 ))', {"host": ["[fe80::1]:9"]}),
        ('(( "socket" => "/run/s" ))', {"socket": "/run/s"}),
        ('(( "host" => "a", "port" => 1 ), ( "host" => "b", "port" => 2 ))', {"host": ["a:1", "b:2"]}),
        ('( "host" => "a", "port" => 1 )', {"host": ["a:1"]}),
        ('( "label" => ( "host" => "a", "port" => 1 ))', {"host": ["a:1"]}),
    ],
)
def test_without_a_program_it_is_external(hosts: str, expected: dict[str, Any]) -> None:
    found = document(lighttpd(f'fastcgi.server = ( "/x/" => {hosts} )'))

    ((_name, table),) = found["external"].items()
    assert table == {"uri": ["/x/"], "check-local": True, "idle-timeout": "24h", **expected}


def test_names_are_the_label_or_what_comes_in() -> None:
    text = f'fastcgi.server = ( ".php" => (( {REMOTE} )), "/a/b/" => ( "wiki" => ( {REMOTE} )), "/" => (( {REMOTE} )) )'

    assert list(document(lighttpd(text))["external"]) == ["php", "wiki", "app"]


def test_hosts_that_differ_are_two_applications_and_that_is_told() -> None:
    found = lighttpd(server(f'{REMOTE} ), ( "host" => "10.0.0.2", "port" => 9, "docroot" => "/d"'))

    assert list(document(found)["external"]) == ["x", "x-2"]
    assert any("lighttpd balances /x/ over x, x-2" in text for text in said(found))


def test_what_is_for_programs_is_told_of_external_ones() -> None:
    found = lighttpd(server(f'{REMOTE}, "max-procs" => 3'))

    assert '"max-procs" => 3: lighttpd starts nothing here, for there is no bin-path' in lost(found)


def test_an_external_one_that_is_nowhere_is_commented_out() -> None:
    found = lighttpd(server('"host" => "", "port" => 9'))

    assert "external" not in document(found)
    assert 'where it listens is not known; write host = "name:port", or socket' in lost(found)


def test_two_extensions_of_one_program_are_one_application() -> None:
    found = lighttpd(f'fastcgi.server = ( "/x/" => (( {PROGRAM} )), "/y/" => (( {PROGRAM} )) )')

    assert only(found)["uri"] == ["/x/", "/y/"]


def test_the_same_address_without_a_program_is_the_same_application() -> None:
    text = (
        'fastcgi.server = ( ".a" => (( "bin-path" => "/srv/x", "host" => "127.0.0.1", "port" => 9 )),\n'
        '".b" => (( "host" => "127.0.0.1", "port" => 9 )), ".c" => (( "host" => "localhost", "port" => 9 )) )'
    )

    found = lighttpd(text)

    assert only(found)["uri"] == [".a", ".b", ".c"]
    assert "external" not in document(found)


def test_who_adds_to_the_list_adds_an_application() -> None:
    found = lighttpd(server(PROGRAM) + 'fastcgi.server += ( "/y/" => (( "socket" => "/run/y" )) )')

    assert (list(document(found)["app"]), list(document(found)["external"])) == (["x"], ["y"])


def test_what_a_condition_inherits_is_there_once_and_what_it_adds_is_told() -> None:
    found = lighttpd(
        server(PROGRAM) + '$HTTP["host"] == "a" {\nfastcgi.server += ( "/y/" => (( "socket" => "/run/y" )) )\n}'
    )

    assert list(document(found)["app"]) == ["x"]
    assert '/y/ only where $HTTP["host"] == "a"; put its snippet there' in said(found)
    assert not any(text.startswith("/x/ only where") for text in said(found))


def test_the_document_root_is_that_of_the_condition() -> None:
    text = (
        'server.document-root = "/srv/a"\n$HTTP["host"] == "b" {\nserver.document-root = "/srv/b"\n'
        f'fastcgi.server = ( ".php" => (( {REMOTE} )) )\n}}'
    )

    assert document(lighttpd(text))["external"]["php"]["document-root"] == "/srv/b"
    assert any("no server.document-root is seen" in text for text in said(lighttpd(server(REMOTE, ".php"))))


def test_what_holds_for_all_of_them_is_in_each() -> None:
    text = server(
        REMOTE, ".php", 'fastcgi.debug = 1\nfastcgi.map-extensions = ( ".php3" => ".php", ".x" => ".y" )\n'
        'fastcgi.balance = "hash"\nserver.document-root = "/w"\n',
    )  # fmt: skip

    table = document(lighttpd(text))["external"]["php"]
    assert table["fastcgi"] == {"debug": 1, "map-extensions": {".php3": ".php"}}
    told = lost(lighttpd(text))
    assert any("fastcgi.map-extensions: .x => .y: no application has that extension" in line for line in told)
    assert any("fastcgi.balance = hash: the snippet does not write it" in line for line in told)


def test_who_lighttpd_is() -> None:
    text = server(REMOTE, before='server.username = "www-data"\nserver.groupname = "www-" + "data"\n')

    assert document(lighttpd(text))["fcgipm"] == {"web-user": "www-data", "web-group": "www-data"}


def test_in_a_chroot_programs_and_sockets_are_inside() -> None:
    found = lighttpd(server(PROGRAM, before='server.chroot = "/jail/"\n'))

    assert (only(found)["chroot"], only(found)["socket"]) == ("/jail", "/jail/run/x.sock")
    assert any("programs and sockets are taken to be inside" in text for text in said(found))


def test_with_workers_the_number_is_fixed() -> None:
    found = lighttpd(server(f'{PROGRAM}, "min-procs" => 1', before="server.max-worker = 2\n"))

    assert only(found)["processes"] == 4
    assert "with server.max-worker lighttpd always has max-procs" in said(found)


@pytest.mark.parametrize("value", ['"x"', '( "x" )', '( "/x/" => "y" )', '( "/x/" => ( "y" ) )', "env.NOPE"])
def test_what_is_no_list_of_applications_is_told(value: str) -> None:
    assert lost(lighttpd(f"fastcgi.server = {value}"))


def test_a_key_that_is_neither_prefix_nor_extension_is_told() -> None:
    assert any(text.startswith("uri php: ") for text in lost(lighttpd(server(REMOTE, "php"))))
