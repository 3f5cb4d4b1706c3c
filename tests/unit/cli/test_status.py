"""The tables of `fcgipmctl status`."""

from __future__ import annotations

from typing import Any

import pytest

from fcgipm.cli.status import details, exit_code, overview
from fcgipm.cli.table import layout
from fcgipm.verbs import ExitCode


def app(name: str = "blog", state: str = "running", **more: Any) -> dict[str, Any]:
    instance = {"pid": 4121, "state": "ready", "age": 273_600.0, "generation": 3, "rss": 118 << 20, "cpu": 1.25}
    return {
        "name": name, "kind": "static", "state": state, "address": f"unix:/run/fcgipm/{name}.sock", "generation": 3,
        "processes": 8, "processes_min": 8, "processes_max": 8, "ready": 4, "queue": 0, "queue_limit": 512,
        "queue_oldest": None, "queue_abandoned": 0, "busy": 2, "load": None, "denied": None, "restarts": 0,
        "reason": "", "next": None, "instances": [instance] if state == "running" else [], **more,
    }  # fmt: skip


LEGACY = app("legacy", "backoff", ready=0, queue=3, busy=None, restarts=7, reason="exit status 1", next="try in 8 s")
EXTERNAL = app("old", "unreachable", kind="external", processes=None, processes_min=None, processes_max=None,
               ready=None, queue=None, queue_limit=None, queue_abandoned=None, busy=None, restarts=None,
               generation=None, reason="connection refused")  # fmt: skip
CROWDED = app("crowded", processes=4, processes_min=0, processes_max=4, queue=600, queue_oldest=3.21, queue_abandoned=2,
              load=0.943, denied="max-processes")  # fmt: skip
NEW = ("processes_min", "processes_max", "queue_oldest", "queue_abandoned", "load", "denied")


def test_without_a_terminal_nothing_is_left_out_or_cut() -> None:
    reason = "x" * 500
    lines = overview([app(), app("legacy", "backoff", reason=reason)], width=None, colour=False)
    assert lines[0].split() == [
        "APP", "STATE", "INSTANCES", "BUSY", "QUEUE", "WAIT", "RESTARTS", "MEM", "UPTIME", "SOCKET", "LAST/NEXT",
    ]  # fmt: skip
    assert lines[1].split() == [
        "blog", "running", "4/8", "2", "0/512", "-", "0", "118M", "3d", "04h", "unix:/run/fcgipm/blog.sock", "-",
    ]  # fmt: skip
    assert lines[2].endswith(reason)


def test_a_row_says_why_and_what_comes_next() -> None:
    line = overview([LEGACY], width=None, colour=False)[1]
    assert line.endswith("unix:/run/fcgipm/legacy.sock  exit status 1, try in 8 s")
    assert "3/512" in line


@pytest.mark.parametrize("width", [200, 120, 100, 80, 60, 40, 30])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    apps = [app(), LEGACY, EXTERNAL, app("a-very-long-name-of-an-application-that-somebody-chose", "failed")]
    assert max(map(len, overview(apps, width=width, colour=False))) <= width


@pytest.mark.parametrize(("width", "gone"), [(140, ""), (100, "SOCKET"), (60, "BUSY"), (40, "INSTANCES")])
def test_the_least_important_columns_go_first(width: int, gone: str) -> None:
    titles = overview([app(), LEGACY], width=width, colour=False)[0].split()
    assert {"APP", "STATE", "LAST/NEXT"} <= set(titles)
    assert gone not in titles
    assert gone or len(titles) == 11


def test_colour_changes_no_column() -> None:
    plain = overview([app(), LEGACY], width=100, colour=False)
    coloured = overview([app(), LEGACY], width=100, colour=True)
    assert "\x1b[32m" in coloured[1]
    assert "\x1b[31m" in coloured[2]
    for code in ("\x1b[32m", "\x1b[31m", "\x1b[0m"):
        coloured = [line.replace(code, "") for line in coloured]
    assert coloured == plain


def test_an_external_application_has_no_instances() -> None:
    line = overview([EXTERNAL], width=None, colour=False)[1].split()
    assert line[:9] == ["old", "unreachable", "-", "-", "-", "-", "-", "-", "-"]
    facts = details(EXTERNAL, width=None, colour=False)
    assert [fact.split()[0] for fact in facts] == ["old:", "kind", "socket", "why"]


def test_a_row_says_what_visitors_suffer_and_what_limits_the_help() -> None:
    line = overview([CROWDED], width=None, colour=False)[1]
    assert line.split()[2:8] == ["4/4", "of", "4", "2", "600/512", "3.2s"]
    assert line.endswith("the queue is full, 2 gave up, limited by max-processes")


def test_the_details_say_how_the_demand_is_met() -> None:
    lines = details(CROWDED, width=None, colour=False)
    assert "  demand      from 0 to 4 instances, load 94%" in lines
    assert "  queue       600 of 512 waiting, the longest for 3.2s, the queue is full, 2 gave up" in lines
    assert "  no more     limited by max-processes" in lines
    assert not [line for line in details(app(), width=None, colour=False) if "demand" in line or "no more" in line]


def test_an_older_daemon_that_says_less_is_shown_as_before() -> None:
    """As it is met after an upgrade, until it is restarted."""
    old = {key: value for key, value in app().items() if key not in NEW}
    assert overview([old], width=None, colour=False) == overview([app()], width=None, colour=False)
    assert details(old, width=None, colour=False) == details(app(), width=None, colour=False)


def test_the_details_have_a_row_for_each_instance() -> None:
    lines = details(app(reason="scaled by an operator", next="next start in 2 s"), width=None, colour=False)
    assert lines[0] == "blog: running"
    assert "  why         scaled by an operator" in lines
    assert "  next        next start in 2 s" in lines
    assert "  instances   4 of 8 ready, 2 connections open" in lines
    assert lines[-1].split() == ["4121", "ready", "3d", "04h", "3", "1.2s", "118M"]


def test_text_from_elsewhere_cannot_steer_the_terminal() -> None:
    trick = app(reason="\x1b]0;owned\x07")
    text = "\n".join([*overview([trick], width=None, colour=False), *details(trick, width=None, colour=False)])
    assert "\x1b" not in text
    assert text.count("\\x1b]0;owned\\x07") == 2


@pytest.mark.parametrize("state", ["starting", "backoff", "failed", "unreachable"])
def test_an_application_in_trouble_is_an_exit_code(state: str) -> None:
    assert exit_code([app(), app("x", state)], []) is ExitCode.NOT_RUNNING


def test_a_stopped_application_is_well_unless_it_was_asked_for() -> None:
    apps = [app("x", "stopped")]
    assert exit_code(apps, []) is ExitCode.DONE
    assert exit_code(apps, ["x"]) is ExitCode.NOT_RUNNING
    assert exit_code([app(), app("y", "idle")], ["blog", "y"]) is ExitCode.DONE


def test_a_table_without_rows_is_its_titles() -> None:
    assert layout([("A", "B")], [], width=None) == ["A  B"]
