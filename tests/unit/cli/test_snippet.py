"""Which applications and roots a snippet is made for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from fcgipm.cli.client import ClientError
from fcgipm.cli.snippet import render
from fcgipm.codec import to_json
from fcgipm.config.definitions import to_definition
from fcgipm.config.schema import Application, Daemon, Dynamic, Root
from fcgipm.verbs import ExitCode


def definitions(**more: Any) -> dict[str, Any]:
    """Return what a daemon with two applications, two roots and a script that listens answers."""
    apps = [
        Application(
            name=name, command=("/bin/true",), uri=(f"/{name}/",), socket=f"/run/x/{name}.sock", processes=processes,
            max_processes=3,
        )
        for name, processes in (("a", 1), ("b", None), ("one/s", None))
    ]  # fmt: skip
    roots = tuple(Root(path=f"/srv/{name}", name=name, uri=f"/{name}/") for name in ("one", "two"))
    return {
        "daemon": to_json(Daemon(runtime_dir="/run/x")),
        "applications": [to_definition(one) for one in apps],
        "externals": [],
        "dynamic": to_definition(Dynamic(roots=roots)),
        **more,
    }


def test_without_names_everything_is_in_it() -> None:
    text = render(definitions(), "nginx", (), None)

    for head in ('location ^~ "/a/"', 'location ^~ "/b/"', 'location ^~ "/one/"', 'location ^~ "/two/"'):
        assert head in text
    assert 'server "unix:/run/x/connector.sock"' in text


def test_a_root_is_named_like_an_application() -> None:
    text = render(definitions(), "lighttpd", ("a", "one"), None)

    assert '"^/a(/|$)"' in text
    assert '"^/one/(s)(/|$)"' in text
    assert "/b" not in text.replace("/bin", "")
    assert "two" not in text


def test_without_a_root_there_are_no_scripts() -> None:
    assert "one" not in render(definitions(), "lighttpd", ("a",), None).replace("none", "")
    assert "/one" not in render(definitions(dynamic=None), "apache", (), None)


def test_what_nobody_knows_is_named_with_what_is_known() -> None:
    with pytest.raises(ClientError, match="no such application: c; known are a, b, one, two") as caught:
        render(definitions(), "nginx", ("c",), None)
    assert caught.value.code is ExitCode.USAGE


def test_the_reporter_is_the_one_that_was_installed_with_this_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "fcgipmctl")])
    assert '"|fcgipm-report -s /run/x/report.sock"' in render(definitions(), "apache", ("b",), None)

    (tmp_path / "fcgipm-report").touch()
    assert f'"|{tmp_path}/fcgipm-report -s /run/x/report.sock"' in render(definitions(), "apache", ("b",), None)
