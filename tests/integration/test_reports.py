"""report.sock: what web servers report is counted, and nothing else comes of it."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from harness.rest import at_rest
from harness.scripts import script, scripts
from harness.stage import Stage, app, staged
from harness.waiting import readable, until

from fcgipm import wire
from fcgipm.config.schema import Application, Daemon
from fcgipm.reporting import MAX_DATAGRAM, Lost, Report, encode

HEAD = b"<190>Nov 20 10:33:19 fcgipm: "
GOOD = b"v1|200|0.001|0.002|0.250|blog"


@contextmanager
def sender(stage: Stage) -> Iterator[socket.socket]:
    """Give a socket that waits for room, as a web server does not."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 65536)
        sock.connect(str(stage.report))
        yield sock


def send(stage: Stage, *datagrams: bytes) -> None:
    """Send datagrams."""
    with sender(stage) as sock:
        for datagram in datagrams:
            sock.send(datagram)


def metric(stage: Stage, name: str, **labels: str) -> float:
    """Return the value of a metric."""
    text = stage.ask("GET", "/metrics").body.decode()
    written = ",".join(f'{key}="{value}"' for key, value in labels.items())
    line = f"fcgipm_{name}{{{written}}}" if labels else f"fcgipm_{name}"
    found = re.search(f"^{re.escape(line)} (.*)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def counted(stage: Stage, count: int, **labels: str) -> None:
    """Wait until so many reports are counted, and see that there are no more."""
    name = "reports_dropped_total" if labels else "reports_total"
    until(lambda: metric(stage, name, **labels) >= count, what=f"{count} reports {labels}")
    assert metric(stage, name, **labels) == count


@pytest.fixture
def stage(place: Path) -> Iterator[Stage]:
    """Give a manager with two applications and a root of scripts."""
    with staged(place, app(), app("shop"), dynamic=scripts(place)) as stage:
        stage.wait_ready("blog", 1)
        stage.wait_ready("shop", 1)  # what is in the log from now on is the test's
        yield stage


def test_a_report_is_counted_by_class_and_times(stage: Stage) -> None:
    send(stage, HEAD + GOOD, HEAD + b"v1|404|0.000|0.5|1.0, 0.75|blog\n", GOOD, b"v1|200|||12000us|shop")

    counted(stage, 4)
    assert metric(stage, "requests_total", app="blog", **{"class": "2xx"}) == 2
    assert metric(stage, "requests_total", app="blog", **{"class": "4xx"}) == 1
    assert metric(stage, "request_seconds_sum", app="blog") == pytest.approx(1.25)
    assert metric(stage, "request_seconds_count", app="blog") == 3
    assert metric(stage, "request_queue_seconds_sum", app="blog") == pytest.approx(0.002)
    assert metric(stage, "connection_seconds_total", app="blog") == pytest.approx(1.25)
    assert metric(stage, "request_seconds_sum", app="shop") == pytest.approx(0.012)


def test_a_script_is_known_by_its_path_once_it_is_an_application(stage: Stage, place: Path) -> None:
    path = script(place, "sub/a.fcgi")
    report = b"v1|200|0.000|0.1|0.5|" + os.fsencode(path)
    send(stage, report, report + rb"/more\x20\xC3\xA4")
    counted(stage, 2, reason="unknown")

    stage.scripts = {"fcgi/sub/a.fcgi": None}
    stage.obey(wire.Open(root="fcgi", path="sub/a.fcgi"))
    until(lambda: len(stage.ask("GET", "/v1/status").document["apps"]) == 3)
    send(stage, report, report + rb"/more\x20\xC3\xA4", report.replace(b"a.fcgi", b"b.fcgi"))

    counted(stage, 3, reason="unknown")
    assert metric(stage, "requests_total", app="fcgi/sub/a.fcgi", **{"class": "2xx"}) == 2


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "version"),
        (HEAD, "version"),
        (b"\0" * 100, "encoding"),
        (bytes(range(256)), "encoding"),
        (HEAD + GOOD[:-5], "format"),  # cut
        (GOOD[:2], "format"),
        (GOOD.replace(b"200", b"999"), "status"),
        (GOOD.replace(b"0.250", b"-0.250"), "time"),
        (GOOD.replace(b"0.250", b"nan"), "time"),
        (GOOD.replace(b"0.250", b"1e9"), "time"),
        (GOOD.replace(b"0.250", b"86401"), "time"),
        (GOOD + b"\xc3", "encoding"),
        (GOOD + b"\\", "encoding"),
        (GOOD.replace(b"v1", b"v9"), "version"),
        (GOOD.replace(b"blog", b"nobody"), "unknown"),
        (GOOD.replace(b"blog", b"/srv/nobody"), "unknown"),
        (GOOD.replace(b"blog", b"../blog"), "unknown"),
        (GOOD + b"x" * MAX_DATAGRAM, "length"),
        (GOOD + b"x" * 65_536, "length"),
    ],
)
def test_what_is_no_report_is_counted_by_its_reason_and_not_logged(stage: Stage, datagram: bytes, reason: str) -> None:
    before = stage.log.read_text()

    send(stage, datagram, datagram)

    counted(stage, 2, reason=reason)
    assert metric(stage, "reports_total") == 0
    assert stage.log.read_text() == before
    send(stage, GOOD)
    counted(stage, 1)


