"""FastCgiConfig, directories of scripts, authorizers."""

from __future__ import annotations

from typing import Any

import pytest
from unit.importing.conftest import apache, document, lost, only, said

from fcgipm.importing.writer import render

FCGI_BIN = (
    "Alias /fcgi-bin/ /srv/fcgi-bin/\n<Directory /srv/fcgi-bin>\nSetHandler fastcgi-script\nOptions +ExecCGI\n"
    "</Directory>\n"
)


def dynamic(text: str) -> dict[str, Any]:
    table: dict[str, Any] = document(apache(text))["dynamic"]
    return table


def roots(text: str) -> list[dict[str, Any]]:
    return list(dynamic(text).get("roots", []))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("-maxProcesses 40 -MAXCLASSPROCESSES 4", {"max-processes": 40, "max-class-processes": 4}),
        ("-minProcesses 0 -processSlack 3", {"min-processes": 0, "process-slack": 3}),
        ("-killInterval 10 -updateInterval 20", {"kill-interval": "10s", "update-interval": "20s"}),
        ("-gainValue .25", {"gain-value": 0.25}),
        ("-singleThreshold 1 -multiThreshold 60", {"single-threshold": 1, "multi-threshold": 60}),
        ("-singleThreshhold 1 -multiThreshhold 160", {"single-threshold": 1, "multi-threshold": 100}),
        ("-startDelay 2 -restart", {"start-delay": "2s", "restart": True}),
        ("-restart-delay 2 -init-start-delay 3", {"restart-delay": "2s", "init-start-delay": "3s"}),
        ("-min-server-life 4 -listen-queue-depth 5", {"min-server-life": "4s", "listen-queue-depth": 5}),
        ("-initial-env A=b -initial-env C", {"initial-env": {"A": "b"}, "pass-env": ["C"]}),
        ("-priority 6 -flush -pass-header X", {"priority": 6, "flush": True, "pass-header": ["X"]}),
        ("-appConnTimeout 7 -idle-timeout 8", {"app-conn-timeout": "7s", "idle-timeout": "8s"}),
        ("-maxProcesses 4 -processSlack 5", {"max-processes": 4, "process-slack": 4}),
        ("-maxProcesses 4 -minProcesses 9 -maxClassProcesses 5",
         {"max-processes": 4, "min-processes": 4, "max-class-processes": 4}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["FastCgiConfig", "FCGIConfig"])
def test_each_option_of_dynamic_applications(name: str, options: str, expected: dict[str, object]) -> None:
    assert dynamic(f"{name} {options}") == expected


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("-gainValue 1.5", "-gainValue 1.5: 1.5 is out of range"),
        ("-gainValue x", "-gainValue x: is not a number"),
        ("-processes 3", "-processes 3: mod_fastcgi has no such option here"),
        ("-startDelay 0", "-startDelay 0: "),
    ],
)
def test_what_cannot_be_carried_over_is_told(options: str, why: str) -> None:
    assert any(text.startswith(why) for text in lost(apache(f"FastCgiConfig {options}")))


def test_what_is_kept_below_the_maximum_is_told() -> None:
    assert "max-class-processes was 9, more than max-processes" in said(
        apache("FastCgiConfig -maxProcesses 4 -maxClassProcesses 9")
    )


def test_several_directives_add_up_and_what_mod_fastcgi_forgets_is_told() -> None:
    text = "FastCgiConfig -initial-env A=1 -flush\nFastCgiConfig -initial-env B=2 -maxProcesses 3"

    assert dynamic(text) == {"initial-env": {"A": "1", "B": "2"}, "flush": True, "max-processes": 3}
    assert "mod_fastcgi forgets -initial-env at the next FastCgiConfig; here all are kept" in said(apache(text))


def test_without_a_directory_of_scripts_a_root_is_there_to_be_filled_in() -> None:
    text = "\n".join(render(apache("FastCgiConfig -flush")))

    assert '\n#[[dynamic.roots]]\n#path = "/var/www/fcgi-bin"' in text


