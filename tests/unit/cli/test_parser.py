"""The command line of fcgipmctl."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fcgipm.cli.parser import Misuse, build, parse, socket_path
from fcgipm.verbs import VERBS


@pytest.mark.parametrize(
    "line",
    ["-s /x --json --timeout 5 --no-wait stop a b", "stop -s /x --json --timeout 5 --no-wait a b",
     "-s /x stop a b --json --no-wait --timeout=5", "--timeout 9 -s /y stop a b -s /x --timeout 5 --no-wait --json"],
)  # fmt: skip
def test_options_stand_before_or_after_the_command(line: str) -> None:
    options = parse(line.split())
    assert vars(options) == {
        "verb": "stop", "apps": ["a", "b"], "socket": "/x", "json": True, "timeout": 5.0, "no_wait": True,
    }  # fmt: skip


def test_what_is_not_given_has_its_default() -> None:
    options = parse(["status"])
    assert (options.socket, options.json, options.timeout, options.no_wait, options.apps) == (
        None,
        False,
        60,
        False,
        [],
    )


def test_arguments_are_as_the_table_of_verbs_says() -> None:
    assert parse(["scale", "blog", "auto"]).processes == "auto"
    assert parse(["scale", "blog", "3"]).apps == ["blog"]
    assert parse(["request", "-v", "blog", "/ping?a=1"]).uri == "/ping?a=1"
    assert parse(["logs", "-f"]).follow is True
    assert parse(["logs", "blog"]).apps == ["blog"]
    snippet = parse(["snippet", "nginx", "a", "b", "--context", "http"])
    assert (snippet.server, snippet.apps, snippet.context) == ("nginx", ["a", "b"], "http")


@pytest.mark.parametrize(
    "line",
    ["", "dance", "stop", "scale blog", "logs a b", "status --timeout 0", "status --timeout soon", "status -x",
     "snippet nginx --context moon", "apply blog", "status --timeout nan", "status --js",
     "--sock /x status"],
)  # fmt: skip
def test_wrong_use_is_refused(line: str) -> None:
    with pytest.raises(Misuse) as misuse:
        parse(line.split())
    assert misuse.value.parser.format_usage().startswith("usage: fcgipmctl")


def test_only_what_is_required_is_said_to_be_missing() -> None:
    with pytest.raises(Misuse, match=r"required: SERVER$"):
        parse(["snippet"])


def test_every_verb_is_in_the_help() -> None:
    text = build().format_help()
    for name in VERBS:
        assert re.search(rf"^ +{name} ", text, re.MULTILINE), name


def test_the_socket_is_the_one_given_else_the_first_that_is_named_or_exists(tmp_path: Path) -> None:
    own = tmp_path / "fcgipm" / "control.sock"
    environ = {"FCGIPM_SOCKET": "/named", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert socket_path("/given", environ) == "/given"
    assert socket_path(None, environ) == "/named"
    del environ["FCGIPM_SOCKET"]
    assert socket_path(None, environ) == "/run/fcgipm/control.sock"
    own.parent.mkdir()
    own.touch()
    assert socket_path(None, environ) == str(own)
