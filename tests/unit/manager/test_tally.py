"""The counters behind the metrics."""

from __future__ import annotations

import pytest

from fcgipm import wire
from fcgipm.core.commands import Severity, Tell, Topic
from fcgipm.core.events import InstanceId, Removal
from fcgipm.manager.observing.usage import Usage
from fcgipm.manager.telling.families import FAMILIES, STARTUP_BUCKETS
from fcgipm.manager.telling.tally import Histogram, Requests, Tally

ONE = InstanceId(1)


def tell(topic: Topic, reason: str = "", *, app: str | None = "blog", instance: InstanceId | None = ONE) -> Tell:
    return Tell(severity=Severity.INFO, topic=topic, app=app, text="…", instance=instance, reason=reason)


@pytest.fixture
def tally() -> Tally:
    return Tally()


def test_starts_are_counted_by_their_reason(tally: Tally) -> None:
    for reason in ("initial", "initial", "replacement"):
        tally.note(tell(Topic.INSTANCE_STARTED, reason))
    spawns = tally.app("blog").by_reason["spawns_total"]
    assert +spawns == {"initial": 2, "replacement": 1}
    assert set(spawns) == set(FAMILIES["spawns_total"].values)


def test_what_answers_503_is_a_start_and_nothing_else(tally: Tally) -> None:
    for topic in (Topic.OVERLOADED, Topic.START_FAILED, Topic.INSTANCE_ENDED):
        tally.note(tell(topic, "overload-response"))
    counted = tally.app("blog")
    assert +counted.by_reason["spawns_total"] == {"overload-response": 1}
    assert not +counted.by_reason["exits_total"]
    assert counted.start_failures == 0


def test_an_instance_that_the_policy_spared_is_counted(tally: Tally) -> None:
    tally.note(tell(Topic.INSTANCE_SPARED, "spared"))
    assert +tally.app("blog").by_reason["retirements_total"] == {"spared": 1}


def test_a_request_is_counted_with_what_is_known_of_it(tally: Tally) -> None:
    for status, connect, response in ((200, 0.0, 2.0), (201, None, 0.5), (502, None, None)):
        requests = Requests()
        requests.add(status, connect=connect, response=response)
        tally.note_requests("blog", requests)
    counted = tally.app("blog")
    assert counted.requests.classes == {"2xx": 2, "5xx": 1}
    assert counted.connected_ns == 2_500_000_000
    assert (counted.requests.taking.sum, sum(counted.requests.queueing.counts)) == (2.5, 1)
    assert tally.reports == 3


def test_requests_that_are_counted_together_are_the_same_as_one_by_one() -> None:
    one_by_one, first, second = Requests(), Requests(), Requests()
    for number in range(40):
        for requests in (one_by_one, first if number < 7 else second):
            requests.add(200 + 10 * number, connect=None if number % 3 else number / 16, response=number / 8)
    together = Requests()
    for part in (first, Requests(), second):
        together.merge(part)
    assert together == one_by_one
    assert first.count == 7


def test_a_failed_start_is_no_start(tally: Tally) -> None:
    tally.note(tell(Topic.START_FAILED, "start-failed"))
    assert tally.app("blog").start_failures == 1
    assert not sum(tally.app("blog").by_reason["spawns_total"].values())


@pytest.mark.parametrize("how", list(Removal))
def test_a_retirement_is_counted_by_its_result_and_its_end_as_an_exit(tally: Tally, how: Removal) -> None:
    for reason in ("busy", how.value, "gone"):
        tally.note(tell(Topic.INSTANCE_REMOVED, reason))
    counted = tally.app("blog").by_reason
    assert +counted["retirements_total"] == {how.value: 1}
    assert +counted["exits_total"] == {"retired": 1}


def test_ends_and_denials_are_counted_by_their_reason(tally: Tally) -> None:
    tally.note(tell(Topic.INSTANCE_ENDED, "signal"))
    tally.note(tell(Topic.START_DENIED, "backoff", instance=None))
    counted = tally.app("blog").by_reason
    assert (+counted["exits_total"], +counted["spawn_denied_total"]) == ({"signal": 1}, {"backoff": 1})


def test_what_is_about_no_application_is_not_counted(tally: Tally) -> None:
    tally.note(tell(Topic.SHUTDOWN, "TERM", app=None))
    assert tally.cpu_seconds() == {}


def test_the_time_to_become_ready_is_put_into_a_bucket(tally: Tally) -> None:
    tally.note_report(wire.Spawned(instance=1, pid=7, at=1_000_000_000))
    tally.note(tell(Topic.INSTANCE_STARTED, "initial"))
    tally.note_report(wire.BecameReady(instance=1, how="accepting", at=1_030_000_000))
    buckets = dict(tally.app("blog").startup.cumulative())
    assert buckets["0.02"] == 0
    assert buckets["0.05"] == buckets["+Inf"] == 1
    assert tally.app("blog").startup.sum == pytest.approx(0.03)


def test_a_bound_belongs_to_its_bucket() -> None:
    histogram = Histogram(STARTUP_BUCKETS)
    assert set(dict(histogram.cumulative()).values()) == {0}
    for seconds in (0.005, 0.0050001, 31.0):
        histogram.add(seconds)
    found = dict(histogram.cumulative())
    assert (found["0.005"], found["0.02"], found["30.0"], found["+Inf"]) == (1, 2, 2, 3)


def test_dropped_output_goes_to_the_instances_application(tally: Tally) -> None:
    tally.note_instance(ONE, "blog")
    tally.note_report(wire.Drained(instance=1, bytes=4096))
    tally.note_dropped("blog", 4)
    assert tally.app("blog").dropped == 4100


def test_processor_time_never_goes_back(tally: Tally) -> None:
    seen = []
    for cpu in (1.0, 3.0, 2.5):  # a child that nobody waited for takes its time with it
        tally.note_usage(ONE, "blog", Usage(cpu, 0))
        seen.append(tally.cpu_seconds()["blog"])
    tally.note_report(wire.Exited(instance=1, code=0, signal=None, dumped=False, at=9))
    seen.append(tally.cpu_seconds()["blog"])
    tally.note_usage(InstanceId(2), "blog", Usage(0.25, 0))
    seen.append(tally.cpu_seconds()["blog"])
    assert seen == [1.0, 3.0, 3.0, 3.0, 3.25]


def test_an_instance_of_a_snapshot_is_known(tally: Tally) -> None:
    fact = wire.InstanceFact(
        instance=1,
        app="blog",
        generation=1,
        pid=7,
        ready="accepting",
        asked=False,
        outdated=False,
        started_at=0,
        ready_at=1,
    )
    tally.note_report(
        wire.Snapshot(
            version="0", pid=1, uid=0, started_at=0, started_unix=0.0,
            definitions=wire.Definitions(daemon={}, applications=(), externals=(), dynamic=None, access={}),
            instances=(fact,), listeners=(), notes={}, next_instance=2, ending=None,
        )
    )  # fmt: skip
    tally.note_report(wire.Drained(instance=1, bytes=7))
    assert tally.app("blog").dropped == 7


def test_an_application_that_was_removed_is_forgotten(tally: Tally) -> None:
    tally.note(tell(Topic.INSTANCE_STARTED, "initial"))
    tally.keep_only(["other"])
    assert not sum(tally.app("blog").by_reason["spawns_total"].values())
