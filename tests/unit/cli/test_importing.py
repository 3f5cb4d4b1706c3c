"""``fcgipm import``: which reader gets a file, where what is printed goes, the exit status."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from fcgipm.cli.fcgipm import main
from fcgipm.cli.importing import LARGEST_FILE, Disk, is_lighttpd

APACHE = "FastCgiServer /srv/x\n"
LIGHTTPD = 'fastcgi.server = ( "/y/" => (( "socket" => "/run/y" )) )\n'


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["import", *words])
    output, errors = capsys.readouterr()
    return status, output, errors


def test_an_apache_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "httpd.conf"
    path.write_text(APACHE)

    status, output, errors = run(capsys, str(path))

    assert (status, list(tomllib.loads(output)["app"])) == (0, ["x"])
    assert errors == f"fcgipm: {path}: 1 application; 1 remark, written as a comment\n"


def test_a_lighttpd_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "web.conf"
    path.write_text(LIGHTTPD)

    status, output, _errors = run(capsys, str(path))

    assert (status, list(tomllib.loads(output)["external"])) == (0, ["y"])


def test_a_name_may_be_relative(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "httpd.conf").write_text("Include conf/more.conf\n")
    (tmp_path / "conf" / "more.conf").write_text("FastCgiServer bin/x\n")
    monkeypatch.chdir(tmp_path / "conf")

    _status, output, _errors = run(capsys, "httpd.conf")

    assert tomllib.loads(output)["app"]["x"]["command"] == [str(tmp_path / "bin/x")]
    assert f"# {tmp_path}/conf/more.conf:1: FastCgiServer bin/x\n" in output


def test_a_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    status, output, errors = run(capsys, "--", "spawn-fcgi", "-s", "/run/z", "--", "/bin/true", "-s", "x")

    assert (status, tomllib.loads(output)["app"]["true"]["command"]) == (0, ["/bin/true", "-s", "x"])
    assert errors.startswith("fcgipm: spawn-fcgi: 1 application; ")


def test_the_kind_can_be_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "odd.conf"
    path.write_text("# nothing that tells\n")

    assert run(capsys, "--from", "lighttpd", str(path))[0] == 1
    path.write_text(APACHE)
    status, output, errors = run(capsys, "--from", "lighttpd", str(path))
    assert (status, output) == (1, "")
    assert errors == f"fcgipm: {path}:1: '/' is not expected here\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LIGHTTPD, True),
        ('$HTTP["host"] == "x" { }', True),
        ('  server.modules += ( "mod_fastcgi" )', True),
        ('include "conf.d/*.conf"\n', True),
        (APACHE, False),
        ('Include "conf.d/*.conf"\n', False),
        ("<Directory />\n</Directory>\nx = 1", False),
        ("x = 1\n# <Directory />", True),
        ('ServerRoot "/etc/httpd"\n', False),
        ("Define A=b\n", False),
        ("", False),
    ],
)
def test_what_a_text_looks_like(text: str, expected: bool) -> None:
    assert is_lighttpd("/etc/web.conf", text) is expected


def test_where_the_text_does_not_tell_the_name_does() -> None:
    assert is_lighttpd("/etc/lighttpd.conf", "") is True


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"FastCgiServer /srv/x\n\nA\0B", "cannot be read: not a text: line 3 has a NUL"),
        (b"<VirtualHost *>\n", ":1: <virtualhost *> is not closed in this file"),
        (b"#" * (LARGEST_FILE + 1), f"cannot be read: larger than {LARGEST_FILE} bytes"),
        (b"Listen 80\n", ": there is no FastCGI application in it; nothing is printed"),
        (b"", ": there is no FastCGI application in it; nothing is printed"),
    ],
)
def test_what_cannot_be_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, why: str) -> None:
    path = tmp_path / "httpd.conf"
    path.write_bytes(content)

    status, output, errors = run(capsys, str(path))

    assert (status, output) == (1, "")
    assert errors.startswith(f"fcgipm: {path}")
    assert errors.endswith(f"{why}\n")


def test_what_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "fifo")

    no_file = "not a regular file"
    for name, why in {"gone": "no such file or directory", ".": no_file, "fifo": no_file}.items():
        status, output, errors = run(capsys, str(tmp_path / name))
        assert (status, output) == (1, "")
        assert errors == f"fcgipm: {tmp_path / name}: cannot be read: {why}\n"


def test_what_was_not_found_is_told_where_nothing_else_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "httpd.conf"
    path.write_text("Include gone.conf\n")

    _status, output, errors = run(capsys, str(path))

    assert output == ""
    assert errors.split("\n")[0].endswith(
        "httpd.conf:1: Include gone.conf: " + str(tmp_path / "gone.conf: no such file")
    )


@pytest.mark.parametrize(
    "words", [[], ["a", "b"], ["--bogus", "a"], ["--from", "nginx", "a"], ["--"], ["--", "php-cgi"]]
)
def test_wrong_use(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    status, output, errors = run(capsys, *words)

    assert (status, output) == (2, "")
    assert errors


def test_a_command_line_that_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--", "spawn-fcgi", "-h") == (1, "", "fcgipm: spawn-fcgi: -h starts nothing\n")


def test_its_help_is_in_the_commands_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--help")[0] == 0
    assert main(["--help"]) == 0
    assert "import" in capsys.readouterr().out


def test_files_are_found_as_apache_finds_them(tmp_path: Path) -> None:
    for name in ("b/2.conf", "b/10.conf", "b/sub/x", "a.conf", ".hidden.conf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    disk = Disk()

    def found(pattern: str) -> list[str]:
        return [os.path.relpath(path, tmp_path) for path in disk.expand(str(tmp_path / pattern))]

    assert found("b") == ["b/10.conf", "b/2.conf", "b/sub/x"]
    assert found("*.conf") == ["a.conf"]
    assert found("*/1*") == ["b/10.conf"]
    assert found("a.conf") == ["a.conf"]
    assert found("gone") == []


def test_too_many_and_too_large_files_are_refused(tmp_path: Path) -> None:
    for number in range(2001):
        (tmp_path / str(number)).touch()
    large = tmp_path / "large"
    large.write_bytes(b"#" * LARGEST_FILE)
    disk = Disk()

    with pytest.raises(ValueError, match="matches more than 2000 files"):
        disk.expand(str(tmp_path))
    for _ in range(4):
        disk.read(str(large))
    with pytest.raises(ValueError, match="all files together are larger than"):
        disk.read(str(large))
