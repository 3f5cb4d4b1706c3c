"""Log lines in every form, and sinks that never block and never raise."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
from pathlib import Path

import pytest

from fcgipm import log
from fcgipm.log import Entry, FileSink, JournalSink, LineSplitter, Logger, SyslogSink, escaped, format_line

WHEN = 1_750_000_000.25


def test_a_text_line_has_local_time_with_milliseconds_level_application_and_pid() -> None:
    line = format_line(Entry(WHEN, "warning", "slow\x1b[31m\nend", "blog", 12), "text")

    assert re.fullmatch(
        r"2025-06-1\dT\d\d:\d\d:40\.250[+-]\d\d:\d\d warning blog\[12\]: slow\\x1b\[31m\\x0aend", line
    ), line


def test_a_line_of_the_daemon_itself_names_nobody() -> None:
    assert format_line(Entry(WHEN, "info", "hello"), "text").endswith(" info hello")


def test_a_json_line_is_one_object_whatever_is_in_it() -> None:
    line = format_line(Entry(WHEN, "info", 'a\n"b"\udcff\u2028', "blog", 12), "json")

    assert "\n" not in line
    assert json.loads(line) == {
        "time": log.timestamp(WHEN), "level": "info", "app": "blog", "pid": 12, "text": 'a\n"b"\udcff\u2028',
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [("tab\tstays", "tab\tstays"), ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"), ("\u2029", "\\u2029"), ("äö€", "äö€")],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_lines_are_put_together_and_long_ones_are_split_between_characters() -> None:
    splitter = LineSplitter(limit=5)

    assert splitter.feed(b"one\r\ntw") == ["one"]
    assert splitter.feed(b"o\n\n") == ["two", ""]
    assert splitter.feed("aaaaä".encode()) == ["aaaa"]
    assert splitter.feed(b"b\n\xff\n") == ["äb", "\\xff"]
    assert splitter.feed(b"rest") == []
    assert splitter.end() == ["rest"]
    assert splitter.end() == []


def test_a_full_pipe_neither_blocks_nor_raises_and_the_loss_is_told() -> None:
    readable, writable = os.pipe()
    fcntl.fcntl(writable, fcntl.F_SETPIPE_SZ, 4096)
    sink = FileSink(writable)
    for _ in range(100):
        sink.write(Entry(WHEN, "info", "x" * 100), "text")
    os.read(readable, 65536)
    sink.write(Entry(WHEN, "info", "again"), "text")

    told = os.read(readable, 65536).decode()

    sink.close()
    os.close(readable)
    lost = re.search(r"(\d+) lines of this log could not be written", told)
    assert lost is not None
    assert 50 < int(lost[1]) < 100
    assert told.endswith("info again\n")


def test_a_full_disk_is_survived() -> None:
    sink = FileSink(os.open("/dev/full", os.O_WRONLY))

    sink.write(Entry(WHEN, "info", "lost"), "text")

    sink.close()


def test_syslog_gets_a_datagram_as_rfc_3164_has_it(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "log"))
        sink = SyslogSink(address=str(tmp_path / "log"))
        sink.write(Entry(WHEN, "error", "bad\n", "blog", 12), "text")

        data = receiver.recv(8192).decode()
        sink.close()

    assert re.fullmatch(rf"<27>Jun 1\d \d\d:\d\d:40 fcgipm\[{os.getpid()}\]: blog\[12\]: bad\\x0a", data), data


def test_the_journal_gets_fields(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "log"))
        sink = JournalSink(address=str(tmp_path / "log"))
        sink.write(Entry(WHEN, "warning", "a\nMESSAGE=forged", "blog", 12), "text")

        lines = receiver.recv(8192).decode().splitlines()
        sink.close()

    assert lines == [
        "MESSAGE=blog[12]: a\\x0aMESSAGE=forged", "PRIORITY=4", "SYSLOG_IDENTIFIER=fcgipm", "SYSLOG_FACILITY=3",
        "FCGIPM_APP=blog", "FCGIPM_PID=12",
    ]  # fmt: skip


def test_a_log_daemon_that_comes_later_or_again_is_found(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = SyslogSink(address=str(path))
    sink.write(Entry(WHEN, "info", "lost"), "text")
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(str(path))
            sink.write(Entry(WHEN, "info", "heard"), "text")
            receiver.setblocking(False)
            assert any(b"heard" in receiver.recv(8192) for _ in range(2))
        path.unlink()
    sink.close()


def test_what_matters_too_little_is_not_logged(tmp_path: Path) -> None:
    logger = Logger(FileSink(log.open_file(str(tmp_path / "file"))), level="warning")

    logger.log("info", "no")
    logger.log("error", "yes", app="blog")
    logger.sink.close()

    assert (tmp_path / "file").read_text().endswith(" error blog: yes\n")
    assert (tmp_path / "file").read_text().count("\n") == 1
