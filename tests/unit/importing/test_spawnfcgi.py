from __future__ import annotations

from typing import Any

import pytest
from unit.importing.conftest import lost, only, said, spawn_fcgi

from fcgipm.importing.found import Unreadable
from fcgipm.importing.spawnfcgi import from_spawn_fcgi, is_spawn_fcgi

DEFAULTS = {"command": ["/srv/x"], "socket": "/run/x.sock", "listen-queue-depth": 1024}


def changed(options: str) -> dict[str, Any]:
    """Return what *options* change."""
    table = only(spawn_fcgi(f"spawn-fcgi -s /run/x.sock {options} -- /srv/x"))
    return {key: value for key, value in table.items() if DEFAULTS.get(key) != value}


def test_every_default_that_is_not_fcgipms_is_written() -> None:
    assert only(spawn_fcgi("spawn-fcgi -s /run/x.sock -- /srv/x")) == DEFAULTS
    assert only(spawn_fcgi("/usr/bin/spawn-fcgi -p 9000 -- /srv/x")) == {
        "command": ["/srv/x"], "port": 9000, "address": "0.0.0.0", "listen-queue-depth": 1024,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("-b 10", {"listen-queue-depth": 10}),
        ("-M 0666", {"socket-mode": "0666"}),
        ("-M 600", {"socket-mode": "600"}),
        ("-U a -G b", {"socket-owner": "a", "socket-group": "b"}),
        ("-u joe", {"user": "joe"}),
        ("-u 1001 -g 100", {"user": "#1001", "group": "#100", "socket-group": "#100"}),
        ("-u joe -g j -G w", {"user": "joe", "group": "j", "socket-group": "w"}),
        ("-d /srv", {"directory": "/srv"}),
        ("-c /jail -S", {"chroot": "/jail", "directory": "/"}),
        ("-c /jail -S -d /in", {"chroot": "/jail", "directory": "/in"}),
        ("-c /jail", {"chroot": "/jail", "directory": "/", "socket": "/jail/run/x.sock"}),
        ("-F 3", {"processes": 3}),
        ("-F3", {"processes": 3}),
        ("-C 5", {"initial-env": {"PHP_FCGI_CHILDREN": "5"}}),
        ("-nF 2", {"processes": 2}),
        ("-P /run/x.pid", {}),
    ],
)
def test_each_option(options: str, expected: dict[str, Any]) -> None:
    assert changed(options) == expected


@pytest.mark.parametrize(
    ("line", "address"),
    [("-a 127.0.0.1 -p 9000", "127.0.0.1"), ("-a ::1 -p 9000", "::1"), ("-p9000", "0.0.0.0")],
)
def test_a_port_is_bound_where_spawn_fcgi_binds_it(line: str, address: str) -> None:
    table = only(spawn_fcgi(f"spawn-fcgi {line} -- /srv/x"))

    assert (table["port"], table["address"]) == (9000, address)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("-n", "-n: fcgipm does not need it"),
        ("-P /run/x.pid", "-P /run/x.pid: fcgipm needs no file of process ids"),
        ("-c /jail", "-c without -S: the socket is made from outside the new root, as /jail/run/x.sock"),
        ("-z", "-z: spawn-fcgi has no such option"),
        ("-p 9", "-p 9: does not go together with -s"),
        ("-F many", "-F many: many is not a number"),
        ("-F 0", "-F 0: 0 is out of range"),
        ("-M rw", "-M rw: is no octal number"),
        ("-C x", "-C x: is no number of children"),
        ("-u a:b", '-u a:b: "a:b" is not allowed'),
        ("-d relative", '-d relative: "relative" is not allowed'),
        ("-f /srv/y", "-f /srv/y: spawn-fcgi does not look at it where a program is given without -f"),
    ],
)
def test_what_cannot_be_carried_over_is_told(options: str, why: str) -> None:
    assert any(text.startswith(why) for text in lost(spawn_fcgi(f"spawn-fcgi -s /run/x.sock {options} -- /srv/x")))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("-s x.sock -- /srv/x", "-s x.sock: is relative to where spawn-fcgi is started"),
        ("-p 99999 -- /srv/x", "-p 99999: 99999 is out of range; allowed: 1 to 65535"),
        ("-p http -- /srv/x", "-p http: http is not a number"),
        ("-p 9 -a localhost -- /srv/x", "-a localhost: "),
    ],
)
def test_where_it_cannot_listen_is_told(line: str, why: str) -> None:
    assert any(text.startswith(why) for text in lost(spawn_fcgi(f"spawn-fcgi {line}")))


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("-p 9 -- /srv/x -c /etc/x -n", ["/srv/x", "-c", "/etc/x", "-n"]),
        ("-p 9 /srv/x y -n z", ["/srv/x", "y", "z"]),
        ("-p 9 -f /srv/x", ["/srv/x"]),
        ("-p 9 -f php-cgi", ["/usr/bin/php-cgi"]),
        ("-p 9 -d /srv -- bin/x", ["/srv/bin/x"]),
        ("-p 9 -c /jail -- bin/x", ["/bin/x"]),
        ("-p 9 -f $HOME/x", ["/bin/sh", "-c", "exec $HOME/x"]),
    ],
)
def test_the_program(line: str, command: list[str]) -> None:
    assert only(spawn_fcgi(f"spawn-fcgi {line}"))["command"] == command


