"""fcgipm-report: a piped access log becomes reports, and the web server never waits for long."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.daemon import SCRIPTS

from fcgipm.reporting import MAX_DATAGRAM, Lost, Report, encode, parse

PROGRAM = str(SCRIPTS / "fcgipm-report")
Pipe = subprocess.Popen[bytes]


def line(number: int) -> bytes:
    return encode(Report(target=f"app{number}", status=200, response=0.5)) + b"\n"


@pytest.fixture
def start(place: Path) -> Iterator[Callable[[], Pipe]]:
    """Give a function that starts the program, which sends to ``report.sock``."""
    started: list[Pipe] = []

    def start() -> Pipe:
        command = [PROGRAM, "-s", str(place / "report.sock")]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def inbox(place: Path) -> Iterator[socket.socket]:
    """Give the socket that reports are sent to."""
    with _bound(place) as sock:
        yield sock


def _bound(place: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(place / "report.sock"))
    sock.settimeout(20)
    return sock


def write(process: Pipe, data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()


def said(process: Pipe) -> list[str]:
    """End *process* by the end of its input; return what it said."""
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert out == b""
    return err.decode().splitlines()


def test_each_line_becomes_a_report_however_it_is_cut(start: Callable[[], Pipe], inbox: socket.socket) -> None:
    process = start()
    data = b"".join(line(number) for number in range(6))
    for part in (data[:10], data[10:100], data[100:]):
        write(process, part)

    assert [inbox.recv(4096) for _ in range(6)] == [line(number).rstrip(b"\n") for number in range(6)]
    assert said(process) == []


def test_the_last_line_needs_no_end(start: Callable[[], Pipe], inbox: socket.socket) -> None:
    process = start()
    write(process, line(1) + line(2).rstrip(b"\n"))

    assert said(process) == []
    assert [inbox.recv(4096) for _ in range(2)] == [line(number).rstrip(b"\n") for number in (1, 2)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_what_was_written_before_the_end_is_sent(
    start: Callable[[], Pipe], inbox: socket.socket, number: signal.Signals
) -> None:
    process = start()
    write(process, line(0))
    assert inbox.recv(4096)
    process.send_signal(signal.SIGSTOP)
    for each in range(1, 9):
        write(process, line(each))
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)

    assert [inbox.recv(4096) for _ in range(8)] == [line(each).rstrip(b"\n") for each in range(1, 9)]
    assert process.wait(20) == 0  # although nobody has closed its input


def test_a_daemon_that_is_away_is_told_of_once_and_found_again(start: Callable[[], Pipe], place: Path) -> None:
    process = start()
    for number in range(3):
        write(process, line(number))
    assert process.stderr is not None
    first = process.stderr.readline().decode()
    assert f"cannot send to {place}/report.sock: no such file or directory" in first

    with _bound(place) as inbox:
        write(process, line(9))
        came = [parse(inbox.recv(4096))]
        while came[-1] != Report(target="app9", status=200, response=0.5):
            came.append(parse(inbox.recv(4096)))
        # it may not have read the last of the three before there was a socket
        lost = sum(found.count for found in came if isinstance(found, Lost))
        assert lost >= 1
        assert lost + sum(isinstance(found, Report) for found in came) == 4
        (place / "report.sock").unlink()
    with _bound(place) as inbox:  # the daemon was started again
        write(process, line(10))
        assert inbox.recv(4096) == line(10).rstrip(b"\n")

    last = said(process)
    assert len(last) == 1
    assert "lost" in last[0]


def test_what_is_no_report_is_left_out_and_told_of_once(start: Callable[[], Pipe], inbox: socket.socket) -> None:
    process = start()
    garbage = b'127.0.0.1 - - "GET / HTTP/1.1" 200 5\n\xff\xfe\0\n\n' + b"v1|200|||1|" + b"a" * 3 * MAX_DATAGRAM + b"\n"
    write(process, garbage * 3 + line(1))

    assert inbox.recv(4096) == line(1).rstrip(b"\n")
    once, end = said(process)
    assert "a line is no report" in once
    assert end == "fcgipm-report: 1 report sent, 0 lost, 12 lines without a report"


def test_a_line_without_any_end_costs_no_memory(start: Callable[[], Pipe], inbox: socket.socket) -> None:
    process = start()
    piece = b"x" * 65_536
    for _ in range(400):
        write(process, piece)
    peak = int(Path(f"/proc/{process.pid}/status").read_text().split("VmHWM:")[1].split()[0])
    write(process, b"\n" + line(1))

    assert inbox.recv(4096) == line(1).rstrip(b"\n")
    assert peak < 40_000
    assert len(said(process)) == 2


def test_a_daemon_that_does_not_read_holds_up_nobody(start: Callable[[], Pipe], inbox: socket.socket) -> None:
    process = start()
    begun = time.monotonic()
    for number in range(5_000):
        write(process, line(number))
    once, end = said(process)

    assert time.monotonic() - begun < 10
    assert "there is no room for it" in once
    sent = int(end.split()[1])
    assert 0 < sent < 5_000
    assert end == f"fcgipm-report: {sent} reports sent, {5_000 - sent} lost, 0 lines without a report"


@pytest.mark.parametrize("arguments", [["-x"], ["--sock", "a"], ["a"]])
def test_wrong_use_is_told(arguments: list[str]) -> None:
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)

    assert done.returncode == 2
    assert done.stderr.startswith("usage: fcgipm-report")


def test_it_tells_its_version_and_its_use() -> None:
    for option in ("--version", "--help"):
        done = subprocess.run([PROGRAM, option], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(("fcgipm-report ", "usage: fcgipm-report"))


def test_closed_descriptors_are_no_crash(place: Path) -> None:
    code = f"exec {PROGRAM} -s {place}/report.sock <&- >&- 2>&-"
    assert subprocess.run(["/bin/sh", "-c", code], check=False, timeout=20, env=dict(os.environ)).returncode == 0
