"""When is looked, and when an instance that never accepts is taken for ready."""

from __future__ import annotations

from fcgipm.config.schema import MILLISECOND, SECOND
from fcgipm.core.events import Readiness, Refusal, Removal
from fcgipm.keeper.instances.readiness import Look, Watch
from fcgipm.keeper.instances.retire import Result

START = 1_000 * SECOND


def times(watch: Watch, seen: Look, count: int) -> list[int]:
    """Return after how many milliseconds the next *count* looks come."""
    result = []
    for _ in range(count):
        result.append((watch.next_look - START) // MILLISECOND)
        assert watch.step(watch.next_look, seen) is None
    return result


def test_looks_become_rarer() -> None:
    watch = Watch(started=START, ready_timeout=2 * SECOND)
    assert times(watch, Look.RUNNING, 9) == [1, 3, 7, 15, 31, 63, 113, 163, 213]


def test_what_is_seen_is_told() -> None:
    for seen, how in ((Look.ACCEPTING, Readiness.ACCEPTING), (Look.SERVING, Readiness.SERVING)):
        assert Watch(started=START, ready_timeout=SECOND).step(START + 1, seen) == how.value


def test_asleep_for_the_whole_time_is_assumed() -> None:
    for seen in (Look.ASLEEP, Look.UNKNOWN):
        watch = Watch(started=START, ready_timeout=2 * SECOND)
        assert watch.step(START + SECOND, seen) is None
        assert watch.step(START + 3 * SECOND - 1, seen) is None
        assert watch.step(START + 3 * SECOND, seen) == Readiness.ASSUMED.value


def test_whoever_computes_is_not_asleep() -> None:
    watch = Watch(started=START, ready_timeout=2 * SECOND)
    assert watch.step(START + 1 * SECOND, Look.ASLEEP) is None
    assert watch.step(START + 2 * SECOND, Look.RUNNING) is None
    assert watch.step(START + 3 * SECOND, Look.ASLEEP) is None
    assert watch.step(START + 5 * SECOND - 1, Look.ASLEEP) is None
    assert watch.step(START + 5 * SECOND, Look.ASLEEP) == "assumed"


def test_results_are_words_of_the_core() -> None:
    """They travel as words: the keeper does not know the core."""
    words = {word.value for enum in (Refusal, Removal) for word in enum} - {Removal.CUT.value}
    assert {result.value for result in Result} == words
    assert {result.value for result in Result if result.removed} == {"killed", "asked"}
