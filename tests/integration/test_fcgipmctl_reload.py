"""`fcgipmctl reload` as it is typed: what it prints where, and its exit codes; the test plays the keeper."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.daemon import FCGIPMCTL
from harness.stage import Stage, app
from harness.waiting import until

from fcgipm import wire

Ctl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def stage(place: Path) -> Iterator[Stage]:
    stage = Stage(place, applications=[app("blog", processes=2), app("shop")])
    stage.applied = applied(stage)
    stage.raise_curtain()
    try:
        stage.wait_ready("blog", 2)
        stage.wait_ready("shop", 1)
        yield stage
    finally:
        stage.close()


def applied(stage: Stage, **more: object) -> Callable[[int], wire.Applied]:
    def answer(request: int) -> wire.Applied:
        fields = {"problems": (), "warnings": (), "changes": (), "definitions": stage.definitions()}
        return wire.Applied(**{"request": request, **fields, "listeners": stage.listeners(), **more})  # type: ignore[arg-type]

    return answer


def command(stage: Stage, *words: str) -> list[str]:
    return [FCGIPMCTL, "-s", str(stage.control), "reload", *words]


@pytest.fixture
def ctl(stage: Stage) -> Ctl:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        return subprocess.run(
            command(stage, *words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
            env=environ,
        )  # fmt: skip

    return run


def test_outcomes_are_data_and_progress_is_talk(ctl: Ctl) -> None:
    done = ctl()

    assert done.returncode == 0
    assert [line.split(",")[0] for line in sorted(done.stdout.splitlines())] == ["blog: reloaded", "shop: reloaded"]
    talk = done.stderr.splitlines()
    assert any("blog: generation 2 is on its way, " in line for line in talk)
    assert talk[-1].startswith("fcgipmctl: 2 of 2 applications reloaded in ")


def test_a_name_that_nobody_defines_is_2_like_everywhere(ctl: Ctl, stage: Stage) -> None:
    problem = "app.bloq: there is no such application to reload: it is not in apps.toml"
    stage.applied = applied(stage, problems=(problem,), unknown=("bloq",), definitions=None)
    done = ctl("bloq")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fcgipmctl: unknown application 'bloq'; did you mean 'blog'?\n"


def test_the_last_line_on_the_terminal_is_the_error_for_programs(ctl: Ctl, stage: Stage) -> None:
    stage.failing = frozenset({"shop"})
    done = ctl("--json")

    error = json.loads(done.stdout)["error"]
    assert done.stderr.splitlines()[-1] == f"fcgipmctl: {error}"
    assert "; failed: shop" in error


def test_one_that_fails_is_1_and_the_others_are_reloaded(ctl: Ctl, stage: Stage) -> None:
    stage.failing = frozenset({"shop"})

    done = ctl()

    assert done.returncode == 1
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["blog: reloaded"]
    talk = done.stderr.splitlines()
    (why,) = [line for line in talk if "was given up" in line]
    assert why.startswith("fcgipmctl: shop: generation 2 was given up: ")
    assert why.endswith("; generation 1 serves on")
    assert talk[-1].startswith("fcgipmctl: 1 of 2 applications reloaded in ")
    assert talk[-1].endswith("; failed: shop")
    shown = subprocess.run(
        [FCGIPMCTL, "-s", str(stage.control), "status", "shop"], capture_output=True, text=True, check=True
    ).stdout
    assert "  given up    generation 2: " in shown


def test_json_is_the_last_line_alone(ctl: Ctl) -> None:
    done = ctl("--json", "shop")

    document = json.loads(done.stdout)
    assert [(each["name"], each["state"]) for each in document["apps"]] == [("shop", "done")]


def test_what_is_pending_and_what_is_warned_about_is_said(ctl: Ctl, stage: Stage) -> None:
    pending = (
        wire.ChangedKey(app=None, key="log-level", effect="in place"),
        wire.ChangedKey(app="blog", key="", effect="removed"),
    )
    stage.applied = applied(stage, pending=pending, warnings=("mind the gap",))

    talk = ctl("shop").stderr

    text = "pending, not named: fcgipm.log-level (in place), blog (removed); `fcgipmctl apply` brings it into force"
    assert f"fcgipmctl: {text}\n" in talk
    assert "fcgipmctl: warning: mind the gap\n" in talk


def test_a_dry_run_says_what_would_be(ctl: Ctl, stage: Stage) -> None:
    changes = (wire.ChangedKey(app="shop", key="priority", effect="new generation"),)
    stage.applied = applied(stage, changes=changes, definitions=None)

    done = ctl("--dry-run", "shop")

    assert done.stdout == "shop.priority: new generation\nshop: would get a new generation of 1 instance\n"
    assert done.stderr == "fcgipmctl: a dry run: nothing was changed\n"
    assert stage.published == {}


def test_time_that_is_up_is_5_and_says_what_goes_on(ctl: Ctl, stage: Stage) -> None:
    stage.slow = True

    done = ctl("--timeout", "0.5")

    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.splitlines()[-1].endswith("; not finished after 0.5 s, and going on: blog, shop")


def test_who_does_not_wait_is_0_at_once(ctl: Ctl, stage: Stage) -> None:
    done = ctl("--no-wait", "shop")

    assert done.returncode == 0
    assert done.stdout.startswith("shop: generation 2 is on its way, ")
    until(lambda: stage.published == {"shop": 2})


def test_mistakes_are_all_shown(ctl: Ctl, stage: Stage) -> None:
    stage.applied = applied(stage, problems=("apps.toml:1: one", "apps.toml:2: two"), definitions=None)

    done = ctl()

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "apps.toml:1: one\napps.toml:2: two\n"
        "fcgipmctl: the configuration has 2 problems; nothing was changed\n"
    )  # fmt: skip


@pytest.mark.parametrize("words", [["--parallel", "0"], ["--parallel", "x"], ["--parallel"], ["--dry"]])
def test_wrong_use_is_2(ctl: Ctl, words: list[str]) -> None:
    assert ctl(*words).returncode == 2


def test_nothing_that_runs_is_nothing_to_do(ctl: Ctl, stage: Stage) -> None:
    subprocess.run([FCGIPMCTL, "-s", str(stage.control), "stop", "blog", "shop"], check=True, capture_output=True)

    done = ctl()

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "fcgipmctl: no application is running, so there is nothing to reload\n"


def test_a_manager_that_dies_over_it_leaves_a_list_of_what_is_done(stage: Stage) -> None:
    obey = stage.obey

    def slowly(order: wire.Order) -> None:
        if not (isinstance(order, wire.Spawn) and order.app == "shop" and order.generation == 2):
            obey(order)

    stage.obey = slowly  # type: ignore[method-assign]
    with subprocess.Popen(command(stage), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: stage.published.get("blog") == 2 and stage.given(wire.Spawn, app="shop", generation=2))
        assert process.stdout is not None
        assert process.stdout.readline().startswith("blog: reloaded, ")
        stage.manager.kill()
        stage.lower_curtain()
        stage.raise_curtain()
        _, talk = process.communicate(timeout=20)

    assert process.returncode == 1
    last = talk.splitlines()[-1]
    assert "its manager has ended, and the daemon starts another; reloaded: blog; " in last
    assert last.endswith("; not reloaded, the old generation serves on; reload again: shop")


def test_a_manager_that_dies_in_a_roll_leaves_it_to_the_next_one_and_that_is_said(place: Path) -> None:
    stage = Stage(place, applications=[app("wide", port=9, processes=2, init_start_delay=0)])
    stage.applied = applied(stage)
    stage.raise_curtain()
    try:
        stage.wait_ready("wide", 2)
        is_proved = threading.Event()
        obey = stage.obey

        def slowly(order: wire.Order) -> None:
            stage.slow = isinstance(order, wire.Spawn) and not order.canary and not is_proved.is_set()
            obey(order)

        stage.obey = slowly  # type: ignore[method-assign]
        with subprocess.Popen(command(stage), stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            while "rolling" not in (line := process.stderr.readline()):
                assert line
            until(lambda: any(not one.ready for one in stage.instances.values()))
            stage.manager.kill()
            stage.lower_curtain()
            is_proved.set()
            stage.raise_curtain()
            last = process.stderr.read().splitlines()[-1]
        assert process.returncode == 1
        assert last.endswith(
            "; replaced one by one, and the next manager goes on (`fcgipmctl status` says how far): wide"
        )

        stage.make_ready(next(number for number, one in stage.instances.items() if not one.ready))
        until(lambda: stage.status("wide")["generation"] == 2)
    finally:
        stage.close()
