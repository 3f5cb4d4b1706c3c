from __future__ import annotations

import pytest
from unit.importing.conftest import apache, document, lost, only, said

from fcgipm.importing.writer import render

ROOTED = "ServerRoot /srv\n"


def static(options: str, before: str = "") -> dict[str, object]:
    table = only(apache(f"{before}FastCgiServer /srv/x {options}"))
    return {key: value for key, value in table.items() if key != "command"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("-processes 4", {"processes": 4}),
        ("-PROCESSES 4", {"processes": 4}),
        ("processes 4", {"processes": 4}),
        ("-processes 2 -processes 3", {"processes": 3}),
        ("-port 9000", {"port": 9000, "address": "0.0.0.0"}),
        ("-socket one", {"socket": "one"}),
        ("-socket /run/one.sock", {"socket": "/run/one.sock"}),
        ("-listen-queue-depth 5", {"listen-queue-depth": 5}),
        ("-appConnTimeout 0 -idle-timeout 7", {"app-conn-timeout": "0s", "idle-timeout": "7s"}),
        ("-init-start-delay 2 -restart-delay 0", {"init-start-delay": "2s", "restart-delay": "0s"}),
        ("-min-server-life 9", {"min-server-life": "9s"}),
        ("-priority 3", {"priority": 3}),
        ("-priority 40", {"priority": 19}),
        ("-flush -nph", {"flush": True, "nph": True}),
        ("-pass-header A -pass-header B -pass-header A", {"pass-header": ["A", "B"]}),
        (
            "-initial-env A=b=c -initial-env D= -initial-env E",
            {"initial-env": {"A": "b=c", "D": ""}, "pass-env": ["E"]},
        ),
        ('-initial-env "A=b c"', {"initial-env": {"A": "b c"}}),
        ("-initial-env A=1 -initial-env A=2", {"initial-env": {"A": "2"}}),
    ],
)
def test_each_option_of_a_static_application(options: str, expected: dict[str, object]) -> None:
    assert static(options) == expected


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("-processes abc", "-processes abc: is not a number"),
        ("-processes 0", "-processes 0: 0 is out of range; allowed: 1 to 10000"),
        ("-port 70000", "-port 70000: 70000 is out of range; allowed: 1 to 65535"),
        ("-idle-timeout -5", "-idle-timeout -5: -5 is out of range"),
        ("-socket a -port 9", "-port 9: mod_fastcgi does not take it together with -socket"),
        ("-port 9 -socket a", "-socket a: mod_fastcgi does not take it together with -port"),
        ("-flush -processes", "-processes: has no value"),
        ('-processes ""', "-processes: has no value"),
        ("-bogus 1 -flush", "-bogus 1: mod_fastcgi has no such option here"),
        ("-bogus port -flush", "-bogus port: mod_fastcgi has no such option here"),
        ("-flush # really", "# really: mod_fastcgi has no such option here"),
        ("-restart", "-restart: mod_fastcgi has no such option here"),
        ("-initial-env =x", '-initial-env =x: "" cannot name a variable'),
        ("-pass-header 'a b'", '-pass-header a b: "a b" is not allowed'),
        ("-initial-env A=\udcff", "-initial-env A=\udcff: it is not UTF-8, which apps.toml is"),
        ("-user joe", "-user joe: mod_fastcgi ignores it without FastCgiWrapper"),
    ],
)
def test_what_cannot_be_carried_over_is_a_remark_in_the_table(options: str, why: str) -> None:
    found = apache(f"FastCgiServer /srv/x {options}")

    (told,) = lost(found)
    assert told.startswith(why)
    assert told in [remark.text for remark in found.applications[0].remarks()]
    assert only(found)["command"] == ["/srv/x"]


def test_names_are_relative_to_server_root() -> None:
    found = apache(f"{ROOTED}FastCgiServer fcgi-bin/../bin//x.fcgi")

    assert only(found)["command"] == ["/srv/bin/x.fcgi"]
    assert not any("ServerRoot" in text for text in said(found))


def test_without_a_server_root_it_is_told_where_names_are_taken_from() -> None:
    found = apache("FastCgiServer bin/x")

    assert only(found)["command"] == ["/etc/apache2/bin/x"]
    assert "no ServerRoot is written; names that do not begin with a slash are taken from /etc/apache2" in said(found)


def test_every_application_has_its_file_and_line_before_it() -> None:
    text = "\n".join(render(apache("\nFastCgiServer /srv/x -flush")))

    assert "# /etc/apache2/apache2.conf:2: FastCgiServer /srv/x -flush\n[app.x]\n" in text


