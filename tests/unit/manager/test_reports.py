"""What comes of reports inside the manager: numbers for who looks at applications, and hints to look."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from harness.clockwork import Clockwork, on_demand, pass_time, snapshot
from harness.waiting import until

from fcgipm.core import events
from fcgipm.core.commands import Severity
from fcgipm.core.events import InstanceId, Readiness
from fcgipm.manager.driver import Driver
from fcgipm.manager.observing.reports import LATELY, PAUSE, Inbox, Reports
from fcgipm.manager.state import State
from fcgipm.reporting import Report, encode

SECOND = 1_000_000_000


class Recorder(Driver):
    """Keeps what it was told."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.steps: list[events.Event] = []

    def step(self, event: events.Event) -> None:
        """Note it, and do it."""
        self.steps.append(event)
        super().step(event)


class Scene:
    """Reports that are handed on to a real driver, whose keeper says nothing."""

    def __init__(self, receiver: socket.socket, sender: socket.socket) -> None:
        self.state = State(snapshot(on_demand()))
        self.said: list[str] = []
        self.driver = Recorder(self.state, lambda _order: None, self.say, self.fail)
        self.reports = Reports(receiver, self.driver, os.geteuid())
        self._sender = sender

    def say(self, _severity: Severity, _app: str | None, text: str) -> None:
        """Keep what is said."""
        self.said.append(text)

    def fail(self, error: Exception) -> None:
        """Fail the test."""
        raise AssertionError from error

    async def send(self, *reports: Report) -> None:
        """Send *reports*, and wait until they were handed on."""
        before = self.state.tally.reports
        for report in reports:
            self._sender.send(encode(report))
        deadline = time.monotonic() + 20
        while self.state.tally.reports < before + len(reports):
            await asyncio.to_thread(lambda: None)  # the thread has its turn
            await pass_time(PAUSE)
            assert time.monotonic() < deadline, "not handed on"

    def make_ready(self) -> None:
        """Have an instance that is ready."""
        now, number = self.state.now(), InstanceId(1)
        self.driver.step(events.Asked(app="blog"))
        self.driver.step(events.Spawned(instance=number, pid=100, at=now))
        self.driver.step(events.BecameReady(instance=number, how=Readiness.ACCEPTING, at=now))


@pytest.fixture
def play() -> Iterator[Callable[[Callable[[Scene], Awaitable[None]]], None]]:
    """Give a function that runs an act."""

    def run(act: Callable[[Scene], Awaitable[None]]) -> None:
        async def main() -> None:
            scene = Scene(receiver, sender)
            with contextlib.closing(scene.driver.observer):
                await act(scene)

        with asyncio.Runner(loop_factory=Clockwork) as runner:
            runner.run(main())

    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    with receiver, sender:
        yield run
        receiver.shutdown(socket.SHUT_RDWR)
        until(lambda: not any(isinstance(thread, Inbox) for thread in threading.enumerate()))


def good(response: float = 0.25) -> Report:
    return Report(target="blog", status=200, connect=0.0, response=response)


Play = Callable[[Callable[[Scene], Awaitable[None]]], None]


def test_who_looks_gets_what_was_reported_since_the_last_look(play: Play) -> None:
    async def act(scene: Scene) -> None:
        assert scene.reports.take("blog") is None  # nobody reports: what is seen holds
        await scene.send(good(), good(0.5))
        assert scene.reports.take("blog") == (SECOND * 3 // 4, 2)
        assert scene.reports.take("blog") == (0, 0)
        await scene.send(good())
        assert scene.reports.take("blog") == (SECOND // 4, 1)
        assert scene.reports.take("shop") is None

    play(act)


def test_where_reports_have_ceased_what_is_seen_holds_again(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.send(good())
        scene.reports.take("blog")
        await pass_time(LATELY - 1)
        assert scene.reports.take("blog") == (0, 0)
        await pass_time(2)
        assert scene.reports.take("blog") is None

    play(act)


def test_a_failed_connect_is_a_hint_to_look_where_there_is_an_instance_and_nothing_more(play: Play) -> None:
    async def act(scene: Scene) -> None:
        failed = Report(target="blog", status=502, response=0.0, reached=False)
        await scene.send(failed)
        assert scene.driver.steps == []  # whoever waits there, the keeper tells of

        scene.make_ready()
        scene.driver.steps.clear()
        await scene.send(good())
        assert events.SomebodyWaits(app="blog", generation=1) not in scene.driver.steps
        await scene.send(*[failed] * 500)
        hints = scene.driver.steps.count(events.SomebodyWaits(app="blog", generation=1))
        assert 0 < hints < 50, "one for each batch that was read, however many are in it"

    play(act)


def test_what_goes_wrong_in_the_thread_is_told() -> None:
    told: list[Exception] = []
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def find(_target: str) -> str | None:
        raise ZeroDivisionError

    with receiver, contextlib.closing(sender):
        inbox = Inbox(receiver, believed={os.geteuid()}, find=find, came=lambda: None, failed=told.append)
        inbox.start()
        sender.send(encode(good()))
        until(lambda: told)
        inbox.join(10)

    assert isinstance(told[0], ZeroDivisionError)
