"""The loop calls who is concerned, when it is due, and goes on whatever happens there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fcgipm.config.schema import MILLISECOND, SECOND
from fcgipm.keeper.dispatch import Dispatch
from fcgipm.keeper.orders import Bucket
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