def test_who_the_web_server_is() -> None:
    found = apache("User www-data\nGroup #33\n<VirtualHost *>\nUser joe\n</VirtualHost>\nFastCgiServer /srv/x")

    assert document(found)["fcgipm"] == {"web-user": "www-data", "web-group": "#33"}


def test_the_directory_of_sockets() -> None:
    found = apache(f"{ROOTED}FastCgiIpcDir run/fastcgi/\nFastCgiServer /srv/x -socket a.sock")

    assert document(found)["fcgipm"] == {"runtime-dir": "/srv/run/fastcgi"}
    assert only(found)["socket"] == "a.sock"
    assert any("fcgipm wants one of its own" in text for text in said(found))


@pytest.mark.parametrize(
    ("word", "value"),
    [("On", "on"), ("off", "off"), ("/usr/lib/suexec", "/usr/lib/suexec"), ("bin/cgiwrap", "/srv/bin/cgiwrap")],
)
@pytest.mark.parametrize("name", ["FastCgiWrapper", "FastCgiSuexec"])
def test_the_wrapper(name: str, word: str, value: str) -> None:
    assert document(apache(f"{ROOTED}{name} {word}\nFastCgiServer /srv/x"))["fcgipm"] == {"wrapper": value}


def test_with_a_wrapper_an_application_has_its_user() -> None:
    found = apache('FastCgiServer /srv/x -user joe -group "#100"\nFastCgiWrapper On')

    assert only(found) == {"command": ["/srv/x"], "user": "joe", "group": "#100"}


def test_with_a_wrapper_an_application_has_the_user_of_its_virtual_host() -> None:
    found = apache(
        "FastCgiWrapper On\n<VirtualHost a>\nUser joe\nGroup j\nFastCgiServer /srv/x -group k\n</VirtualHost>\n"
        "<VirtualHost b>\nSuexecUserGroup ann a\nFastCgiServer /srv/y\n</VirtualHost>\nFastCgiServer /srv/z"
    )

    apps = document(found)["app"]
    assert [(app.get("user"), app.get("group")) for app in apps.values()] == [("joe", "k"), ("ann", "a"), (None, None)]


def test_a_program_that_is_declared_twice_is_commented_out_the_second_time() -> None:
    found = apache("FastCgiServer /srv/x -processes 2\nFastCgiServer /srv/x -processes 3")

    assert only(found)["processes"] == 2
    assert lost(found) == ["mod_fastcgi takes /srv/x once, and it is there already"]


def test_with_a_wrapper_the_same_program_may_be_there_for_two_users() -> None:
    found = apache("FastCgiWrapper On\nFastCgiServer /srv/x -user a -group a\nFastCgiServer /srv/x -user b -group b")

    assert {name: table["user"] for name, table in document(found)["app"].items()} == {"x": "a", "x-2": "b"}


def test_external_applications() -> None:
    found = apache(
        "FastCgiIpcDir /run/f\nFastCgiExternalServer /v/a -host h:9 -socket s\n"
        "ExternalAppClass v/b -socket s -host h:9\nFastCgiExternalServer /v/c -socket /run/c.sock -user joe\n"
        "FastCgiExternalServer /v/d -flush\nFastCgiExternalServer /v/e -host h:70000"
    )

    externals = document(found)["external"]
    assert externals == {"a": {"host": ["h:9"]}, "b": {"socket": "/run/f/s"}, "c": {"socket": "/run/c.sock"}}
    told = lost(found)
    assert "-socket s: mod_fastcgi does not take it together with -host" in told
    assert "-host h:9: mod_fastcgi does not take it together with -socket" in told
    assert "-user joe: who starts an external application says as whom it runs" in told
    assert told.count('where it listens is not known; write host = "name:port", or socket') == 2


def test_an_external_socket_without_an_ipc_dir_is_asked_for() -> None:
    found = apache("FastCgiServer /srv/x\nFastCgiExternalServer /v/a -socket s")

    assert "external" not in document(found)
    assert "-socket s: is in the directory that Apache's build has as FastCgiIpcDir; write the whole path" in lost(
        found
    )


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("FastCgiServer", "apache2.conf:1: FastCgiServer: names no program"),
        ("FastCgiExternalServer", "names no program"),
        ("FastCgiIpcDir", "mod_fastcgi wants one word here"),
        ("FastCgiWrapper a b", "mod_fastcgi wants one word here"),
        ("FastCgiBogus On", "FastCgiBogus On: mod_fastcgi has no such directive"),
        (r"FastCgiIpcDir \\.\pipe\x", "named pipes are Windows'"),
        ("FastCgiAuthorizer", "names no program"),
    ],
)
def test_directives_that_make_no_sense_are_told(line: str, why: str) -> None:
    assert any(why in text for text in lost(apache(f"{line}\nFastCgiServer /srv/x")))
