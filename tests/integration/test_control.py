"""The manager as a process: what it orders, what it answers, how it ends.  The test plays the keeper."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import psutil
import pytest
from harness.rest import at_rest
from harness.stage import Stage, app, encode, receive, staged
from harness.visitors import accepted, connected, inode_of, unix_listener
from harness.waiting import ended, until

from fcgipm import wire
from fcgipm.codec import to_json
from fcgipm.config.schema import Application, External
from fcgipm.manager.driver import LAST_BYTES, LAST_LINES
from fcgipm.manager.serving.arguments import fields_of
from fcgipm.manager.state import EVENT_BYTES, EVENTS_KEPT
from fcgipm.manager.telling.feed import MAX_BEHIND, MAX_BEHIND_BYTES
from fcgipm.manager.telling.logs import RING_BYTES
from fcgipm.manager.telling.record import EventRecord, LogLine
from fcgipm.verbs import VERBS

PROTOCOL = (Path(__file__).parents[2] / "docs/control-protocol.md").read_text()


def documented(what: str) -> set[str]:
    """Return the fields in the table of the document whose head is *what*."""
    (table,) = re.findall(rf"^\| {what} \| is \|\n.*\n((?:\|.*\n)+)", PROTOCOL, re.MULTILINE)
    return set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


def test_a_snapshot_is_answered_by_orders_to_spawn(place: Path) -> None:
    with staged(place, app(processes=2)) as stage:
        stage.wait_ready("blog", 2)

        assert stage.given(wire.Spawn) == [
            wire.Spawn(instance=1, app="blog", generation=1),
            wire.Spawn(instance=2, app="blog", generation=1),
        ]


def test_status_has_the_documented_shape(place: Path) -> None:
    with staged(place, app(), externals=[External(name="legacy", host=("127.0.0.1:1",))]) as stage:
        stage.wait_ready("blog", 1)

        answer = stage.ask("GET", "/v1/status").document
        blog, legacy = answer["apps"]

    assert (answer["version"], answer["pid"], answer["manager_pid"]) == (1, os.getpid(), stage.manager.pid)
    assert answer["uptime"] >= 0
    assert blog.keys() == legacy.keys() == documented("field of apps")
    assert (blog["kind"], blog["state"], blog["ready"]) == ("static", "running", 1)
    assert blog["address"] == f"unix:{place}/blog.sock"
    assert blog["instances"][0].keys() == documented("field of instances")
    assert (legacy["kind"], legacy["state"], legacy["ready"]) == ("external", "unreachable", None)
    assert "connection refused" in legacy["reason"]


def test_explain_has_the_documented_shape(place: Path) -> None:
    with staged(place, app(), externals=[External(name="legacy", host=("127.0.0.1:1",))]) as stage:
        stage.wait_ready("blog", 1)
        stage.end_instance(1)
        until(lambda: stage.status("blog")["next"], what="the next start is planned")

        blog, legacy = (stage.ask("GET", f"/v1/explain?app={name}").document for name in ("blog", "legacy"))

    assert blog.keys() == legacy.keys() == documented("field of explain")
    assert {frozenset(each) for each in blog["decisions"]} == {frozenset(documented("field of decisions"))}
    assert [each.keys() for each in blog["plans"]] == [documented("field of plans")]
    assert (blog["kind"], blog["policy"], blog["processes"], blog["next_start"]) == ("static", "static", 1, None)
    assert [each["action"] for each in blog["decisions"]] == ["start", "end"]
    assert abs(blog["decisions"][-1]["time"] - blog["time"]) < 20
    assert (legacy["kind"], legacy["state"]) == ("external", "unreachable")
    assert (legacy["decisions"], legacy["plans"]) == ([], [])
    assert "connection refused; managed elsewhere" in legacy["summary"]


def test_lines_and_events_have_the_documented_shape() -> None:
    assert {field.name for field in fields(LogLine)} == documented("field of logs")
    assert {field.name for field in fields(EventRecord)} == documented("field of events")


def test_every_field_of_a_request_is_documented() -> None:
    assert {field for verb in VERBS.values() for field in fields_of(verb)} == documented("field of a request")


def test_what_is_kept_is_documented() -> None:
    page = (Path(__file__).parents[2] / "man/fcgipm.8").read_text()
    kib = {RING_BYTES // 1024, MAX_BEHIND_BYTES // 1024}

    assert f"at most {LAST_LINES}, and {LAST_BYTES} bytes" in PROTOCOL
    assert f"beyond {MAX_BEHIND} of them or {MAX_BEHIND_BYTES // 1024} KiB" in PROTOCOL
    assert (kib, EVENT_BYTES) == ({256}, 1024 * 1024)
    assert f"the last {EVENTS_KEPT} events" in page


def test_queue_and_busy_are_those_of_the_kernel(place: Path) -> None:
    with ExitStack() as stack:
        listener = unix_listener(stack, f"{place}/s", 7)
        stage = stack.enter_context(staged(place, app(), inodes={"blog": inode_of(listener)}))
        clients = [connected(stack, listener) for _ in range(4)]
        accepted(stack, listener)
        first = stage.status("blog")
        assert [first[f"queue{part}"] for part in ("", "_limit", "_abandoned")] == [3, 7, 0]
        assert first["busy"] == 1
        until(lambda: stage.status("blog")["queue_oldest"] > 0, what="the age of who was seen before grows")
        clients[1].close()
        second = stage.status("blog")
        assert [second[f"queue{part}"] for part in ("", "_limit", "_abandoned")] == [3, 7, 1]
        assert b'fcgipm_listen_queue_abandoned_total{app="blog"} 1.0' in stage.ask("GET", "/metrics").body
        while stage.status("blog")["queue"]:
            accepted(stack, listener)
        assert stage.status("blog")["queue_oldest"] is None


@contextmanager
def listening(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o666)
        yield


def test_an_external_application_is_reachable_or_not(place: Path) -> None:
    external = External(name="legacy", socket=f"{place}/l.sock")
    with staged(place, externals=[external]) as stage:
        assert stage.status("legacy")["state"] == "unreachable"
        with listening(place / "l.sock"):
            assert stage.status("legacy")["state"] == "reachable"


def test_an_external_application_that_hangs_does_not_hold_up_the_status(place: Path) -> None:
    with socket.socket() as listener, socket.socket() as queued:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        queued.connect(listener.getsockname())  # the queue is full: further connections hang
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        with staged(place, externals=[External(name="legacy", host=(host,))]) as stage:
            first = stage.status("legacy")
            # Whoever waits for it knows after a second that it is unreachable.
            assert (first["state"], first["reason"]) == ("unknown", "it has not answered yet")
            until(lambda: stage.status("legacy")["state"] == "unreachable")


def test_operators_steer_and_hear_the_outcome(place: Path) -> None:
    with staged(place, app(processes=2)) as stage:
        stage.wait_ready("blog", 2)

        stopped = stage.ask("POST", "/v1/stop", {"apps": ["blog"]})
        assert stage.status("blog")["state"] == "stopped"
        started = stage.ask("POST", "/v1/start", {"apps": ["blog"]})
        scaled = stage.ask("POST", "/v1/scale", {"apps": ["blog"], "processes": "3"})
        restarted = stage.ask("POST", "/v1/restart", {"apps": ["blog"], "timeout": 20})

        assert [each.status for each in (stopped, started, scaled, restarted)] == [200] * 4
        assert scaled.document["apps"] == [{"name": "blog", "state": "done", "text": "blog: 3 instances"}]
        assert stage.status("blog")["ready"] == 3


def test_what_takes_too_long_is_told_as_such_and_goes_on(place: Path) -> None:
    with staged(place, app(autostart=False)) as stage:
        stage.deaf = True
        answer = stage.ask("POST", "/v1/start", {"apps": ["blog"], "timeout": 0.2})

        assert (answer.status, answer.document["exit"]) == (504, 5)
        until(lambda: stage.given(wire.Spawn), what="the order")


def test_nobody_waits_who_does_not_want_to(place: Path) -> None:
    with staged(place, app(autostart=False)) as stage:
        stage.deaf = True
        answer = stage.ask("POST", "/v1/start", {"apps": ["blog"], "wait": False})

        assert answer.status == 200
        assert answer.document["apps"][0]["state"] == "pending"


def test_the_engine_is_called_when_its_deadline_comes(place: Path) -> None:
    begun = time.monotonic()
    with staged(place, app(processes=3, init_start_delay=200_000_000)) as stage:
        stage.wait_ready("blog", 3)

        assert time.monotonic() - begun > 0.4


def test_reports_are_acknowledged(place: Path) -> None:
    with staged(place, app()) as stage:
        # control, connector, report, Begun; then Spawned and BecameReady
        until(lambda: stage.given(wire.Heard, count=6))


def test_the_manager_ends_with_the_wire(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)

        assert stage.lower_curtain() == 0


def test_the_manager_leaves_signals_to_the_keeper(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            stage.manager.send_signal(number)

        assert stage.status("blog")["state"] == "running"


def test_what_is_no_report_ends_the_manager_loudly(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        with socket.socket(fileno=os.dup(stage.channel.fileno())) as raw:
            raw.send(b".nonsense")

        assert stage.manager.wait(30) == 70
        assert "Traceback" in stage.log.read_text()


def test_stop_and_scale_outlive_the_manager(place: Path) -> None:
    with staged(place, app("blog", processes=2), app("shop")) as stage:
        stage.wait_ready("blog", 2)
        stage.ask("POST", "/v1/stop", {"apps": ["shop"]})
        stage.ask("POST", "/v1/scale", {"apps": ["blog"], "processes": 3})
        before = dict(stage.instances)
        stage.manager.kill()
        ended(stage.manager.pid)
        stage.manager.wait()
        stage.lower_curtain()
        stage.raise_curtain()

        assert stage.status("shop")["state"] == "stopped"
        assert stage.status("blog")["ready"] == 3
        assert stage.instances == before


def answer_of(stage: Stage, request: int, *applications: Application, **more: Any) -> wire.Applied:
    stage.applications = applications
    fields = {"problems": (), "warnings": (), "changes": (), "definitions": stage.definitions()}
    return wire.Applied(**{"request": request, **fields, "listeners": stage.listeners(), **more})


def test_apply_shows_what_changed_and_waits_for_it(place: Path) -> None:
    with staged(place, app(), app("old")) as stage:
        stage.wait_ready("blog", 1)
        changes = (
            wire.ChangedKey(app="blog", key="processes", effect="in place"),
            wire.ChangedKey(app="old", key="", effect="removed"),
            wire.ChangedKey(app="new", key="", effect="added"),
        )
        stage.applied = lambda number: answer_of(
            stage, number, app(processes=2), app("new"), changes=changes, warnings=("mind the gap",)
        )
        answer = stage.ask("POST", "/v1/apply", {"timeout": 20})

        assert answer.status == 200
        assert answer.document["changes"] == to_json(changes)
        assert answer.document["warnings"] == ["mind the gap"]
        assert {each["name"]: each["state"] for each in answer.document["apps"]} == dict.fromkeys(
            ("blog", "old", "new"), "done"
        )
        assert [each["name"] for each in stage.ask("GET", "/v1/status").document["apps"]] == ["blog", "new"]


def test_apply_waits_for_a_new_generation(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        changes = (wire.ChangedKey(app="blog", key="command", effect="new generation"),)
        stage.applied = lambda number: answer_of(stage, number, app(command=("/bin/false",)), changes=changes)
        answer = stage.ask("POST", "/v1/apply", {"timeout": 20})

        assert answer.document["apps"][0]["state"] == "done"
        assert (stage.status("blog")["generation"], stage.published) == (2, {"blog": 2})


def test_what_was_removed_is_shown_until_it_is_gone(place: Path) -> None:
    with staged(place, app(), app("shop")) as stage:
        stage.wait_ready("shop", 1)
        obey = stage.obey
        stage.obey = lambda order: None if isinstance(order, wire.Retire) else obey(order)  # type: ignore[method-assign]
        stage.applied = lambda number: answer_of(stage, number, app())
        answer = stage.ask("POST", "/v1/apply", {"timeout": 0.1})
        shop = stage.status("shop")

        assert answer.document["apps"] == [{"name": "shop", "state": "pending", "text": "shop: 1 instance still there"}]
        assert (shop["state"], shop["reason"], shop["address"]) == ("stopped", "removed, draining", None)
        assert stage.ask("POST", "/v1/restart", {"apps": ["shop"]}).status == 404
        stage.end_instance(shop["instances"][0]["instance"])
        until(lambda: stage.ask("GET", "/v1/status?app=shop").status == 404)


def test_apply_waits_until_what_it_removed_is_gone(place: Path) -> None:
    with staged(place, app(), app("shop")) as stage:
        stage.wait_ready("shop", 1)
        stage.applied = lambda number: answer_of(stage, number, app())
        answer = stage.ask("POST", "/v1/apply", {"timeout": 20})

        assert answer.document["apps"] == [{"name": "shop", "state": "done", "text": "shop: its last instance is gone"}]
        assert {each.app for each in stage.instances.values()} == {"blog"}


def test_apply_does_not_blame_itself_for_an_application_that_was_in_trouble_before(place: Path) -> None:
    with staged(place, app(restart_delay=0), failing=frozenset({"blog"})) as stage:
        until(lambda: stage.status("blog")["state"] == "backoff")
        changes = (wire.ChangedKey(app="blog", key="idle-timeout", effect="in place"),)
        stage.applied = lambda number: answer_of(stage, number, app(idle_timeout=10**9), changes=changes)

        assert stage.ask("POST", "/v1/apply", {}).status == 200


def test_a_start_that_fails_is_told_with_its_reason(place: Path) -> None:
    with staged(place, app(restart_delay=0, autostart=False), failing=frozenset({"blog"})) as stage:
        answer = stage.ask("POST", "/v1/start", {"apps": ["blog"]})

        assert (answer.status, answer.document["exit"]) == (409, 1)
        assert "no such file" in answer.document["error"]
        assert answer.document["apps"][0]["state"] == "failed"


def test_a_bad_configuration_changes_nothing_and_says_why(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        problems = ("apps.toml:3: app.blog.processes: 0 is below 1",)
        stage.applied = lambda number: answer_of(stage, number, app(), problems=problems, definitions=None)
        answer = stage.ask("POST", "/v1/apply", {})

        assert (answer.status, answer.document["exit"]) == (422, 1)
        assert answer.document["problems"] == list(problems)
        assert b"fcgipm_config_last_reload_successful 0.0" in stage.ask("GET", "/metrics").body
        assert stage.status("blog")["state"] == "running"


def test_hup_applies(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        stage.tell(wire.Signalled(name="HUP"))

        until(lambda: stage.given(wire.Apply))


def test_reopen_logs_is_the_keepers_affair(place: Path) -> None:
    with staged(place) as stage:
        assert stage.ask("POST", "/v1/reopen-logs", {}).status == 200
        until(lambda: stage.given(wire.ReopenLogs))


def test_who_asks_for_the_end_hears_of_it_before_it_comes(place: Path) -> None:
    with staged(place, app(processes=2)) as stage:
        stage.wait_ready("blog", 2)
        answer = stage.ask("POST", "/v1/shutdown", {})

        assert answer.status == 200
        until(lambda: stage.given(wire.Shutdown, status=0, finished=True))
        assert not stage.instances


def test_term_ends_the_daemon_when_its_instances_have(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        stage.tell(wire.Signalled(name="TERM"))

        until(lambda: stage.given(wire.Shutdown, status=0, finished=True))
        assert not stage.instances


def test_an_end_that_is_not_waited_for_does_not_wait_long(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        stage.ask("POST", "/v1/shutdown", {"wait": False})

        until(lambda: stage.given(wire.Shutdown, status=0, finished=True))


def test_events_are_kept_and_followed(place: Path) -> None:
    with staged(place, app()) as stage, stage.connect() as follower:
        stage.wait_ready("blog", 1)
        follower.sendall(encode("GET", "/v1/events?follow=1"))
        lines = follower.makefile("rb")
        until(lambda: b"instance-ready" in lines.readline())
        stage.end_instance(1, signal=11)

        until(lambda: b"instance-ended" in lines.readline())
        lines.close()


def test_a_follower_that_leaves_makes_room(place: Path) -> None:
    with staged(place) as stage:
        for _ in range(100):  # more than one user may have open at once
            with stage.connect() as follower:
                follower.sendall(encode("GET", "/v1/events?follow=1"))
                assert follower.recv(1)

        assert until(lambda: stage.ask("GET", "/v1/status").status == 200)


def test_definitions_come_without_secrets_and_with_listeners(place: Path) -> None:
    with staged(place, app(), app("shop")) as stage:
        answer = stage.ask("GET", "/v1/definitions?app=blog").document

    assert [each["name"] for each in answer["applications"]] == ["blog"]
    assert answer["listeners"][0]["address"] == f"unix:{place}/blog.sock"


def test_metrics_have_a_socket_of_their_own(place: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with staged(place, app(), metrics=listener) as stage:
            stage.wait_ready("blog", 1)
            answers = []
            for request in (encode("GET", "/metrics"), encode("GET", "/v1/status"), encode("POST", "/metrics")):
                with socket.create_connection(listener.getsockname(), timeout=10) as client:
                    client.sendall(request)
                    answers.append(receive(client))

    assert [each.status for each in answers] == [200, 404, 405]
    assert b'fcgipm_app_state{app="blog",state="running"} 1.0' in answers[0].body


def test_a_refused_order_is_logged(place: Path) -> None:
    with staged(place) as stage:
        stage.tell(wire.Denied(order="Spawn", error="no such app"))

        until(lambda: "refused Spawn: no such app" in stage.log.read_text())


def test_a_hundred_applications_are_shown_at_once(place: Path) -> None:
    with staged(place, *(app(f"app{number}", processes=2) for number in range(100))) as stage:
        stage.wait_ready("app99", 2)
        before = busy_seconds(stage.manager.pid)
        for _ in range(5):
            assert len(stage.ask("GET", "/v1/status").document["apps"]) == 100

        assert (busy_seconds(stage.manager.pid) - before) / 5 < 0.1


def busy_seconds(pid: int) -> float:
    """Return how long a process has had a processor; what it waits for one is the machine's affair."""
    spent = psutil.Process(pid).cpu_times()
    return spent.user + spent.system


@pytest.mark.parametrize("after", ["nothing", "a request"])
def test_an_idle_manager_never_wakes(place: Path, after: str) -> None:
    with staged(place, *(app(f"app{number}", processes=2) for number in range(10))) as stage:
        stage.wait_ready("app9", 2)
        if after == "a request":
            stage.ask("GET", "/v1/status")
        until(lambda: stage.given(wire.Heard))

        at_rest(stage.manager.pid, seconds=3)


def test_every_event_is_json_on_a_line_of_its_own(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        lines = stage.ask("GET", "/v1/events").body.splitlines()

    assert {"instance-started", "instance-ready"} <= {json.loads(line)["topic"] for line in lines}
