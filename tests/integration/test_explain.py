"""`fcgipmctl explain` against a whole daemon: after each kind of decision it says what was decided, and why."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from harness.daemon import Daemon
from harness.keeper import SERVE, python
from harness.waiting import until

Start = Callable[..., Daemon]

QUICK = """
start-delay = 0.2
update-interval = 1
kill-interval = 1
min-server-life = 0
"""


def flexible(least: int, most: int, more: str = "") -> str:
    return f"[app.blog]\n{python(SERVE)}\nmin-processes = {least}\nmax-processes = {most}\n{QUICK}{more}"


def explained(daemon: Daemon, name: str = "blog") -> dict[str, Any]:
    done = daemon.ctl("--json", "explain", name)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def page(daemon: Daemon, name: str = "blog") -> str:
    """Return the page for people, as one line of words; each of its lines fits into 80 columns."""
    done = daemon.ctl("explain", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    return " ".join(done.stdout.split())


def decided(daemon: Daemon, action: str, rule: str) -> list[dict[str, Any]]:
    return [each for each in explained(daemon)["decisions"] if (each["action"], each["rule"]) == (action, rule)]


def visit(stack: ExitStack, daemon: Daemon) -> socket.socket:
    """Return a visitor who is connected and says nothing: who accepts him is busy."""
    visitor = stack.enter_context(socket.socket(socket.AF_UNIX))
    visitor.connect(str(daemon.socket("blog")))
    return visitor


def ready(daemon: Daemon, count: int) -> Callable[[], bool]:
    return lambda: len(daemon.instances("blog")) == count


def test_who_comes_to_an_idle_application_is_the_reason_of_its_instance(start_daemon: Start) -> None:
    daemon = start_daemon(flexible(0, 2), wait="answering")
    assert page(daemon).startswith("blog: idle: nobody wants an instance; the first who comes gets one")
    assert explained(daemon)["decisions"] == []

    with ExitStack() as stack:
        visit(stack, daemon)
        until(ready(daemon, 1), what="who came has an instance")

        (start,) = decided(daemon, "start", "somebody-came")
        found = explained(daemon)
        assert start["text"] == "somebody-came: one more, 1 in all"
        assert 0 <= found["time"] - start["time"] < 20
        assert (found["state"], found["policy"], found["busy"]) == ("running", "classic", 1)
        assert "ago: somebody-came: one more, 1 in all ready 0, starting 0" in page(daemon)


def test_who_comes_just_now_is_seen_before_the_answer(start_daemon: Start) -> None:
    daemon = start_daemon(flexible(0, 2).replace("start-delay = 0.2", "start-delay = 60"), wait="answering")
    with ExitStack() as stack:
        visit(stack, daemon)
        until(lambda: explained(daemon)["busy"] == 1, what="who came is served")
        assert explained(daemon)["next_start"].startswith("nobody waits; one more when")
        visit(stack, daemon)
        found = explained(daemon)
    expected = r"somebody waits; one more in (60|5\d) s, when the oldest has waited 60 s \(start-delay\)"
    assert re.fullmatch(expected, found["next_start"])
    assert found["queue"] == 1


def test_a_denied_start_is_explained_counted_once_and_logged_once(start_daemon: Start) -> None:
    daemon = start_daemon(flexible(0, 1), wait="answering")
    with ExitStack() as stack:
        for _ in range(3):
            visit(stack, daemon)
        until(lambda: any(each["times"] > 5 for each in decided(daemon, "deny", "start-delay")), within=30,
              what="a start was denied again and again")  # fmt: skip

        (denial,) = decided(daemon, "deny", "start-delay")
        found = explained(daemon)
    assert denial["inputs"]["limited by"] == "max-processes"
    assert denial["inputs"]["queue"] == "2 of 100"
    assert (found["denied"], found["queue"], found["busy"]) == ("max-processes", 2, 1)
    assert found["queue_oldest"] > 0.2
    assert found["next_start"] == "one more is wanted, but none is started: max-processes is reached"
    assert len(re.findall("no instance is started", daemon.log())) == 1
    metrics = daemon.ctl("metrics").stdout
    assert 'fcgipm_spawn_denied_total{app="blog",reason="max-processes"} 1.0' in metrics
    assert 'fcgipm_spawn_denied_total{app="blog",reason="backoff"} 0.0' in metrics


def test_a_kill_run_says_whom_it_took_and_why_the_last_one_stays(start_daemon: Start) -> None:
    daemon = start_daemon(flexible(0, 2), wait="answering")
    with ExitStack() as stack:
        visit(stack, daemon)
        visit(stack, daemon)
        until(ready(daemon, 2), what="who waited has an instance, too")
        (start,) = decided(daemon, "start", "start-delay")
        assert start["inputs"]["waiting"] == "1"
        until(lambda: decided(daemon, "keep", "kill-run"), within=30, what="a run took nobody")
        kept = decided(daemon, "keep", "kill-run")[-1]
    assert kept["text"].startswith("kill-run: nobody goes: ")
    until(lambda: len(decided(daemon, "remove", "kill-run")) > 1, within=30, what="one of two idle instances is gone")
    until(ready(daemon, 1), what="the other one is left")

    run, gone = decided(daemon, "remove", "kill-run")[-2:]
    assert run["text"] == "kill-run: 1 of 2 may go, if idle"
    assert run["inputs"]["load with one less"].endswith(" %")
    assert re.fullmatch(r"kill-run: blog/\d+ was idle and went, 1 left", gone["text"])
    assert "removal none goes: single-threshold = 0 keeps the last one" in page(daemon)


def test_back_off_is_explained_with_the_last_failure_and_the_next_try(start_daemon: Start) -> None:
    daemon = start_daemon('[app.blog]\ncommand = ["/bin/false"]\nrestart-delay = 0', wait="answering")
    daemon.wait_state("blog", "backoff")

    text = page(daemon)
    assert text.startswith(
        "blog: in back-off: 3 instances in a row lived shorter than 30 s (min-server-life); the last"
    )
    assert re.search(
        r"the last one was blog/\d+: exit status 1 after [\d.]+ m?s; one start is tried in (9|10) min", text
    )
    found = explained(daemon)
    assert (found["state"], found["policy"], found["next_removal"]) == ("backoff", "static", None)
    assert found["plans"][0]["text"] == "an instance is started (replacement: one try in back-off)"
    assert 500 < found["plans"][0]["in"] <= 600
    assert [each["action"] for each in found["decisions"]] == ["start", "end"] * 3


def test_what_an_operator_did_is_explained_as_his_wish(start_daemon: Start) -> None:
    daemon = start_daemon(flexible(1, 3))
    daemon.ctl("scale", "blog", "2")
    assert "scaled to 2 by an operator until `fcgipmctl scale blog auto`" in page(daemon)
    daemon.ctl("stop", "blog")
    assert page(daemon).startswith("blog: stopped by an operator; `fcgipmctl start blog` starts it")
    assert [each["rule"] for each in explained(daemon)["decisions"] if each["action"] == "wish"] == ["scale", "stop"]


def test_nothing_is_explained_of_what_is_not_known_and_little_of_what_is_elsewhere(start_daemon: Start) -> None:
    daemon = start_daemon('[external.old]\nhost = "127.0.0.1:1"', wait="answering")
    assert page(daemon, "old").endswith("managed elsewhere, fcgipm starts and removes nothing of it")
    done = daemon.ctl("explain", "odl")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'old'?" in done.stderr
