"""Whoever waits for the start is told once, when there is nobody left to wait for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fcgipm.keeper.daemon.progress import Outcome, Progress


@pytest.fixture
def told() -> list[Outcome]:
    return []


@pytest.fixture
def progress(told: list[Outcome]) -> Progress:
    apps: list[Any] = [
        SimpleNamespace(name=name, autostart=name != "later", least=1) for name in ("one", "two", "later")
    ]
    made = Progress(apps, told.append, lambda: "running")
    made.begun()
    return made


def test_all_must_be_ready(progress: Progress, told: list[Outcome]) -> None:
    progress.ready("one")
    progress.ready("one")
    progress.ready("later")
    assert not told
    progress.ready("two")
    progress.failed("two", "late")
    assert told == [Outcome(0, "running")]


def test_what_starts_only_when_somebody_comes_is_not_waited_for(told: list[Outcome]) -> None:
    idle: Any = SimpleNamespace(name="idle", autostart=True, least=0)
    Progress([idle], told.append, lambda: "running").begun()
    assert told == [Outcome(0, "running")]


def test_what_was_stopped_is_not_waited_for(progress: Progress, told: list[Outcome]) -> None:
    progress.ready("one")
    progress.dropped("later")
    assert not told
    progress.dropped("two")
    assert told == [Outcome(0, "running")]


def test_what_was_removed_is_not_waited_for(progress: Progress, told: list[Outcome]) -> None:
    progress.only({"one", "three"})
    assert not told
    progress.only({"three"})
    assert told == [Outcome(0, "running")]


def test_the_first_failure_ends_it(progress: Progress, told: list[Outcome]) -> None:
    progress.failed("later", "not awaited")
    progress.failed("two", "exit status 9")
    assert [outcome.status for outcome in told] == [1]
    assert told[0].text.startswith("exit status 9; the daemon stays up")
