"""fcgipmctl ensure: an operator wants an instance that is ready, by the same way as connectors."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness.daemon import FCGIPMCTL, Ctl
from harness.scripts import script, scripts
from harness.stage import Stage, app, staged
from harness.waiting import until

from fcgipm import wire
from fcgipm.config.schema import SECOND, Application, External


def ctl(stage: Stage, *arguments: str) -> Ctl:
    """Run fcgipmctl."""
    command = [FCGIPMCTL, "-s", str(stage.control), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def on_demand(**more: Any) -> Application:
    """Return an application that is started when somebody comes."""
    return app(processes=None, min_processes=0, max_processes=2, **more)


def test_it_starts_an_instance_and_says_where_it_is_reached(place: Path) -> None:
    with staged(place, on_demand()) as stage:
        done = ctl(stage, "ensure", "blog")

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"blog is ready at unix:{place}/blog.sock\n"
        assert len(stage.given(wire.Spawn)) == 1
        again = json.loads(ctl(stage, "--json", "ensure", "blog").stdout)
        assert again["address"] == f"unix:{place}/blog.sock"
        assert [each["state"] for each in again["apps"]] == ["done"]


def test_a_script_is_named_by_its_path_or_its_name(place: Path) -> None:
    with staged(place, dynamic=scripts(place), scripts={"fcgi/a.fcgi": None}) as stage:
        path = script(place, "a.fcgi")

        for target in (path, f"{path}/more", "fcgi/a.fcgi"):
            done = ctl(stage, "ensure", target)
            assert done.stdout == f"fcgi/a.fcgi is ready at unix:{place}/fcgi.a.fcgi\n"


@pytest.mark.parametrize("target", ["fcgi/b.fcgi", "{place}/fcgi/b.fcgi", "/elsewhere/a.fcgi", "nowhere/a.fcgi"])
def test_a_script_that_is_not_there_fails(place: Path, target: str) -> None:
    with staged(place, dynamic=scripts(place)) as stage:
        done = ctl(stage, "ensure", target.format(place=place))

        assert done.returncode == 1
        assert done.stderr == "fcgipmctl: there is no such script below any root of [dynamic]\n"


def test_an_operator_is_told_why_a_script_may_not_run(place: Path) -> None:
    with staged(place, dynamic=scripts(place), scripts={"fcgi/a.fcgi": "it belongs to joe"}) as stage:
        done = ctl(stage, "ensure", script(place, "a.fcgi"))

        assert done.returncode == 1
        assert "it belongs to joe" in done.stderr


def test_a_stopped_application_stays_stopped(place: Path) -> None:
    with staged(place, app(autostart=False)) as stage:
        done = ctl(stage, "ensure", "blog")

        assert (done.returncode, done.stderr) == (1, "fcgipmctl: blog is stopped by an operator\n")
        assert not stage.given(wire.Spawn)


@pytest.mark.parametrize(
    ("application", "options"), [(on_demand(), ("--timeout", "0.3")), (on_demand(start_timeout=SECOND // 4), ())]
)
def test_a_start_that_takes_too_long_times_out(place: Path, application: Application, options: tuple[str, ...]) -> None:
    with staged(place, application, slow=True) as stage:
        done = ctl(stage, *options, "ensure", "blog")

        assert done.returncode == 5
        assert "blog" in done.stderr


def test_without_waiting_it_is_only_asked_for(place: Path) -> None:
    with staged(place, on_demand(), slow=True) as stage:
        done = ctl(stage, "--no-wait", "ensure", "blog")

        assert (done.returncode, done.stdout) == (0, "it is asked for\n")
        until(lambda: len(stage.given(wire.Spawn)) == 1, what="the order, which nobody has waited for")


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("blgo", "unknown application 'blgo'; did you mean 'blog'?"),
        ("legacy", "cannot ensure legacy: it is external, managed elsewhere"),
    ],
)
def test_wrong_use_is_told(place: Path, target: str, text: str) -> None:
    with staged(place, app(), externals=[External(name="legacy", socket="/x")]) as stage:
        done = ctl(stage, "ensure", target)

        assert (done.returncode, done.stderr) == (2, f"fcgipmctl: {text}\n")
