"""Reload, by the real manager: who gets a new generation, when, and what is told of it.  The test plays the keeper."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.stage import Reply, Stage, app, encode, receive, staged
from harness.waiting import until

from fcgipm import wire
from fcgipm.config.schema import MILLISECOND, Application, External, Probe
from fcgipm.fastcgi import Kind, Record, RequestParser, encode_end, encode_record


def unchanged(stage: Stage, *applications: Application, **more: Any) -> Callable[[int], wire.Applied]:
    """Return how the keeper answers that it has read *applications*; without any, the same as before."""

    def applied(request: int) -> wire.Applied:
        stage.applications = applications or stage.applications
        fields = {"problems": (), "warnings": (), "changes": (), "definitions": stage.definitions()}
        return wire.Applied(**{"request": request, **fields, "listeners": stage.listeners(), **more})

    return applied


@contextlib.contextmanager
def running(place: Path, *applications: Application, **more: Any) -> Iterator[Stage]:
    """Give a manager whose applications are all ready."""
    with staged(place, *applications, **more) as stage:
        for each in applications:
            if each.autostart and each.least:
                stage.wait_ready(each.name, each.least)
        stage.applied = unchanged(stage)
        yield stage


def reload(stage: Stage, *apps: str, timeout: float = 20, **more: Any) -> Reply:
    return stage.ask("POST", "/v1/reload", {"apps": list(apps), "timeout": timeout, **more})


def lines(reply: Reply) -> list[Any]:
    assert reply.status == 200, reply.body
    return [json.loads(line) for line in reply.body.splitlines()]


def states(document: Any) -> dict[str, str]:
    return {each["name"]: each["state"] for each in document["apps"]}


def generations(stage: Stage, app: str) -> list[int]:
    return [order.generation for order in stage.given(wire.Spawn, app=app)]


# ── who gets a new generation ────────────────────────────────────────────────────────────────────────────────────────


def test_all_that_run_get_a_new_generation(place: Path) -> None:
    idle = app("idle", processes=None, min_processes=0, max_processes=2)
    with running(place, app("blog", processes=2), app("shop"), app("off", autostart=False), idle) as stage:
        *progress, last = lines(reload(stage))

        assert states(last) == {"blog": "done", "shop": "done"}
        assert "error" not in last
        assert stage.published == {"blog": 2, "shop": 2}
        assert {each["name"] for each in progress} == {"blog", "shop"}
        assert [each["state"] for each in progress if each["name"] == "blog"][-1] == "done"
        assert generations(stage, "blog") == [1, 1, 2, 2]
        assert stage.given(wire.Apply) == [wire.Apply(request=1)]


def test_the_named_are_reloaded_and_what_others_have_is_pending(place: Path) -> None:
    with running(place, app("blog"), app("shop"), app("off", autostart=False)) as stage:
        pending = (wire.ChangedKey(app="shop", key="priority", effect="new generation"),)
        stage.applied = unchanged(stage, pending=pending)

        *_, last = lines(reload(stage, "off", "blog"))

        assert states(last) == {"off": "done", "blog": "done"}
        assert last["pending"] == [{"app": "shop", "key": "priority", "effect": "new generation"}]
        assert stage.given(wire.Apply) == [wire.Apply(request=1, apps=("off", "blog"))]
        assert (stage.status("off")["state"], stage.status("shop")["generation"]) == ("running", 1)


def test_so_many_at_a_time(place: Path) -> None:
    with running(place, *(app(f"a{number}") for number in range(4))) as stage:
        stage.slow = True
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(stage.control))
            sock.sendall(encode("POST", "/v1/reload", {"parallel": 2, "timeout": 20}))

            def begun() -> list[int]:
                return [order.instance for order in stage.given(wire.Spawn, generation=2)]

            for count in (2, 3, 4):
                until(lambda: len(begun()) == count, what=f"{count} are begun")  # noqa: B023  it is called at once
                assert stage.status("a3")["rollout"] is None or count == 4
                stage.make_ready(begun()[count - 2])
            stage.make_ready(begun()[0])
            stage.make_ready(begun()[3])
            sock.settimeout(20)
            *_, last = lines(receive(sock))

        assert set(states(last).values()) == {"done"}


def test_a_stop_that_comes_after_it_is_not_undone(place: Path) -> None:
    with running(place, app("first"), app("second")) as stage:
        stage.slow = True
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(stage.control))
            sock.sendall(encode("POST", "/v1/reload", {"apps": ["first", "second"], "parallel": 1, "timeout": 20}))
            until(lambda: stage.given(wire.Spawn, generation=2), what="the first has begun")

            assert stage.ask("POST", "/v1/stop", {"apps": ["second"]}).status == 200
            stage.make_ready(stage.given(wire.Spawn, generation=2)[0].instance)
            sock.settimeout(20)
            *_, last = lines(receive(sock))

        assert states(last) == {"first": "done", "second": "failed"}
        assert "second: stopped meanwhile" in json.dumps(last)
        assert stage.status("second")["state"] == "stopped"


def test_changed_definitions_wait_for_their_turn_and_begin_once(place: Path) -> None:
    with running(place, app("blog"), app("shop")) as stage:
        stage.slow = True
        changes = tuple(wire.ChangedKey(app=name, key="priority", effect="new generation") for name in ("blog", "shop"))
        stage.applied = unchanged(stage, app("blog", priority=1), app("shop", priority=1), changes=changes)

        first = lines(reload(stage, parallel=1, timeout=0.3))[-1]

        assert (first["exit"], generations(stage, "shop")) == (5, [1])
        assert first["error"] == first["text"]
        assert first["text"].startswith("0 of 2 applications reloaded in ")
        assert first["text"].endswith("; not finished after 0.3 s, and going on: blog, shop")
        stage.make_ready(stage.given(wire.Spawn, app="blog")[-1].instance)
        until(lambda: generations(stage, "shop") == [1, 2], what="the other one has its turn although nobody waits")
        stage.make_ready(stage.given(wire.Spawn, app="shop")[-1].instance)
        until(lambda: stage.published == {"blog": 2, "shop": 2})
        assert generations(stage, "blog") == [1, 2]


def test_what_is_new_and_what_is_gone_is_waited_for(place: Path) -> None:
    with running(place, app("blog"), app("old")) as stage:
        changes = (
            wire.ChangedKey(app="old", key="", effect="removed"),
            wire.ChangedKey(app="new", key="", effect="added"),
        )
        stage.applied = unchanged(stage, app("blog"), app("new"), changes=changes)

        *_, last = lines(reload(stage))

        assert states(last) == {"old": "done", "new": "done", "blog": "done"}
        assert last["changes"] == [
            {"app": "old", "key": "", "effect": "removed"},
            {"app": "new", "key": "", "effect": "added"},
        ]


def test_another_address_is_a_new_generation_by_itself(place: Path) -> None:
    with running(place, app("blog")) as stage:
        changes = (wire.ChangedKey(app="blog", key="socket", effect="new listener"),)
        stage.applied = unchanged(stage, app("blog", socket=f"{place}/other.sock"), changes=changes)

        *_, last = lines(reload(stage))

        assert states(last) == {"blog": "done"}
        assert generations(stage, "blog") == [1, 2]


def test_nothing_that_runs_is_nothing_to_do(place: Path) -> None:
    with running(place, app("off", autostart=False)) as stage:
        (line,) = lines(reload(stage))
        text = "no application is running, so there is nothing to reload"
        assert line == {"version": 1, "apps": [], "text": text, "changes": [], "pending": [], "warnings": []}


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_with_mistakes_changes_nothing(place: Path) -> None:
    with running(place, app("blog")) as stage:
        stage.applied = unchanged(stage, problems=("apps.toml:3: app.blog.processes: 0 is below 1",), definitions=None)

        reply = reload(stage, "blog")

        assert (reply.status, reply.document["exit"]) == (422, 1)
        assert reply.document["problems"] == ["apps.toml:3: app.blog.processes: 0 is below 1"]
        assert generations(stage, "blog") == [1]
        # a name that was mistyped says nothing about the file
        assert b"fcgipm_config_last_reload_successful 1.0" in stage.ask("GET", "/metrics").body
        reload(stage)
        assert b"fcgipm_config_last_reload_successful 0.0" in stage.ask("GET", "/metrics").body


def test_what_cannot_be_reloaded_is_refused(place: Path) -> None:
    with running(place, app("blog"), externals=[External(name="legacy", host=("127.0.0.1:1",))]) as stage:
        reply = reload(stage, "legacy")

        assert (reply.status, reply.document["error"]) == (
            400, "cannot reload legacy: it is external, managed elsewhere"
        )  # fmt: skip
        for wrong in ({"parallel": 0}, {"parallel": "two"}, {"dry_run": 1}, {"parallel": True}):
            assert reload(stage, **wrong).status == 400
        assert stage.given(wire.Apply) == []


def test_a_generation_that_fails_is_given_up_and_told_everywhere(place: Path) -> None:
    with running(place, app("blog", processes=2), app("shop")) as stage:
        before = {each["pid"] for each in stage.status("blog")["instances"]}
        stage.failing = frozenset({"blog"})

        *progress, last = lines(reload(stage))

        why = "blog/4: exec: no such file"
        failed = next(each for each in progress if each["state"] == "failed")
        assert failed["name"] == "blog"
        assert failed["text"].startswith("blog: generation 2 was given up: ")
        assert failed["text"].endswith("; generation 1 serves on")
        assert "no such file" in failed["text"], why
        assert states(last) == {"blog": "failed", "shop": "done"}
        assert last["exit"] == 1
        assert last["error"].startswith("1 of 2 applications reloaded in ")
        assert last["error"].endswith(" s; failed: blog")
        blog = stage.status("blog")
        assert (blog["generation"], blog["ready"], blog["rollout"]) == (1, 2, None)
        assert {each["pid"] for each in blog["instances"]} == before
        assert (blog["given_up"]["generation"], blog["given_up"]["word"]) == (2, "start-failed")
        metrics = stage.ask("GET", "/metrics").body.decode()
        assert 'fcgipm_generations_total{app="blog",reason="start-failed",result="given-up"} 1.0' in metrics
        assert 'fcgipm_generations_total{app="shop",reason="",result="published"} 1.0' in metrics
        assert 'fcgipm_app_generation{app="blog"} 1.0' in metrics
        stage.failing = frozenset()
        lines(reload(stage, "blog"))
        assert stage.status("blog")["given_up"] is None


def test_who_goes_away_ends_nothing(place: Path) -> None:
    with running(place, app("blog"), app("shop")) as stage:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(stage.control))
            stage.slow = True
            sock.sendall(encode("POST", "/v1/reload", {"parallel": 1}))
            until(lambda: generations(stage, "blog") == [1, 2])
        stage.slow = False
        stage.make_ready(stage.given(wire.Spawn, app="blog")[-1].instance)

        until(lambda: stage.published == {"blog": 2, "shop": 2})


def test_who_does_not_wait_is_answered_at_once(place: Path) -> None:
    with running(place, app("blog")) as stage:
        reply = reload(stage, wait=False)

        assert states(reply.document) == {"blog": "pending"}
        until(lambda: stage.published == {"blog": 2})


def test_a_dry_run_only_says_what_would_be(place: Path) -> None:
    with running(place, app("blog", processes=2), app("off", autostart=False), app("old")) as stage:
        changes = (
            wire.ChangedKey(app="blog", key="priority", effect="new generation"),
            wire.ChangedKey(app="old", key="", effect="removed"),
        )
        stage.applied = unchanged(stage, changes=changes, definitions=None)

        document = reload(stage, dry_run=True).document

        assert stage.given(wire.Apply) == [wire.Apply(request=1, dry_run=True)]
        assert [each["text"] for each in document["apps"]] == ["blog: would get a new generation of 2 instances"]
        assert len(document["changes"]) == 2
        assert [each["text"] for each in reload(stage, "off", dry_run=True).document["apps"]] == [
            "off: would be started"
        ]
        assert stage.published == {}
        stage.applied = unchanged(stage, problems=("apps.toml:1: wrong",), definitions=None)
        assert reload(stage, dry_run=True).status == 422
        assert b"fcgipm_config_last_reload_successful 1.0" in stage.ask("GET", "/metrics").body


# ── probes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def answering(status: str, *, stderr: str = "") -> Callable[[socket.socket], None]:
    """Return an application that answers every request with *status*, and says *stderr* beside it."""

    def answer(sock: socket.socket) -> None:
        parser = RequestParser()
        while not (requests := parser.feed(sock.recv(4096))):
            pass
        (request,) = requests
        assert (request.params["REQUEST_METHOD"], request.params["REQUEST_URI"]) == ("GET", "/ping?full=1")
        records = [Record(Kind.STDOUT, request.request_id, f"Status: {status}\r\n\r\nbody".encode())]
        if stderr:
            records.insert(0, Record(Kind.STDERR, request.request_id, stderr.encode()))
        sock.sendall(b"".join(map(encode_record, records)) + encode_end(request.request_id))
        assert sock.recv(1) == b"", "it closes after the answer"

    return answer


def closing(sock: socket.socket) -> None:
    sock.recv(4096)


def silent(sock: socket.socket) -> None:
    while sock.recv(4096):
        pass


def babbling(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")


def probed(timeout: int = 10_000) -> Application:
    return app(probe=Probe(uri="/ping?full=1", timeout=timeout * MILLISECOND))


def test_what_answers_its_probe_is_published(place: Path) -> None:
    with running(place, probed()) as stage:
        stage.answers = answering("200 OK")

        *_, last = lines(reload(stage))

        assert states(last) == {"blog": "done"}
        assert stage.given(wire.Connect) == [wire.Connect(app="blog", generation=2)]


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (answering("500 Oh"), "500 instead of 200"),
        (
            answering("302 Found", stderr="PHP Warning: no database\nmore"),
            "302 instead of 200 (PHP Warning: no database)",
        ),
        (closing, "closed without an answer"),
        (babbling, "not FastCGI"),
        (silent, "no answer in 0.2 s"),
        (None, "nobody listens there"),
    ],
)
def test_what_does_not_is_given_up(place: Path, answers: Callable[[socket.socket], None] | None, why: str) -> None:
    with running(place, probed(200 if answers is silent else 10_000)) as stage:
        stage.answers = answers

        *_, last = lines(reload(stage))

        (blog,) = last["apps"]
        assert blog["state"] == "failed"
        if why != "not FastCGI":
            assert f"generation 2 was given up: its probe failed: GET /ping?full=1: {why}; " in blog["text"]
        assert stage.status("blog")["given_up"]["word"] == "probe"
        assert stage.published == {}
        until(lambda: {each.generation for each in stage.instances.values()} == {1}, what="the new one is removed")


def test_the_definition_of_now_says_what_is_probed(place: Path) -> None:
    with running(place, app()) as stage:
        stage.answers = answering("404 Not Found")
        changes = (wire.ChangedKey(app="blog", key="probe", effect="in place"),)
        other = app(probe=Probe(uri="/ping?full=1", status=404))
        stage.applied = unchanged(stage, other, changes=changes)

        *_, last = lines(reload(stage))

        assert states(last) == {"blog": "done"}


def test_files_that_have_changed_are_a_reload(place: Path) -> None:
    with running(place, app(auto_update=True), app("shop")) as stage:
        stage.tell(wire.ProgramChanged(app="shop"))
        stage.tell(wire.ProgramChanged(app="blog"))

        until(lambda: stage.published == {"blog": 2})
        assert stage.status("shop")["generation"] == 1
        stage.failing = frozenset({"blog"})
        stage.tell(wire.ProgramChanged(app="blog"))

        until(lambda: stage.status("blog")["given_up"])
        assert stage.status("blog")["generation"] == 2