def test_a_directory_with_the_handler_is_a_root() -> None:
    assert roots(FCGI_BIN) == [{"path": "/srv/fcgi-bin", "uri": "/fcgi-bin/"}]


def test_a_directory_where_apache_runs_nothing_is_commented_out() -> None:
    text = FCGI_BIN.replace("Options +ExecCGI", "Options Indexes")

    assert "dynamic" in document(apache(text))
    assert roots(text) == []
    assert "no Options ExecCGI is seen for it, without which Apache starts no script there" in lost(apache(text))


@pytest.mark.parametrize(
    ("options", "may"),
    [
        ("<Directory />\nOptions ExecCGI\n</Directory>", True),
        ("<Directory /srv>\nOptions All\n</Directory>\n<Directory /srv/f>\nOptions -ExecCGI\n</Directory>", False),
        ("<Directory /srv>\nOptions +ExecCGI\n</Directory>\n<Directory /srv/f>\nOptions +Indexes\n</Directory>", True),
        ("<Directory /srv>\nOptions ExecCGI\n</Directory>\n<Directory /srv/f>\nOptions Indexes\n</Directory>", False),
        ("<Directory /srv>\nOptions None\n</Directory>", False),
        ("<Directory /srv>\nOptions +Indexes -Includes\n</Directory>", False),
        ("ScriptAlias /f/ /srv/f/", True),
        ("<Directory /srv/*>\nOptions ExecCGI\n</Directory>", False),
    ],
)
def test_options_are_inherited_from_the_directory_above(options: str, may: bool) -> None:
    handler = "<Directory /srv/f>\nSetHandler fastcgi-script\n</Directory>"

    assert [root["path"] for root in roots(f"{options}\n{handler}\nFastCgiConfig -flush")] == (
        ["/srv/f"] if may else []
    )


def test_an_extension_makes_a_root_of_each_directory_where_scripts_may_run() -> None:
    text = "AddHandler fastcgi-script fcgi\nScriptAlias /a/ /srv/a/\nScriptAlias /b/ /srv/b/"

    assert roots(text) == [
        {"path": "/srv/a", "match": "*.fcgi", "uri": "/a/"},
        {"path": "/srv/b", "match": "*.fcgi", "uri": "/b/"},
    ]


def test_several_extensions_have_one_pattern_and_that_is_told() -> None:
    text = "AddHandler fastcgi-script .fcgi\nScriptAlias /a/ /srv/a/\nAddHandler fastcgi-script .fpl"

    assert roots(text) == [{"path": "/srv/a", "match": "*.f*", "uri": "/a/"}]
    assert "Apache takes .fcgi, .fpl; a root has one pattern" in said(apache(text))


def test_a_directory_where_all_are_scripts_needs_no_pattern() -> None:
    assert roots(f"AddHandler fastcgi-script .fcgi\n{FCGI_BIN}") == [{"path": "/srv/fcgi-bin", "uri": "/fcgi-bin/"}]


def test_a_root_has_a_name_that_no_application_has() -> None:
    assert roots(f"FastCgiServer /srv/fcgi-bin.fcgi\n{FCGI_BIN}")[0]["name"] == "fcgi-bin-2"


def test_a_directory_within_a_root_is_no_other_one() -> None:
    text = f"AddHandler fastcgi-script .fcgi\n{FCGI_BIN}<Directory /srv/fcgi-bin/in>\nOptions +ExecCGI\n</Directory>"

    assert [root["path"] for root in roots(text)] == ["/srv/fcgi-bin"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("Alias /f /srv/f\n<Location /f>\nSetHandler fastcgi-script\n</Location>\nScriptAlias /g /srv/f", "/srv/f"),
        ("DocumentRoot /srv\nSetHandler fastcgi-script\n<Directory /srv>\nOptions ExecCGI\n</Directory>", "/srv"),
    ],
)
def test_places_lead_to_directories(text: str, path: str) -> None:
    assert [root["path"] for root in roots(text)] == [path]


