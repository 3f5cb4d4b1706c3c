from __future__ import annotations

import dataclasses

import pytest
from unit.config.conftest import Files

from fcgipm.config.identity import Identity
from fcgipm.config.plan import KeyChange, compare
from fcgipm.config.schema import Change

APP = '[app.a]\ncommand = ["/bin/true"]\n'


def changes(files: Files, before: str, after: str) -> list[KeyChange]:
    old = files.load(before)
    return list(compare(old, files.load(after, running=old.config.daemon)))


def test_nothing_changed(files: Files) -> None:
    assert changes(files, APP, "# another comment\n" + APP + 'socket = "a.sock"\nprocesses = 1') == []


@pytest.mark.parametrize(
    ("line", "key", "effect"),
    [
        ("processes = 2", "processes", Change.IN_PLACE),
        ('socket-mode = "0600"', "socket-mode", Change.IN_PLACE),
        ('initial-env = { A = "1" }', "initial-env", Change.GENERATION),
        ('uri = ["/x/"]', "uri", Change.IN_PLACE),
        ('socket = "b.sock"', "socket", Change.LISTENER),
        ("umask = '077'", "umask", Change.GENERATION),
        ("fastcgi.debug = 1", "fastcgi.debug", Change.IN_PLACE),
    ],
)
def test_a_changed_key(files: Files, line: str, key: str, effect: Change) -> None:
    assert changes(files, APP, APP + line) == [KeyChange("a", key, effect)]


def test_from_a_socket_to_a_port(files: Files) -> None:
    assert changes(files, APP, APP + "port = 9001") == [
        KeyChange("a", "socket", Change.LISTENER), KeyChange("a", "port", Change.LISTENER)
    ]  # fmt: skip


def test_tables_that_come_and_go(files: Files) -> None:
    external = '[external.e]\nhost = "h:1"\n'

    assert changes(files, APP, APP.replace("app.a", "app.b")) == [
        KeyChange("a", "", "removed"), KeyChange("b", "", "added")
    ]  # fmt: skip
    assert changes(files, external, "") == [KeyChange("e", "", "removed")]
    assert changes(files, external, external.replace("h:1", "h:2")) == [KeyChange("e", "host", Change.IN_PLACE)]
    assert changes(files, APP, "[external.a]\nhost = 'h:1'") == [
        KeyChange("a", "", "removed"), KeyChange("a", "", "added")
    ]  # fmt: skip


def test_the_daemons_own_table(files: Files) -> None:
    after = f'[fcgipm]\nlog-level = "debug"\nmetrics-listen = ""\nruntime-dir = "{files.place}/x"\n{APP}'

    assert changes(files, APP, after) == [
        KeyChange(None, "log-level", Change.IN_PLACE),
        KeyChange(None, "runtime-dir", Change.RESTART),
        KeyChange(None, "metrics-listen", Change.RESTART),
        KeyChange(None, "pid-file", Change.RESTART),
    ]


def test_another_content_of_env_file(files: Files) -> None:
    text = f'{APP}env-file = "{files.write("env", "A=1")}"'
    old = files.load(text)
    files.write("env", "A=2")

    assert compare(old, files.load(text)) == (KeyChange("a", "env-file", Change.GENERATION),)


def test_another_value_of_a_passed_variable(files: Files) -> None:
    text = f'{APP}pass-env = ["A"]'
    old = files.load(text, environ={"A": "1"})

    assert compare(old, files.load(text, environ={"A": "2"})) == (KeyChange("a", "pass-env", Change.GENERATION),)


def test_another_entry_in_the_user_database(files: Files) -> None:
    old = files.load(APP)
    moved: Identity = dataclasses.replace(old.identities["a"], home="/elsewhere")
    new = dataclasses.replace(old, identities={"a": moved})

    assert compare(old, new) == (KeyChange("a", "user", Change.GENERATION),)