def test_the_arguments_of_f_are_words_unless_a_shell_is_needed() -> None:
    def command(text: str) -> object:
        return only(from_spawn_fcgi(["spawn-fcgi", "-p", "9", "-f", text], lambda name: f"/opt/{name}"))["command"]

    assert command("php-cgi -c  /etc/x") == ["/opt/php-cgi", "-c", "/etc/x"]
    assert command("php-cgi 'a b'") == ["/bin/sh", "-c", "exec php-cgi 'a b'"]


def test_variables_before_it_are_its_environment() -> None:
    table = only(spawn_fcgi("env -i A=b PHP_FCGI_CHILDREN=2 spawn-fcgi -p 9 -C 3 -- /srv/x"))

    assert table["initial-env"] == {"A": "b", "PHP_FCGI_CHILDREN": "3"}


def test_the_inherited_environment_is_told_unless_env_empties_it() -> None:
    inherited = "spawn-fcgi gives its whole environment"

    assert any(text.startswith(inherited) for text in said(spawn_fcgi("A=b spawn-fcgi -p 9 -- /srv/x")))
    assert not any(text.startswith(inherited) for text in said(spawn_fcgi("env - spawn-fcgi -p 9 -- /srv/x")))


def test_without_a_user_it_is_told_who_it_becomes() -> None:
    (told,) = [text for text in said(spawn_fcgi("spawn-fcgi -p 9 -- /srv/x")) if text.startswith("without -u")]

    assert "here it runs as web-user" in told


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("spawn-fcgi", "no FastCGI application is given"),
        ("spawn-fcgi -s /x", "no FastCGI application is given"),
        ("spawn-fcgi -f", "-f has no value"),
        ("spawn-fcgi -v", "-v starts nothing"),
        ("spawn-fcgi -h -s /x -- /srv/x", "-h starts nothing"),
        ("spawn-fcgi -s /x -- php-cgi", "php-cgi"),
    ],
)
def test_a_line_that_starts_nothing_is_refused(line: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        spawn_fcgi(line)


def test_only_command_lines_of_spawn_fcgi_are_taken() -> None:
    assert is_spawn_fcgi(["/usr/bin/spawn-fcgi"])
    assert is_spawn_fcgi(["env", "-i", "A=b", "spawn-fcgi", "-v"])
    assert not is_spawn_fcgi(["php-cgi"])
    assert not is_spawn_fcgi(["env"])
    assert not is_spawn_fcgi([])
