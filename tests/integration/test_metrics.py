"""/metrics of a real manager; the test plays the keeper."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.components import need
from harness.daemon import Daemon
from harness.stage import Stage, encode
from harness.waiting import until
from prometheus_client.parser import text_string_to_metric_families

from fcgipm import wire
from fcgipm.config.schema import Application, External
from fcgipm.manager.telling.families import FAMILIES, PREFIX


@pytest.fixture
def stage(place: Path) -> Iterator[Stage]:
    blog = Application(
        name="blog", command=("/usr/bin/true",), socket=f"{place}/blog.sock", processes=2, init_start_delay=0,
        directory="/", wrapper="off",
    )  # fmt: skip
    stage = Stage(place, applications=[blog], externals=[External(name="old", socket=f"{place}/nobody")])
    stage.raise_curtain()
    try:
        stage.wait_ready("blog", 2)
        yield stage
    finally:
        stage.close()


def exposition(stage: Stage) -> str:
    reply = stage.ask("GET", "/metrics")
    assert reply.status == 200
    return reply.body.decode()


def value(stage: Stage, name: str, **labels: str) -> float | None:
    """Return the value of one series; None where there is none."""
    for family in text_string_to_metric_families(exposition(stage)):
        for sample in family.samples:
            if sample.name == PREFIX + name and sample.labels == labels:
                return float(sample.value)
    return None


def test_they_are_clean_for_promtool(stage: Stage) -> None:
    done = subprocess.run(
        [need("promtool"), "check", "metrics"], input=exposition(stage), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_openmetrics_is_answered_to_who_asks_for_it(stage: Stage) -> None:
    ask = encode("GET", "/metrics").replace(b"Host: f\r\n", b"Host: f\r\nAccept: application/openmetrics-text\r\n")
    reply = stage.say(ask)
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    assert reply.body.endswith(b"# EOF\n")


def test_a_real_application_is_measured(start_daemon: Callable[..., Daemon]) -> None:
    command = f'["{sys.executable}", "-m", "fcgipm.demo"]'
    daemon = start_daemon(
        f'[app.demo]\ncommand = {command}\ndirectory = "/"\nlisten-queue-depth = 77\nrestart-delay = 0\n'
    )

    def look() -> dict[tuple[str, ...], float]:
        code, body = daemon.http("GET", "/metrics")
        assert code == 200
        families = text_string_to_metric_families(body.decode())
        return {
            (sample.name.removeprefix(PREFIX), *sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
        }

    found = look()
    assert found["listen_queue_connections", "demo"] == found["instances_busy", "demo"] == 0
    assert found["listen_queue_limit_connections", "demo"] == 77
    assert found["instance_startup_seconds_count", "demo"] == 1
    assert found["instance_startup_seconds_sum", "demo"] > 0
    assert found["instance_cpu_seconds_total", "demo"] > 0
    for name in ("instance_resident_memory_bytes demo", "process_resident_memory_bytes keeper",
                 "process_resident_memory_bytes manager"):  # fmt: skip
        assert found[tuple(name.split())] > 1 << 20
    (pid,) = daemon.instances("demo")
    os.kill(pid, signal.SIGKILL)
    until(lambda: look()["exits_total", "demo", "signal"] == 1, what="the end is counted")
    until(lambda: look()["instances", "demo", "ready"] == 1, what="the replacement is there")
    after = look()
    assert after["spawns_total", "demo", "replacement"] == 1
    assert after["instance_cpu_seconds_total", "demo"] >= found["instance_cpu_seconds_total", "demo"]


def test_what_happens_to_instances_is_counted(stage: Stage) -> None:
    assert value(stage, "spawns_total", app="blog", reason="initial") == 2
    assert value(stage, "instance_startup_seconds_count", app="blog") == 2
    assert value(stage, "instances", app="blog", state="ready") == 2
    stage.end_instance(min(stage.instances), code=None, signal=11)
    until(lambda: value(stage, "exits_total", app="blog", reason="signal") == 1, what="the end is counted")
    assert value(stage, "exits_total", app="blog", reason="exit") == 0


def test_every_reason_that_the_core_gives_is_in_the_table(stage: Stage) -> None:
    """So that each counter begins at 0, and `increase()` sees the first one."""
    stage.ask("POST", "/v1/scale", {"apps": ["blog"], "processes": 3})
    stage.ask("POST", "/v1/restart", {"apps": ["blog"]})
    stage.end_instance(min(stage.instances), code=1)
    until(lambda: value(stage, "exits_total", app="blog", reason="exit") == 1, what="the end is counted")
    stage.ask("POST", "/v1/stop", {"apps": ["blog"]})
    for family in text_string_to_metric_families(exposition(stage)):
        listed = FAMILIES.get(f"{family.name.removeprefix(PREFIX)}_total")
        if listed is not None and listed.values:
            found = {sample.labels[listed.labels[-1]] for sample in family.samples}
            assert found - {""} == set(listed.values)  # a generation that was published needs no reason
    assert value(stage, "spawns_total", app="blog", reason="scale") == 1
    assert value(stage, "spawns_total", app="blog", reason="generation") == 3
    assert value(stage, "retirements_total", app="blog", result="killed") == 5
    assert value(stage, "exits_total", app="blog", reason="retired") == 5
    assert value(stage, "app_state", app="blog", state="stopped") == 1


def test_cut_connections_are_counted_over_the_death_of_a_manager(stage: Stage) -> None:
    obey = stage.obey

    def cut_one(order: wire.Order) -> None:
        if isinstance(order, wire.Retire):
            stage.channel.send(wire.Removed(instance=order.instance, how="cut", connections=3, at=1))
        else:
            obey(order)

    stage.obey = cut_one  # type: ignore[method-assign]  # that is what it is there for
    stage.ask("POST", "/v1/scale", {"apps": ["blog"], "processes": 1, "wait": False})
    until(lambda: value(stage, "connections_cut_total", app="blog") == 3, what="the cut is counted")
    until(lambda: '"cut":3' in stage.notes.get("blog", ""))
    stage.manager.kill()
    stage.lower_curtain()
    stage.deaf = True
    stage.raise_curtain()

    assert value(stage, "connections_cut_total", app="blog") == 3


def test_a_bad_configuration_is_seen(stage: Stage) -> None:
    assert value(stage, "config_last_reload_successful") == 1
    stage.applied = lambda request: wire.Applied(
        request=request, problems=("a",), warnings=(), changes=(), definitions=None, listeners=()
    )
    stage.ask("POST", "/v1/apply", {})
    assert value(stage, "config_last_reload_successful") == 0
    assert value(stage, "config_last_reload_success_timestamp_seconds") == 1


def test_an_application_that_is_removed_takes_its_series_with_it(stage: Stage) -> None:
    def applied(request: int) -> wire.Applied:
        stage.applications = ()
        changes = (wire.ChangedKey(app="blog", key="", effect="removed"),)
        return wire.Applied(
            request=request, problems=(), warnings=(), changes=changes, definitions=stage.definitions(), listeners=()
        )

    stage.applied = applied
    assert 'app="blog"' in exposition(stage)
    stage.ask("POST", "/v1/apply", {})
    assert 'app="blog"' not in exposition(stage)


def test_an_external_application_is_reachable_or_not(stage: Stage) -> None:
    assert value(stage, "external_reachable", app="old") == 0


def test_counters_begin_again_with_a_new_manager(stage: Stage) -> None:
    stage.manager.kill()
    stage.lower_curtain()
    stage.raise_curtain()
    stage.wait_ready("blog", 2)
    assert value(stage, "spawns_total", app="blog", reason="initial") == 0
    assert value(stage, "instances", app="blog", state="ready") == 2
