from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from unit.config.conftest import Files

from fcgipm.cli import check, show
from fcgipm.config.drafts import Reader
from fcgipm.config.option import options
from fcgipm.config.problems import Report
from fcgipm.config.schema import Application, Daemon, Dynamic, External, Root
from fcgipm.config.sources import read_sources
from fcgipm.config.tables import gather

ETC = Path(__file__).parents[3] / "etc"
APP = '[app.a]\ncommand = ["/bin/true"]\n'


@pytest.fixture(autouse=True)
def _own_runtime_directory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))


def test_check_of_a_good_file(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    files.write("more.toml", '[external.e]\nhost = "h:1"')
    path = files.write("apps.toml", f'include = ["more.toml"]\n{APP}processes = 3')

    assert check.main([path]) == 0
    assert capsys.readouterr() == (f"{path}: ok: 1 application, 3 processes, 1 external application, 2 files\n", "")
    assert check.main(["-q", path]) == 0
    assert capsys.readouterr() == ("", "")


def test_check_counts_what_may_be(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    text = f'{APP}min-processes = 0\nmax-processes = 5\n[app.b]\ncommand = ["/bin/true"]\n'
    path = files.write("apps.toml", f'{text}[dynamic]\nroots = [{{ path = "/usr/bin" }}]\nmax-processes = 20')

    assert check.main([path]) == 0
    counts = "2 applications, 1 to 6 processes, 1 root of scripts with at most 20 processes"
    assert capsys.readouterr() == (f"{path}: ok: {counts}\n", "")


def test_check_of_a_bad_file(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    path = files.write("apps.toml", f"{APP}processes = 0\nfoo = 1")

    assert check.main(["-q", path]) == 1
    out, err = capsys.readouterr()
    assert [line.split(": ")[0] for line in out.splitlines()] == [f"{path}:3", f"{path}:4"]
    assert not err


def test_warnings_go_to_stderr(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    path = files.write("apps.toml", f"{APP}listen-queue-depth = 2147483647")

    assert check.main([path]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{path}: ok")
    assert err.startswith(f"warning: {path}:3: app.a.listen-queue-depth: ")


@pytest.mark.parametrize("command", [check.main, show.main])
@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--nonsense", "a"]])
def test_wrong_use(command: object, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(command)
    assert command(arguments) == 2
    assert "usage: fcgipm " in capsys.readouterr().err


def test_show_prints_a_file_that_says_the_same(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    path = files.write("apps.toml", f'{APP}initial-env = {{ A = "b" }}')

    assert show.main([path]) == 0
    first = capsys.readouterr().out
    again = files.write("again.toml", first)
    assert show.main([again]) == 0
    second = capsys.readouterr().out

    assert first.splitlines()[0] == f"# {path}, with every default filled in"
    assert first.splitlines()[1:] == second.splitlines()[1:]
    assert tomllib.loads(first)["app"]["a"]["initial-env"] == {"A": "b"}


def test_show_as_json(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert show.main(["--json", files.write("apps.toml", APP)]) == 0
    assert json.loads(capsys.readouterr().out)["app"]["a"]["command"] == ["/bin/true"]


@pytest.mark.parametrize("command", ["check", "show"])
def test_a_reader_who_goes_away_is_no_error(files: Files, command: str) -> None:
    path = files.write("apps.toml", APP)
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as output:
        program = f"import sys; from fcgipm.cli import {command}; sys.exit({command}.main(sys.argv[1:]))"
        done = subprocess.run([sys.executable, "-c", program, path], stdout=output, stderr=subprocess.PIPE, check=False)

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("redirection", "reason"),
    [("> /dev/full", "no space left on device"), (">&-", "standard output is closed")],
)
@pytest.mark.parametrize(
    "words",
    ["check", "show", "show --json", "-t", "check --help", "show --help", "start --help", "--help",
     "--version", "check bad"],
)  # fmt: skip
def test_output_that_cannot_be_written_is_1_and_says_why(
    files: Files, words: str, redirection: str, reason: str
) -> None:
    good, bad = files.write("apps.toml", APP), files.write("bad.toml", "[app.b]")
    words = words.replace("bad", bad) if "bad" in words else words if "--help" in words else f"{words} {good}"
    command = f"exec {sys.executable} -m fcgipm.cli.fcgipm {words} {redirection}"
    done = subprocess.run(["bash", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"fcgipm: cannot write the output: {reason}\n")


def test_show_of_a_bad_file(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    path = files.write("apps.toml", "[app.a]")

    assert show.main([path]) == 1
    assert capsys.readouterr() == ("", f"{path}:1: app.a.command: is required\n")


# ── etc/ ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def copy_of(name: str, files: Files) -> str:
    """Return a copy of an example that belongs to who runs the test, wherever the source tree comes from."""
    return files.write(name, (ETC / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["apps.toml", "demo.toml"])
def test_the_examples_are_good(files: Files, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([copy_of(name, files)]) == 0
    assert not capsys.readouterr().err


def test_the_example_shows_every_option() -> None:
    text = (ETC / "apps.toml").read_text(encoding="utf-8")
    mentioned = set(re.findall(r"^#?([a-z][a-z.-]*) = ", text, re.MULTILINE))
    mentioned |= set(re.findall(r"^#?\[app\.\w+\.([a-z-]+)\]$", text, re.MULTILINE))

    known = {key for table in (Daemon, Application, Dynamic, External) for key, _option, _item in options(table)}
    assert known - mentioned == set()
    roots = re.search(r"^#roots = \[$(.*?)^#\]$", text, re.MULTILINE | re.DOTALL)
    assert roots is not None
    assert {key for key, _option, _item in options(Root)} == set(re.findall(r"([a-z]+) = ", roots[1]))


def test_the_example_is_right_in_what_it_comments_out(files: Files) -> None:
    text = re.sub(r"^#(?=[a-z\[\]]|    \{)", "", (ETC / "apps.toml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    report = Report()
    tables = gather(read_sources(files.write("apps.toml", text), os.geteuid(), report), report)
    reader = Reader(tables.defaults, report)
    drafts = [reader.draft("fcgipm", tables.daemon, Daemon, inherits=False)]
    drafts += [reader.draft(name, table, Application) for name, table in tables.applications.items()]
    drafts += [reader.draft(name, table, External) for name, table in tables.externals.items()]
    assert tables.dynamic is not None
    drafts.append(reader.draft("dynamic", tables.dynamic, Dynamic))
    assert len(drafts[-1].parts) == 3

    assert [str(problem) for problem in report.problems] == []
    assert sorted(tables.applications) == ["blog", "hello", "remote"]
    assert sorted(tables.externals) == ["legacy", "other"]


def test_commented_defaults_are_the_defaults(files: Files) -> None:
    """What the example gives as a default, without saying otherwise, is one: using it changes nothing."""
    text = (ETC / "apps.toml").read_text(encoding="utf-8")
    commented = re.findall(r"^#([a-z][a-z.-]* = .*?)(?: {2,}#.*)?$", text, re.MULTILINE)
    plain = {key: option for key, option, item in options(Application) if item.default is not None}
    lines = [line for line in commented if line.split(" = ")[0] in plain and line.split(" = ")[0] not in EXAMPLES]

    before = files.load(APP).config.applications["a"]
    after = files.load(APP + "\n".join(dict.fromkeys(lines))).config.applications["a"]
    assert after == before
    assert len(lines) > 30


def test_commented_defaults_of_dynamic_are_the_defaults(files: Files) -> None:
    text = (ETC / "apps.toml").read_text(encoding="utf-8")
    part = text[text.index("\n#[dynamic]\n") : text.index("managed elsewhere")]
    lines = re.findall(r"^#([a-z-]+ = [^#\[]*?)(?: {2,}#.*)?$", part, re.MULTILINE)
    head = '[dynamic]\nroots = [{ path = "/usr/bin" }]\n'

    assert files.load(head + "\n".join(lines)).config.dynamic == files.load(head).config.dynamic
    assert [line.split(" = ")[0] for line in lines] == [
        "max-processes", "max-class-processes", "min-processes", "process-slack", "restart"
    ]  # fmt: skip


EXAMPLES = {
    "command", "uri", "port", "address", "allowed-clients", "rlimits", "pass-header", "fastcgi.map-extensions",
    "wrapper", "watch",
}  # fmt: skip
