"""The documents: what is made from the code is up to date, and manual pages are well formed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from harness.components import need
from harness.daemon import FCGIPM

from fcgipm.config.load import ConfigError, Problem, load
from fcgipm.config.option import options
from fcgipm.config.schema import Application, Daemon, External
from fcgipm.core.commands import Topic
from fcgipm.core.policy.classic import STARTS
from fcgipm.core.scaling import REMOVALS
from fcgipm.verbs import VERBS, ExitCode

ROOT = Path(__file__).parents[2]


def page(name: str) -> str:
    """Return a manual page as plain text."""
    done = subprocess.run(
        [need("mandoc"), "-Tascii", "-Owidth=200", str(ROOT / "man" / name)], capture_output=True, text=True, check=True
    )
    return re.sub(".\b", "", done.stdout)


def test_what_is_made_from_the_code_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/generate.py"), "--check"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_mandoc_finds_nothing_wrong_with_the_manual_pages() -> None:
    need("mandoc")
    done = subprocess.run([str(ROOT / "man/lint")], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_every_option_is_in_the_manual_page() -> None:
    text = page("apps.toml.5")

    missing = [
        key
        for table in (Daemon, Application, External)
        for key, _, _ in options(table)
        if not re.search(rf"^ +{re.escape(key)}(  |$)", text, re.MULTILINE)
    ]
    assert missing == []


def test_every_command_event_and_exit_code_is_in_the_manual_pages() -> None:
    control, daemon = page("fcgipmctl.1"), page("fcgipm.8")

    assert [verb for verb in VERBS if not re.search(rf"^ +{verb}\b", control, re.MULTILINE)] == []
    assert [code for code in ExitCode if not re.search(rf"^ +{code.value}  ", control, re.MULTILINE)] == []
    assert [topic for topic in Topic if topic.value not in daemon] == []
    assert [rule for rule in (*STARTS, *REMOVALS) if not re.search(rf"^ +{rule}\b", control, re.MULTILINE)] == []


@pytest.mark.parametrize("example", ["demo.toml"])
def test_the_shipped_example_is_a_correct_configuration(example: str, place: Path) -> None:
    # root's daemon demands a file of root's that nobody else may write; a clone may be anybody's
    copy = place / example
    copy.write_bytes((ROOT / "etc" / example).read_bytes())
    copy.chmod(0o644)

    done = subprocess.run([FCGIPM, "check", str(copy)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_example_in_the_documents_is_a_correct_configuration(place: Path) -> None:
    """Except that what it names is not there on this machine."""
    examples = [
        (document.name, example)
        for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
        for example in re.findall(r"```toml\n(.*?)```", document.read_text(), re.DOTALL)
    ]
    assert len(examples) > 5
    for document, example in examples:
        config = place / "apps.toml"
        config.write_text(example)
        config.chmod(0o644)
        problems: tuple[Problem, ...] = ()
        try:
            load(str(config), environ={}, euid=os.geteuid())
        except ConfigError as error:
            problems = error.problems
        assert [str(each) for each in problems if not each.text.endswith("no such file or directory")] == [], document


def test_the_explanations_that_are_looked_up_by_their_words_are_given_so() -> None:
    core = "".join(path.read_text() for path in (ROOT / "fcgipm/core").rglob("*.py"))
    page = (ROOT / "docs/operating.md").read_text()
    quoted = [text for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for text in re.findall(r"`(.*?)`", row)]
    pieces = [
        piece.strip() for text in quoted for piece in re.split(r"\d+ instance|[0-9(),:;…%]", text) if len(piece) > 8
    ]

    assert len(pieces) > 10
    assert [piece for piece in pieces if piece not in core] == []


def test_every_target_the_documents_name_is_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = {
        target
        for document in ("README.md", "CONTRIBUTING.md")
        for target in re.findall(r"(?:^|`)make ([a-z]+)", (ROOT / document).read_text(), re.MULTILINE)
    }

    assert named >= {"demo", "test", "lint", "fix", "bench"}
    assert [target for target in named if not re.search(rf"^[a-z ]*\b{target}\b[a-z ]*:", makefile, re.MULTILINE)] == []


def test_every_link_of_the_documents_leads_somewhere() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), (document.name, target)


def test_the_map_has_everything_in_the_package() -> None:
    (overview,) = re.findall(r"^fcgipm/\n(.*?)^etc/", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE)
    whole = (ROOT / "docs/map.md").read_text()
    package = ROOT / "fcgipm"
    modules = {path for path in package.rglob("*.py") if not path.name.startswith("__init__")}
    top = {path.name for path in modules if path.parent == package}
    top |= {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()}

    assert set(re.findall(r"^  (\S+) ", overview, re.MULTILINE)) == top
    assert [path.name for path in modules if f"| `{path.name}` | " not in whole] == []


def test_install_puts_everything_under_the_prefix(tmp_path: Path) -> None:
    destination = f"DESTDIR={tmp_path}"
    command = ["make", "--silent", "-C", str(ROOT), "install", destination, "PREFIX=/opt/x", "PYTHON=python3"]
    subprocess.run(command, check=True, capture_output=True, env={"PATH": os.environ["PATH"]})
    files = {str(path.relative_to(tmp_path / "opt/x")) for path in tmp_path.rglob("*") if path.is_file()}

    assert files >= {
        "share/man/man1/fcgipmctl.1", "share/man/man1/fcgipm-report.1", "share/man/man5/apps.toml.5",
        "share/man/man8/fcgipm.8",
        "share/bash-completion/completions/fcgipmctl", "share/doc/fcgipm/apps.toml",
        "share/doc/fcgipm/control-protocol.md", "lib/sysusers.d/fcgipm.conf",
        "share/doc/fcgipm/connector-protocol.md", "lib/sysctl.d/50-fcgipm.conf",
    }  # fmt: skip
    for unit in (ROOT / "systemd").glob("*.service"):
        assert "ExecStart=/opt/x/bin/fcgipm start" in (tmp_path / "opt/x/lib/systemd/system" / unit.name).read_text()
