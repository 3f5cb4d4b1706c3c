"""The exposition: complete, read back, and clean for Prometheus' own linter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from harness.components import need
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from fcgipm.core.commands import Severity, Tell, Topic
from fcgipm.core.events import InstanceId, Instant, Sample
from fcgipm.core.view import AppState, AppView, InstanceView
from fcgipm.manager.connectors.answer import Ending
from fcgipm.manager.telling.families import FAMILIES, PREFIX, Family, Type, document
from fcgipm.manager.telling.metrics import Picture, render
from fcgipm.manager.telling.tally import Requests, Tally

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
ME = InstanceView(
    instance=InstanceId(1), pid=None, state="ready", started_at=Instant(0), ready_at=Instant(1), generation=1
)
SAMPLE = Sample(queued=3, limit=100, abandoned=1, oldest_since=Instant(750_000_000), busy=2)
WORK = "import time\nwhile time.process_time() < 0.03: pass\nprint(flush=True)\ninput()"


@pytest.fixture
def worker() -> Iterator[InstanceView]:
    """Give an instance, a session of its own, that has used some processor time."""
    command = [sys.executable, "-c", WORK]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield replace(ME, pid=process.pid)
        process.kill()


def view(name: str = "blog", **more: object) -> AppView:
    plain = AppView(
        name=name, state=AppState.RUNNING, generation=1, wanted=2, least=2, most=2, ready=1, restarts=0, reason="",
        next_at=None, backoff_until=None, abandoned=0, cut=0, denied="", load=None, instances=(ME,),
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]  # each test knows the fields it names


def picture(*apps: AppView, **more: object) -> Picture:
    plain = Picture(
        now=Instant(1_000_000_000), started_unix=1.7e9, reload_good=True, reload_unix=1.7e9,
        processes={"keeper": os.getppid(), "manager": os.getpid()}, apps=apps,
        samples={app.name: SAMPLE for app in apps}, reachable={"old": False},
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]  # each test knows the fields it names


Samples = dict[str, dict[tuple[str, ...], float]]


def samples(body: bytes) -> Samples:
    found: Samples = defaultdict(dict)
    for family in read_text(body.decode()):
        for sample in family.samples:
            found[sample.name.removeprefix(PREFIX)][tuple(sample.labels.values())] = sample.value
    return found


def scrape(*apps: AppView, tally: Tally | None = None, **more: object) -> Samples:
    return samples(render(picture(*apps, **more), tally or Tally(), "")[0])


def test_every_family_of_the_table_is_there_with_its_type_help_and_labels() -> None:
    tally, requests = Tally(), Requests()
    requests.add(200, connect=None, response=None)
    tally.note_requests("blog", requests)
    body, kind = render(picture(view(instances=(), load=Fraction(1, 2))), tally, "")
    assert kind.startswith("text/plain; version=")
    found = {family.name: family for family in read_text(body.decode())}
    for family in FAMILIES.values():
        # the parser takes _total from the name of a counter; in this format an info is a gauge
        name = PREFIX + (family.name.removesuffix("_total") if family.type is Type.COUNTER else family.name)
        read = found.pop(name)
        assert read.documentation == family.help
        assert read.type == ("gauge" if family.type is Type.INFO else family.type.value)
        assert {label for sample in read.samples for label in sample.labels} - {"le"} == set(family.labels)
    assert not found


def test_openmetrics_is_given_to_who_asks_for_it() -> None:
    body, kind = render(picture(view()), Tally(), OPENMETRICS)
    assert kind.startswith("application/openmetrics-text; version=")
    assert body.endswith(b"# EOF\n")
    parsed = read_openmetrics(body.decode())  # type: ignore[no-untyped-call]  # the library's
    names = {family.name for family in parsed}
    assert {"fcgipm_build", "fcgipm_spawns", "fcgipm_instance_startup_seconds"} <= names


def test_the_exposition_is_clean_for_promtool() -> None:
    tally = Tally()
    tally.note(Tell(severity=Severity.INFO, topic=Topic.INSTANCE_STARTED, app="blog", text="", reason="initial"))
    body, _ = render(picture(view(), view('wild\\name"\n')), tally, "")
    done = subprocess.run([need("promtool"), "check", "metrics"], input=body, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_exactly_one_state_is_1() -> None:
    for state in AppState:
        found = scrape(view(state=state))["app_state"]
        assert found == {("blog", each.value): float(each is state) for each in AppState}


def test_instances_are_counted_by_their_state() -> None:
    going = replace(ME, instance=InstanceId(2), pid=None, state="retiring")
    found = scrape(view(instances=(ME, going), wanted=3, most=7))
    assert found["instances"] == {("blog", "starting"): 0, ("blog", "ready"): 1, ("blog", "retiring"): 1}
    assert found["instances_limit"] == {("blog",): 7}


def test_who_waits_is_what_was_seen() -> None:
    found = scrape(view(), view("calm"), samples={"blog": SAMPLE, "calm": Sample(queued=0, limit=9)})
    assert found["listen_queue_connections"] == {("blog",): 3, ("calm",): 0}
    assert found["listen_queue_limit_connections"] == {("blog",): 100, ("calm",): 9}
    assert found["listen_queue_oldest_seconds"] == {("blog",): 0.25, ("calm",): 0}
    assert found["instances_busy"] == {("blog",): 2, ("calm",): 0}


def test_the_load_is_that_of_applications_that_follow_the_demand() -> None:
    found = scrape(view(load=Fraction(2, 3)), view("fixed"))
    assert found["instance_load_ratio"] == {("blog",): pytest.approx(2 / 3)}


def test_connection_time_is_absent_where_nobody_keeps_count() -> None:
    tally = Tally()
    tally.note_connection_time("blog", 1_500_000_000)
    tally.note_connection_time("rests", 0)
    found = scrape(view(), view("rests"), view("fixed"), tally=tally)["connection_seconds_total"]
    assert found == {("blog",): 1.5, ("rests",): 0}


def test_reports_are_shown_by_class_and_time() -> None:
    tally = Tally()
    requests = Requests()
    requests.add(204, connect=0.001, response=0.25)
    requests.add(503, connect=None, response=None)
    tally.note_requests("blog", requests)
    tally.note_reports_dropped("unknown", 3)
    found = scrape(view(), view("other"), tally=tally)
    assert found["reports_total"] == {(): 2}
    assert found["reports_dropped_total"]["unknown",] == 3
    assert found["reports_dropped_total"]["overflow",] == 0
    assert {key: value for key, value in found["requests_total"].items() if value} == {
        ("blog", "2xx"): 1, ("blog", "5xx"): 1
    }  # fmt: skip
    assert {app for app, _ in found["requests_total"]} == {"blog"}, "nobody has reported on the other one"
    assert (found["request_seconds_count"]["blog",], found["request_seconds_sum"]["blog",]) == (1, 0.25)
    assert found["request_queue_seconds_count"] == {("blog",): 1}
    assert found["connection_seconds_total"] == {("blog",): 0.25}


def test_questions_are_shown_by_how_they_ended() -> None:
    tally = Tally()
    for ending in (Ending.READY, Ending.READY, Ending.FORBIDDEN):
        tally.note_answer(ending)
    found = scrape(view(), tally=tally)["asks_total"]
    assert {key: value for key, value in found.items() if value} == {("ready",): 2, ("forbidden",): 1}
    assert len(found) == len(Ending)


def test_reasons_begin_at_0() -> None:
    found = scrape(view())
    for family in FAMILIES.values():
        if family.type is Type.COUNTER and family.labels == ("app", "reason"):
            assert found[family.name] == {("blog", value): 0 for value in family.values}


def test_a_backoff_counts_down_to_0() -> None:
    found = scrape(view(backoff_until=Instant(3_500_000_000)), view("past", backoff_until=Instant(0)), view("well"))
    assert found["backoff_seconds"] == {("blog",): 2.5, ("past",): 0, ("well",): 0}


def test_what_the_kernel_does_not_tell_is_absent() -> None:
    found = scrape(view(), samples={})
    for name in ("connections", "limit_connections", "oldest_seconds"):
        assert f"listen_queue_{name}" not in found
    assert "instances_busy" not in found


def test_memory_that_cannot_be_read_is_absent_and_that_of_no_instance_is_0(worker: InstanceView) -> None:
    hidden = view("hidden", instances=(replace(ME, pid=2**22 + 1),))  # no process has this number
    found = scrape(view(instances=(worker,)), hidden, view("none", instances=()))["instance_resident_memory_bytes"]
    assert found["none",] == 0
    assert ("hidden",) not in found
    assert found["blog",] > 1 << 20


def test_processor_time_stays_when_its_instances_are_gone(worker: InstanceView) -> None:
    tally = Tally()
    before = scrape(view(instances=(worker,)), tally=tally)["instance_cpu_seconds_total"]["blog",]
    after = scrape(view(instances=()), tally=tally)["instance_cpu_seconds_total"]["blog",]
    assert after >= before > 0


def test_an_application_that_was_removed_has_no_series_and_begins_anew_when_it_comes_back() -> None:
    tally = Tally()
    tally.note_dropped("gone", 9)
    assert scrape(view("gone"), tally=tally)["output_dropped_bytes_total"] == {("gone",): 9}
    found = scrape(view(), tally=tally)
    assert not [labels for series in found.values() for labels in series if "gone" in labels]
    assert scrape(view("gone"), tally=tally)["output_dropped_bytes_total"] == {("gone",): 0}


def test_no_label_is_a_process_id() -> None:
    labels = {label for family in FAMILIES.values() for label in family.labels}
    assert labels == {"app", "state", "reason", "result", "process", "version", "python", "class"}


def test_the_page_is_made_from_the_table() -> None:
    page = Path(__file__).parents[3] / "docs" / "metrics.md"
    assert page.read_text() == document(), "run: python -m fcgipm.manager.telling.families > docs/metrics.md"


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_names_follow_prometheus_rules(family: Family) -> None:
    assert family.help.endswith(".")
    assert family.name.endswith("_total") is (family.type is Type.COUNTER)
    assert family.name.endswith("_info") is (family.type is Type.INFO)