@pytest.mark.parametrize(
    "section", ["<Directory /home/*/cgi>", '<DirectoryMatch "^/x">', "<LocationMatch x>", "<Location /nowhere>"]
)
def test_what_is_no_single_directory_is_told(section: str) -> None:
    kind = section[1:].split(maxsplit=1)[0]
    found = apache(f"{section}\nSetHandler fastcgi-script\n</{kind}>\nFastCgiConfig -flush")

    assert any("SetHandler fastcgi-script in " in text for text in lost(found))


def test_a_declared_program_is_no_root() -> None:
    found = apache("FastCgiServer /srv/x\n<Directory /srv/x>\nSetHandler fastcgi-script\n</Directory>")

    assert set(document(found)) == {"app"}


def test_with_a_wrapper_the_scripts_of_a_virtual_host_have_its_user() -> None:
    text = f"FastCgiWrapper On\n<VirtualHost a>\nSuexecUserGroup joe j\n{FCGI_BIN}</VirtualHost>"

    assert roots(text) == [{"path": "/srv/fcgi-bin", "uri": "/fcgi-bin/", "user": "joe", "group": "j"}]


def test_a_directory_with_several_uris_has_one_and_the_others_are_told() -> None:
    found = apache(f"Alias /other /srv/fcgi-bin\n{FCGI_BIN}")

    assert document(found)["dynamic"]["roots"][0]["uri"] == "/other/"
    assert "/fcgi-bin/ leads here, too, and a root has one uri" in said(found)


GUARD = "DocumentRoot /srv/www\n<Directory /srv/www/private>\n{}\n</Directory>\n"


@pytest.mark.parametrize("name", ["FastCgiAuthenticator", "FastCgiAuthorizer", "FastCgiAccessChecker"])
def test_an_authorizer_that_nobody_declared_is_started_on_demand(name: str) -> None:
    found = apache(GUARD.format(f"{name} /srv/guard") + "FastCgiConfig -maxClassProcesses 3 -initial-env A=1 -flush")

    assert only(found) == {
        "command": ["/srv/guard"], "role": "authorizer", "uri": ["/private/"], "min-processes": 0, "max-processes": 3,
        "flush": True, "initial-env": {"A": "1"},
    }  # fmt: skip


def test_an_authorizer_may_guard_several_places() -> None:
    found = apache(
        GUARD.format("FastCgiAuthorizer /srv/guard") + "<Location /more>\nFastCgiAccessChecker /srv/guard\n</Location>"
    )

    assert only(found)["uri"] == ["/private/", "/more"]


def test_a_declared_authorizer_gets_its_role() -> None:
    found = apache(
        "FastCgiServer /srv/f/guard -processes 2\nAlias /f /srv/f\n" + GUARD.format("FastCgiAuthorizer /srv/f/guard")
    )

    assert only(found) == {
        "command": ["/srv/f/guard"], "processes": 2, "role": "authorizer", "uri": ["/private/"],
    }  # fmt: skip
    assert "uri /f/guard: it authorizes, and answers no requests of its own" in lost(found)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            "FastCgiAuthorizer /srv/guard -compat",
            "-compat: the web server decides which of its headers become variables",
        ),
        ("FastCgiAuthorizer /srv/guard\nFastCgiAuthorizerAuthoritative Off", "what an authorizer refuses is refused"),
    ],
)
def test_what_only_mod_fastcgi_does_with_authorizers_is_told(line: str, why: str) -> None:
    assert any(why in text for text in lost(apache(GUARD.format(line))))
    assert lost(apache(GUARD.format("FastCgiAuthorizer /srv/g\nFastCgiAuthorizerAuthoritative on"))) == []