def test_what_a_connector_has_lost_is_counted(stage: Stage) -> None:
    send(stage, encode(Lost(7)), encode(Lost(3)))

    counted(stage, 10, reason="overflow")


def test_twenty_thousand_unknown_targets_cost_a_counter_and_no_memory(stage: Stage) -> None:
    manager = psutil.Process(stage.manager.pid)
    _flood(stage, "warm", 2_000)
    counted(stage, 2_000, reason="unknown")
    before = manager.memory_info().rss

    _flood(stage, "flood", 20_000)

    counted(stage, 22_000, reason="unknown")
    assert manager.memory_info().rss - before < 512 * 1024
    assert "flood" not in stage.log.read_text()


def _flood(stage: Stage, name: str, count: int) -> None:
    with sender(stage) as sock:
        for number in range(count):
            sock.send(encode(Report(target=f"/srv/{name}/{number}{'x' * 100}", status=200)))


# ── whom to believe ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.root
@pytest.mark.parametrize(("uid", "believed"), [(0, True), (4711, True), (4712, False), (4713, False)])
def test_root_and_the_web_server_are_believed_and_nobody_else(place: Path, uid: int, believed: bool) -> None:
    daemon = Daemon(web_user="#4711", user="#4713")
    with staged(place, app(), daemon=daemon, uid=4713) as stage:
        stage.wait_ready("blog", 1)

        _as_user(uid, lambda: send(stage, GOOD))

        counted(stage, 1, **({} if believed else {"reason": "untrusted"}))
        assert metric(stage, "requests_total", app="blog", **{"class": "2xx"}) == int(believed)


def _as_user(uid: int, call: Callable[[], None]) -> None:
    """Do *call* in a child that has become *uid* for good: what counts is the real user id."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            call()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def test_descriptors_that_come_with_a_report_are_closed(stage: Stage) -> None:
    read, write = os.pipe()
    with sender(stage) as sock:
        for _ in range(20):
            socket.send_fds(sock, [GOOD], [write, write, write])
        os.close(write)

        counted(stage, 20)
        readable(read)  # nobody holds the other end any more
        assert os.read(read, 1) == b""
    os.close(read)


# ── what comes of it ─────────────────────────────────────────────────────────────────────────────────────────────


def test_reports_change_statistics_and_nothing_else(place: Path) -> None:
    stopped = app("stopped", autostart=False)
    idle = Application(name="idle", command=("/bin/true",), processes=None, min_processes=0, max_processes=2)
    with staged(place, app(), stopped, idle) as stage:
        stage.wait_ready("blog", 1)
        before = len(stage.given(wire.Spawn))
        failed = [encode(Report(target=name, status=502, response=0.0, reached=False)) for name in ("stopped", "idle")]

        send(stage, *failed, *failed, GOOD)

        counted(stage, 5)
        stage.ask("GET", "/v1/status")
        assert len(stage.given(wire.Spawn)) == before
        assert [each["ready"] for each in stage.ask("GET", "/v1/status").document["apps"]] == [1, 0, 0]


def test_reports_come_together_and_nothing_moves_without_them(stage: Stage) -> None:
    send(stage, *[GOOD] * 50)
    counted(stage, 50)

    at_rest(stage.manager.pid, seconds=0.5)


def test_a_low_limit_is_told_once_when_the_first_report_comes(stage: Stage) -> None:
    qlen = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
    assert "max_dgram_qlen" not in stage.log.read_text()

    for number in range(3):
        send(stage, GOOD)
        counted(stage, number + 1)

    assert stage.log.read_text().count(f"report.sock holds {qlen} reports") == int(qlen < 100)
