"""What instances write: it is read, kept, passed on, and bounded.  The test plays keeper and instance."""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from harness.stage import Stage, app, encode, staged
from harness.waiting import until

from fcgipm import wire
from fcgipm.config.schema import Daemon


def lines_of(stage: Stage, name: str) -> list[Any]:
    return [json.loads(line) for line in stage.ask("GET", f"/v1/logs?app={name}").body.splitlines()]


def texts_of(stage: Stage, name: str) -> list[str]:
    return [line["text"] for line in lines_of(stage, name)]


def write(stage: Stage, number: int, data: bytes, *, stream: str = "stdout") -> None:
    instance = stage.instances[number]
    descriptor = instance.stdout if stream == "stdout" else instance.stderr
    while data:
        data = data[os.write(descriptor, data) :]


def test_lines_are_kept_with_their_origin(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        write(stage, 1, b"hello\nwor")
        write(stage, 1, b"oops\n", stream="stderr")
        write(stage, 1, b"ld\n")
        until(lambda: len(lines_of(stage, "blog")) == 3)
        lines = lines_of(stage, "blog")

    found = {(line["stream"], line["text"]) for line in lines}
    assert found == {("stdout", "hello"), ("stdout", "world"), ("stderr", "oops")}
    assert {(line["app"], line["instance"], line["pid"]) for line in lines} == {("blog", 1, 100_000_001)}
    assert "blog[100000001]: world" in stage.log.read_text()


def test_what_has_no_end_of_line_is_shown_when_the_instance_ends(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        write(stage, 1, b"last words")
        assert texts_of(stage, "blog") == []
        stage.end_instance(1)

        until(lambda: texts_of(stage, "blog") == ["last words"])


def test_long_lines_are_split_and_bad_bytes_shown(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        write(stage, 1, b"x" * 20_000 + b"\n\xff\xfe\n")
        until(lambda: len(texts_of(stage, "blog")) == 4)

        assert texts_of(stage, "blog") == ["x" * 8192, "x" * 8192, "x" * 3616, r"\xff\xfe"]


def test_no_control_character_reaches_the_log(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        write(stage, 1, b"\x1b[2Jgone\x00\x07\rover \xc2\x9b1m\n")
        until(lambda: "gone" in stage.log.read_text())
        written = stage.log.read_bytes()

    assert rb"\x1b[2Jgone\x00\x07\x0dover \x9b1m" in written
    assert not {byte for byte in written if byte < 0x20 and byte != 0x0A}


def test_only_the_last_lines_are_kept(place: Path) -> None:
    with staged(place, app(), daemon=Daemon(log_ring=10)) as stage:
        stage.wait_ready("blog", 1)
        write(stage, 1, b"".join(b"%d\n" % number for number in range(25)))
        until(lambda: texts_of(stage, "blog")[-1:] == ["24"])

        assert texts_of(stage, "blog") == [str(number) for number in range(15, 25)]


def test_a_crash_is_told_with_its_last_words(place: Path) -> None:
    with staged(place, app(processes=2)) as stage:
        stage.wait_ready("blog", 2)
        write(stage, 2, b"not mine\n")
        write(stage, 1, b"".join(b"line %d\n" % number for number in range(30)) + b"fatal: no database")
        stage.end_instance(1, code=None, signal=11)

        def ends() -> list[Any]:
            events = [json.loads(line) for line in stage.ask("GET", "/v1/events").body.splitlines()]
            return [event for event in events if event["topic"] == "instance-ended"]

        (event,) = until(ends)
        assert event["lines"] == [*(f"line {number}" for number in range(21, 30)), "fatal: no database"]


def test_the_last_words_of_a_crash_are_few(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        write(stage, 1, b"".join(b"%d" % number * 1500 + b"\n" for number in range(10)))
        stage.end_instance(1, code=None, signal=11)

        def ends() -> list[Any]:
            events = [json.loads(line) for line in stage.ask("GET", "/v1/events").body.splitlines()]
            return [event["lines"] for event in events if event["topic"] == "instance-ended"]

        assert until(ends) == [["8" * 1500, "9" * 1500]]
        until(lambda: 2 in stage.instances)
        write(stage, 2, b"long" * 2000)
        stage.end_instance(2, code=None, signal=11)
        until(lambda: len(ends()) == 2)
        assert ends()[1] == ["long" * 1024]


@contextmanager
def flood(stage: Stage, number: int) -> Iterator[list[int]]:
    """Write without pause as instance *number*; the list holds how many bytes it got rid of."""
    written, stop = [0], threading.Event()

    def pour() -> None:
        data = b"spam and eggs and spam\n" * 2000
        while not stop.is_set():
            written[0] += os.write(stage.instances[number].stdout, data)

    thread = threading.Thread(target=pour)
    thread.start()
    try:
        yield written
    finally:
        stop.set()
        thread.join(10)


def test_a_flood_blocks_nobody_and_fills_nothing(place: Path) -> None:
    with staged(place, app("noisy"), app("quiet")) as stage:
        stage.wait_ready("noisy", 1)
        stage.wait_ready("quiet", 1)
        noisy, quiet = (stage.status(name)["instances"][0]["instance"] for name in ("noisy", "quiet"))
        memory = psutil.Process(stage.manager.pid).memory_info().rss
        with flood(stage, noisy) as written:
            until(lambda: written[0] > 50_000_000, within=30, what="50 MB taken from the flood")
            write(stage, quiet, b"here I am\n")
            until(lambda: texts_of(stage, "quiet") == ["here I am"], what="a line beside the flood, which goes on")
            until(lambda: any("were thrown away" in text for text in texts_of(stage, "noisy")))

        assert psutil.Process(stage.manager.pid).memory_info().rss - memory < 16_000_000
        assert stage.log.stat().st_size < 20_000_000
        metrics = stage.ask("GET", "/metrics").body.decode()
        dropped = [line for line in metrics.splitlines() if line.startswith('fcgipm_output_dropped_bytes_total{app="n')]
        assert float(dropped[0].split()[-1]) > 10_000_000


def test_after_a_flood_whole_lines_come_again(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        with flood(stage, 1) as written:
            until(lambda: written[0] > 5_000_000)
        write(stage, 1, b"\nplain again\n")
        until(lambda: _says(stage, 1, b"are you there\n", "are you there"))
        write(stage, 1, b"good\n")
        until(lambda: "good" in texts_of(stage, "blog"))
        texts = texts_of(stage, "blog")

    whole = {"spam and eggs and spam", "are you there", "plain again", "good", ""}
    assert [text for text in texts if text not in whole and "were thrown away" not in text] == []


def _says(stage: Stage, number: int, data: bytes, text: str) -> bool:
    write(stage, number, data)
    return text in texts_of(stage, "blog")


def test_the_log_is_followed(place: Path) -> None:
    with staged(place, app(), app("shop")) as stage, stage.connect() as follower:
        stage.wait_ready("blog", 1)
        stage.wait_ready("shop", 1)
        blog, shop = (stage.status(name)["instances"][0]["instance"] for name in ("blog", "shop"))
        write(stage, blog, b"before\n")
        until(lambda: texts_of(stage, "blog") == ["before"])
        follower.sendall(encode("GET", "/v1/logs?app=blog&follow=1"))
        lines = follower.makefile("rb")
        until(lambda: b'"before"' in lines.readline())
        write(stage, shop, b"elsewhere\n")
        until(lambda: texts_of(stage, "shop") == ["elsewhere"])
        write(stage, blog, b"after\n")

        seen = b""
        while b'"after"' not in seen:
            seen += lines.readline()
        lines.close()
        assert b"elsewhere" not in seen


def test_a_slow_follower_loses_lines_and_is_told(place: Path) -> None:
    with staged(place, app()) as stage, stage.connect() as follower:
        stage.wait_ready("blog", 1)
        follower.sendall(encode("GET", "/v1/logs?follow=1"))
        lines = follower.makefile("rb")
        until(lambda: lines.readline() == b"\r\n")
        for number in range(4500):  # about 1 MB: more than the socket and the follower's queue hold
            write(stage, 1, b"%d %s\n" % (number, b"x" * 200))
        until(lambda: "".join(texts_of(stage, "blog")[-1:]).startswith("4499 "))
        seen = list(itertools.takewhile(lambda line: b'"4499 ' not in line, lines))  # the socket has a timeout
        lines.close()

    lost = [json.loads(line)["lost"] for line in seen if line.startswith(b'{"lost"')]
    shown = sum(b'"text"' in line and b"started" not in line for line in seen) + 1
    assert sum(lost) > 100
    assert sum(lost) + shown == 4500


def test_a_new_manager_goes_on_reading(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        # the keeper holds the read ends too; here the manager's death must not end the pipes
        (reader, stage.instances[1].stdout), (errors, stage.instances[1].stderr) = os.pipe(), os.pipe()
        stage.pipes = {1: [reader, errors]}
        stage.manager.kill()
        stage.manager.wait()
        stage.lower_curtain()
        write(stage, 1, b"while nobody listened\n")
        stage.raise_curtain()

        until(lambda: texts_of(stage, "blog") == ["while nobody listened"])


def test_what_the_keeper_threw_away_is_told(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        stage.tell(wire.Drained(instance=1, bytes=12_345))

        until(lambda: "12345 bytes of output were thrown away" in "".join(texts_of(stage, "blog")))


def test_a_file_handed_anew_is_written_from_then_on(place: Path) -> None:
    with staged(place, app(), daemon=Daemon(log=f"{place}/log"), handed_log=place / "log") as stage:
        stage.wait_ready("blog", 1)
        write(stage, 1, b"one\n")
        until(lambda: "one" in (place / "log").read_text())
        (place / "log").rename(place / "log.1")
        stage.hand_log(place / "log")
        write(stage, 1, b"two\n")
        until(lambda: "two" in (place / "log").read_text())

    assert "two" not in (place / "log.1").read_text()
    assert stage.log.read_text() == ""


def test_log_lines_are_json_where_that_is_wanted(place: Path) -> None:
    with staged(place, app(), daemon=Daemon(log_format="json")) as stage:
        stage.wait_ready("blog", 1)
        write(stage, 1, b"hello\x1b\n")
        until(lambda: "hello" in stage.log.read_text())
        found = [json.loads(line) for line in stage.log.read_text().splitlines()]

    assert found[0]["text"] == "blog/1 started, pid 100000001"
    assert (found[-1]["app"], found[-1]["pid"], found[-1]["text"]) == ("blog", 100_000_001, "hello\x1b")
