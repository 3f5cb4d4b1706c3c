"""The configuration is read in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from fcgipm.config.apart import load_apart
from fcgipm.config.load import load
from fcgipm.config.once import Once
from fcgipm.config.problems import ConfigError

APPS = """
[fcgipm]
metrics-listen = ""
[app.a]
command = ["/bin/true", "ä"]
initial-env = { NAME = "value" }
[app.a.rlimits]
core = 0
[app.b]
command = ["/bin/true"]
port = 9000
[external.e]
host = "h:1"
"""


def written(place: Path, text: str) -> str:
    (place / "apps.toml").write_text(text)
    return str(place / "apps.toml")


def environ(place: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(place)}


def test_what_comes_back_is_what_load_returns(tmp_path: Path) -> None:
    path = written(tmp_path, APPS)

    apart = load_apart(path, environ=environ(tmp_path), euid=os.geteuid())

    assert apart == load(path, environ=environ(tmp_path), euid=os.geteuid())
    assert apart.environments["a"]["NAME"] == "value"


def test_a_reader_whose_program_was_replaced_beneath_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcgipm.config.load", None)

    with pytest.raises(ConfigError, match=r"ModuleNotFoundError.*config\.load"):
        load_apart(written(tmp_path, APPS), environ=environ(tmp_path), euid=os.geteuid())


def test_all_problems_come_back(tmp_path: Path) -> None:
    path = written(tmp_path, '[app.a]\ncommand = ["/bin/true"]\nprocesses = "x"\n[app.b]\n')

    with pytest.raises(ConfigError) as expected:
        load(path, environ=environ(tmp_path), euid=os.geteuid())
    with pytest.raises(ConfigError) as refused:
        load_apart(path, environ=environ(tmp_path), euid=os.geteuid())

    assert len(refused.value.problems) == 2
    assert refused.value.problems == expected.value.problems


class Faulty(dict[str, str]):
    """An environment at which its reader fails."""

    def get(self, key: str, default: object = None) -> NoReturn:
        """Raise, or end the process where it is told to."""
        if self.get_status:
            os._exit(self.get_status)
        raise RuntimeError(key, default)

    get_status = 0


@pytest.mark.parametrize(("status", "told"), [(0, "RuntimeError"), (3, "without an answer")])
def test_a_fault_of_the_reader_is_a_problem_of_the_file(tmp_path: Path, status: int, told: str) -> None:
    environment = Faulty()
    environment.get_status = status

    with pytest.raises(ConfigError, match=f"cannot be read: .*{told}"):
        load_apart(written(tmp_path, APPS), environ=environment, euid=1000)


def test_the_reader_does_not_stay_in_memory(tmp_path: Path) -> None:
    code = (
        "import json, os, sys; from fcgipm.config.apart import load_apart; import fcgipm.cli.start\n"
        "load_apart(sys.argv[1], environ={'XDG_RUNTIME_DIR': sys.argv[2]}, euid=os.geteuid())\n"
        "print(json.dumps([*sys.modules]))"
    )
    path = written(tmp_path, APPS)

    done = subprocess.run([sys.executable, "-c", code, path, str(tmp_path)], capture_output=True, text=True, check=True)

    modules = set(json.loads(done.stdout))
    assert "fcgipm.keeper.loop" in modules
    assert modules.isdisjoint({"tomli", "fcgipm.config.load", "fcgipm.config.check", "fcgipm.config.values"})


def test_equal_values_are_one_object(tmp_path: Path) -> None:
    text = APPS + '[app.c]\ncommand = ["/bin/true", "ä"]\ninitial-env = { NAME = "value" }\n'

    loaded = load_apart(written(tmp_path, text), environ=environ(tmp_path), euid=os.geteuid())

    first, other = (loaded.config.applications[name] for name in "ac")
    assert first.command is other.command
    assert first.user is other.user
    assert loaded.environments["a"] is loaded.environments["c"]
    assert loaded.identities["a"] is loaded.identities["c"]
    assert [type(value) for value in Once()((0, False, 0.0))] == [int, bool, float]
