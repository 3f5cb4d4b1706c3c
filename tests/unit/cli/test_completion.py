"""The completion for bash, in a real bash."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fcgipm.cli.completion import script
from fcgipm.verbs import VERBS

FILE = Path(__file__).parents[3] / "etc" / "completions" / "fcgipmctl.bash"
ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_fcgipmctl
printf '%s\\n' "${COMPREPLY[@]}"
"""
FAKE = """#!/bin/bash
[ "$*" = "$EXPECTED" ] || exit 1
printf 'APP   STATE    LAST/NEXT\\nblog  running  -\\nshop  failed   exit status 1\\n'
"""


def complete(line: str, place: Path, called: str = "--timeout 1 status") -> list[str]:
    program = place / "fcgipmctl"
    program.write_text(FAKE)
    program.chmod(0o755)
    environ = {"PATH": f"{place}:{os.environ['PATH']}", "EXPECTED": called}
    command = ["bash", "--norc", "-c", ASK, "bash", str(FILE), *line.split(" ")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_the_file_is_made_from_the_table_of_verbs() -> None:
    assert FILE.read_text() == script(), "run: python -m fcgipm.cli.completion > etc/completions/fcgipmctl.bash"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("fcgipmctl ", [*VERBS, "--version"]),
        ("fcgipmctl sta", ["status", "start"]),
        ("fcgipmctl --js", ["--json"]),
        ("fcgipmctl stop ", ["blog", "shop"]),
        ("fcgipmctl stop blog s", ["shop"]),
        ("fcgipmctl logs -", ["-f", "--follow", "-s", "--socket", "--json", "--timeout", "--no-wait", "-h", "--help"]),
        ("fcgipmctl logs blog ", []),
        ("fcgipmctl scale b", ["blog"]),
        ("fcgipmctl scale blog ", ["auto"]),
        ("fcgipmctl snippet ", ["nginx", "lighttpd", "apache"]),
        ("fcgipmctl snippet nginx b", ["blog"]),
        ("fcgipmctl snippet nginx --context ", ["http", "server"]),
        ("fcgipmctl --timeout 5 request ", ["blog", "shop"]),
        ("fcgipmctl apply ", []),
        ("fcgipmctl --timeout ", []),
    ],
)
def test_what_can_come_next_is_offered(line: str, words: list[str], place: Path) -> None:
    assert complete(line, place) == words


def test_the_applications_are_those_of_the_daemon_that_is_meant(place: Path) -> None:
    assert complete("fcgipmctl -s /x stop ", place, "-s /x --timeout 1 status") == ["blog", "shop"]
