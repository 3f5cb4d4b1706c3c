"""The loop calls who is concerned, when it is due, and goes on whatever happens there."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fcgipm.config.schema import MILLISECOND, SECOND
from fcgipm.keeper.dispatch import Dispatch
from fcgipm.keeper.supervising.bucket import Bucket
from fcgipm.log import FileSink, Logger, open_file


class Alarm:
    """Something that is due once."""

    def __init__(self, due: int) -> None:
        self.due: int | None = due
        self.fired: list[int] = []

    def deadline(self) -> int | None:
        return self.due

    def expire(self, now: int) -> None:
        self.fired.append(now)
        self.due = None


@pytest.fixture
def dispatch(tmp_path: Path) -> Iterator[Dispatch]:
    logger = Logger(FileSink(open_file(str(tmp_path / "log"))))
    made = Dispatch(logger)
    yield made
    made.close()
    logger.sink.close()


def test_the_earliest_deadline_ends_the_sleep_and_never_too_early(dispatch: Dispatch) -> None:
    now = time.monotonic_ns()
    alarms = [Alarm(now + delay * MILLISECOND) for delay in (3_600_000, 20)]
    for alarm in alarms:
        dispatch.hold(alarm)
    due = now + 20 * MILLISECOND

    dispatch.step()

    assert [len(alarm.fired) for alarm in alarms] == [0, 1]
    assert alarms[1].fired[0] >= due


def test_a_descriptor_is_watched_once_or_always(dispatch: Dispatch) -> None:
    readable, writable = os.pipe()
    calls: list[str] = []
    os.write(writable, b"x")
    dispatch.watch(readable, lambda: calls.append("once"), once=True)
    dispatch.hold(Alarm(0))
    dispatch.step()
    dispatch.hold(Alarm(0))
    dispatch.step()
    assert calls == ["once"]

    dispatch.watch(readable, lambda: calls.append("always"))
    dispatch.step()
    dispatch.step()
    assert calls == ["once", "always", "always"]

    dispatch.forget(readable)
    dispatch.forget(readable)
    os.close(readable)
    os.close(writable)


def test_what_was_forgotten_by_another_call_of_the_same_round_is_not_called(dispatch: Dispatch) -> None:
    pipes = [os.pipe() for _ in range(2)]
    calls: list[int] = []

    def call(mine: int, other: int) -> None:
        calls.append(mine)
        dispatch.forget(other)

    for (mine, writable), (other, _) in (pipes, pipes[::-1]):
        os.write(writable, b"x")
        dispatch.watch(mine, lambda mine=mine, other=other: call(mine, other))  # type: ignore[misc]
    dispatch.step()

    assert len(calls) == 1
    for pair in pipes:
        dispatch.forget(pair[0])
        for descriptor in pair:
            os.close(descriptor)


def test_a_mistake_in_one_place_ends_nothing_else(dispatch: Dispatch, tmp_path: Path) -> None:
    class Faulty(Alarm):
        def expire(self, now: int) -> None:
            super().expire(now)
            raise ValueError("ours")

    faulty, sound = Faulty(0), Alarm(0)
    dispatch.hold(faulty)
    dispatch.hold(sound)

    dispatch.step()

    assert sound.fired
    assert "internal error in" in (tmp_path / "log").read_text()


def test_a_bucket_gives_its_burst_at_once_and_its_rate_for_ever() -> None:
    bucket, now = Bucket(burst=3, rate=10), 5 * SECOND

    assert [bucket.wait(now) for _ in range(4)] == [0, 0, 0, SECOND // 10]
    assert bucket.wait(now + SECOND // 10 - 1) == 1
    assert bucket.wait(now + SECOND // 10) == 0
    assert bucket.wait(now + SECOND // 10) == SECOND // 10
    assert [bucket.wait(now + 10 * SECOND) for _ in range(4)] == [0, 0, 0, SECOND // 10]


class Sick:
    """Something that is always due, and fails a few times before it heals."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls: list[int] = []
        self.healed = False

    def deadline(self) -> int | None:
        return None if self.healed else 0

    def expire(self, now: int) -> None:
        self.calls.append(now)
        if self.errors:
            raise self.errors.pop(0)
        self.healed = True


def test_a_holder_that_fails_is_left_alone_for_longer_and_longer_and_heals(dispatch: Dispatch, tmp_path: Path) -> None:
    sick = Sick(OSError(23, "Too many open files in system"), OSError(23, "Too many open files in system"))
    dispatch.hold(sick)
    while not sick.healed:
        dispatch.step()

    first, second = (after - before for before, after in itertools.pairwise(sick.calls))
    assert first >= 100 * MILLISECOND
    assert second >= 200 * MILLISECOND
    assert (tmp_path / "log").read_text().count("Too many open files") == 1


def test_another_error_is_logged_and_no_number_of_them_ends_the_loop(dispatch: Dispatch, tmp_path: Path) -> None:
    sick = Sick(OSError(23, "one"), OSError(23, "one"), OSError(24, "two"), *[ValueError("three")] * 2000)
    for _ in range(2003):
        dispatch._guarded(sick, lambda: sick.expire(0))

    log = (tmp_path / "log").read_text()
    assert [log.count(text) for text in ("one", "two", "three")] == [1, 1, 1]
    assert dispatch._troubles[sick].pause == 5 * SECOND


def test_a_descriptor_that_fails_is_left_alone_too_even_when_it_is_watched_again(dispatch: Dispatch) -> None:
    readable, writable = os.pipe()
    calls: list[int] = []

    def call() -> None:
        calls.append(time.monotonic_ns())
        if len(calls) < 2:
            raise OSError(12, "Cannot allocate memory")
        os.read(readable, 1)

    os.write(writable, b"x")
    dispatch.watch(readable, call)
    dispatch.step()
    dispatch.watch(readable, call)
    while len(calls) < 2:
        dispatch.step()

    assert calls[1] - calls[0] >= 100 * MILLISECOND
    os.write(writable, b"x")
    dispatch.step()
    assert len(calls) == 3  # it has healed
    dispatch.forget(readable)
    os.close(readable)
    os.close(writable)


def test_a_descriptor_that_is_forgotten_while_it_rests_is_forgotten(dispatch: Dispatch) -> None:
    readable, writable = os.pipe()
    os.write(writable, b"x")
    dispatch.watch(readable, lambda: os.close(-1))
    dispatch.step()
    dispatch.forget(readable)
    calls: list[str] = []
    dispatch.watch(readable, lambda: calls.append("another's"))
    dispatch.step()

    assert calls == ["another's"]
    dispatch.forget(readable)
    os.close(readable)
    os.close(writable)
