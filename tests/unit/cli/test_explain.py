"""The page of `fcgipmctl explain`."""

from __future__ import annotations

import time
from typing import Any

import pytest

from fcgipm.cli.explain import SHOWN, page

NOW = time.mktime((2026, 11, 20, 3, 0, 0, 0, 0, -1))


def decision(
    text: str, ago: float = 12, *, since: float | None = None, times: int = 1, **inputs: str
) -> dict[str, Any]:
    return {
        "time": NOW - ago, "since": NOW - (ago if since is None else since), "times": times, "action": "start",
        "rule": "start-delay", "text": text, "inputs": inputs,
    }  # fmt: skip


def found(**more: Any) -> dict[str, Any]:
    return {
        "version": 1, "time": NOW, "name": "blog", "kind": "static", "state": "running", "policy": "classic",
        "summary": "running, 2 ready, 0 to 4 as the demand needs (classic policy)",
        "next_start": "somebody waits; one more in 1.8 s, when the oldest has waited 3 s (start-delay)",
        "next_removal": "none goes: its first update-interval is not over",
        "processes": 2, "processes_min": 0, "processes_max": 4, "ready": 2, "starting": 0, "queue": 3,
        "queue_limit": 100, "queue_oldest": 1.2, "queue_abandoned": 1, "busy": 2, "start_delay": 3.0, "load": 0.12,
        "load_left": 0.24, "threshold": 0.5, "in_all": None, "in_all_max": None, "denied": None,
        "decisions": [decision("start-delay: one more, 2 in all", waiting="3", oldest="3 s")],
        "plans": [{"in": 0.08, "time": NOW + 0.08, "text": "looked at: who waits, and what is served"}], **more,
    }  # fmt: skip


EXTERNAL: dict[str, Any] = dict.fromkeys(found()) | {
    "time": NOW, "name": "old", "kind": "external", "state": "unreachable", "decisions": [], "plans": [],
    "summary": "unreachable: connection refused; managed elsewhere, fcgipm starts and removes nothing of it",
}  # fmt: skip


def test_the_sentence_first_then_numbers_then_what_was_decided_and_what_comes() -> None:
    assert (
        "\n".join(page(found(), width=None, colour=False))
        == """\
blog: running, 2 ready, 0 to 4 as the demand needs (classic policy)

  instances   2 ready, 0 starting, 2 wanted; 0 to 4 configured
  queue       3 of 100, 1 of them gave up, the oldest has waited 1.2s
              (start-delay 3.0s)
  busy        2 accepted connections
  load        12.0 %, 24.0 % with one less (below 50 % one may go)

  next start  somebody waits; one more in 1.8 s, when the oldest has waited 3 s
              (start-delay)
  removal     none goes: its first update-interval is not over

Decided
  02:59:48   12s ago: start-delay: one more, 2 in all
               waiting 3, oldest 3 s

Next
  in 0.1s    looked at: who waits, and what is served"""
    )


@pytest.mark.parametrize("width", [None, 40, 60, 80, 200])
def test_no_line_is_longer_than_the_terminal_or_80(width: int | None) -> None:
    long = found(summary="running; " + "word " * 100, decisions=[decision("word " * 100, reason="word " * 50)])
    for each in (found(), EXTERNAL, long):
        assert max(map(len, page(each, width=width, colour=False))) <= (width or 80)


def test_what_was_decided_again_and_again_says_how_often_since_when() -> None:
    again = decision("start-delay: no, max-processes is reached", 1, since=3000, times=18)
    text = " ".join(" ".join(page(found(decisions=[again]), width=None, colour=False)).split())
    assert "02:59:59 1s ago: start-delay: no, max-processes is reached (18 times since 02:10:00)" in text


def test_what_was_long_ago_has_a_day_instead_of_a_time() -> None:
    text = "\n".join(page(found(decisions=[decision("initial", 3 * 86_400)]), width=None, colour=False))
    assert "  17 Nov     3d 00h ago: initial" in text


def test_only_the_last_decisions_are_shown_and_that_is_said() -> None:
    many = [decision(f"number {number}") for number in range(32)]
    lines = page(found(decisions=many), width=None, colour=False)
    shown = [number for number in range(32) if any(line.endswith(f" number {number}") for line in lines)]
    assert f"Decided (the last {SHOWN} of 32; --json has all)" in lines
    assert shown == [*range(32 - SHOWN, 32)]


def test_an_application_that_is_managed_elsewhere_has_a_sentence_alone() -> None:
    assert page(EXTERNAL, width=200, colour=False) == [f"old: {EXTERNAL['summary']}"]


def test_a_dynamic_one_says_how_many_there_are_in_all() -> None:
    lines = page(found(kind="dynamic", in_all=12, in_all_max=50), width=None, colour=False)
    assert "  in all      12 of 50 dynamic instances" in lines


def test_the_last_one_stays_where_single_threshold_is_0() -> None:
    lines = page(found(ready=1, load_left=0.12, threshold=0.0), width=None, colour=False)
    assert "  load        12.0 % (the last one stays)" in lines


def test_what_cannot_be_seen_is_left_out() -> None:
    lines = page(found(queue=None, busy=None, load=None, next_start=None, next_removal=None), width=None, colour=False)
    assert not [line for line in lines if line.startswith(("  queue", "  busy", "  load", "  next start", "  removal"))]


def test_text_from_elsewhere_cannot_steer_the_terminal() -> None:
    trick = found(summary="\x1b]0;owned\x07", decisions=[decision("\x1b[2J", reason="\x1b[0m")])
    assert "\x1b" not in "\n".join(page(trick, width=None, colour=False))


def test_colour_is_the_state_alone() -> None:
    plain, coloured = (page(found(), width=80, colour=colour) for colour in (False, True))
    assert coloured[0] == plain[0].replace("running", "\x1b[32mrunning\x1b[0m", 1)
    assert coloured[1:] == plain[1:]
