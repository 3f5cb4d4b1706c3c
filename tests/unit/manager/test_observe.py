"""What the engine and people are told of looks at real listeners; time is the test's."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from harness.visitors import accepted, connected, inode_of, unix_listener

from fcgipm import wire
from fcgipm.codec import to_json
from fcgipm.config.schema import SECOND, Application, Daemon
from fcgipm.core.commands import Severity
from fcgipm.core.events import InstanceId, Instant, Sample
from fcgipm.manager.observing.observe import Observer
from fcgipm.manager.state import Member, State

START = 100 * SECOND


class Scene:
    """A manager's state with one application, *blog*, whose listener is real."""

    def __init__(self, place: Path, stack: ExitStack, **options: object) -> None:
        self.listener = unix_listener(stack, str(place / "s"), 16)
        blog = Application(name="blog", command=("/bin/true",), socket=f"{place}/s", max_processes=4, **options)  # type: ignore[arg-type]  # each test knows the fields it names
        fact = wire.ListenerFact(
            app="blog", generation=1, address=f"unix:{place}/s", bound=f"{place}/s", published=True,
            inode=inode_of(self.listener),
        )  # fmt: skip
        definitions = wire.Definitions(
            daemon=to_json(Daemon()), applications=(to_json(blog),), externals=(), dynamic=None, access={}
        )
        self.state = State(
            wire.Snapshot(
                version="0", pid=1, uid=0, started_at=0, started_unix=0.0, definitions=definitions, instances=(),
                listeners=(fact,), notes={}, next_instance=1, ending=None,
            )
        )  # fmt: skip
        self.said: list[tuple[Severity, str]] = []
        self.sent: list[wire.Order] = []
        self.observer = Observer(
            self.state, lambda severity, _, text: self.said.append((severity, text)), self.sent.append
        )
        stack.callback(self.observer.close)

    def observe(self, after: int) -> Sample:
        """Return what the engine is told."""
        return self.observer.observe(["blog"], Instant(START + after)).samples["blog"]

    def glance(self, after: int) -> Sample:
        """Return what people are told."""
        return self.observer.glance(Instant(START + after))["blog"]

    def connected_ns(self) -> int | None:
        return self.state.tally.app("blog").connected_ns


class Reports:
    """What connectors have told."""

    def __init__(self, told: tuple[int, int] | None) -> None:
        self.told = told

    def take(self, app: str) -> tuple[int, int] | None:
        assert app == "blog"
        return self.told


def test_what_people_have_looked_at_is_not_lost_for_the_engine(place: Path, stack: ExitStack) -> None:
    scene = Scene(place, stack)
    scene.observe(0)
    connected(stack, scene.listener)
    accepted(stack, scene.listener)
    assert scene.glance(1 * SECOND).requests == 1
    assert scene.glance(3 * SECOND).connection_time == 2 * SECOND
    found = scene.observe(4 * SECOND)
    assert (found.connection_time, found.requests) == (3 * SECOND, 1)
    found = scene.observe(5 * SECOND)
    assert (found.connection_time, found.requests) == (1 * SECOND, 0)
    assert scene.connected_ns() == 4 * SECOND


def test_connection_time_is_counted_from_the_first_look_of_the_engine_on(place: Path, stack: ExitStack) -> None:
    scene = Scene(place, stack)
    connected(stack, scene.listener)
    accepted(stack, scene.listener)
    for after in range(3):
        scene.glance(after * SECOND)
    assert scene.connected_ns() is None, "of an application that the engine does not follow, nothing is kept"
    found = scene.observe(3 * SECOND)
    assert (found.connection_time, scene.connected_ns()) == (1 * SECOND, 1 * SECOND)


def test_reports_replace_what_was_seen_and_are_not_counted_twice(place: Path, stack: ExitStack) -> None:
    scene = Scene(place, stack)
    reports = scene.observer.reported = Reports((7 * SECOND, 40))
    scene.observe(0)
    connected(stack, scene.listener)
    accepted(stack, scene.listener)
    scene.glance(1 * SECOND)
    found = scene.observe(2 * SECOND)
    assert (found.busy, found.connection_time, found.requests) == (1, 7 * SECOND, 40)
    assert scene.connected_ns() is None, "who takes the reports counts them"
    reports.told = None
    found = scene.observe(3 * SECOND)
    assert (found.connection_time, found.requests, scene.connected_ns()) == (1 * SECOND, 0, 1 * SECOND)


def test_who_gave_up_is_counted_whoever_looks(place: Path, stack: ExitStack) -> None:
    scene = Scene(place, stack)
    clients = [connected(stack, scene.listener) for _ in range(3)]
    scene.glance(0)
    clients[0].close()
    scene.glance(1)
    clients[1].close()
    scene.observe(2)
    assert scene.state.tally.app("blog").abandoned == 2


def test_what_cannot_be_seen_is_said_once_and_that_it_can_be_seen_again(place: Path, stack: ExitStack) -> None:
    scene = Scene(place, stack)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), before[1]))
    try:
        with suppress(OSError):
            while True:
                stack.callback(os.close, os.dup(2))
        for after in range(3):
            assert scene.observer.observe(["blog"], Instant(START + after)).samples == {}
        assert scene.observer.glance(Instant(START + 3)) == {}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert scene.said == [
        (
            Severity.WARNING,
            "cannot see who waits for the applications: Too many open files; the next looks are taken as planned",
        )
    ]
    scene.observe(4)
    scene.observe(5)
    assert scene.said[1:] == [(Severity.INFO, "who waits for the applications can be seen again")]


@pytest.fixture
def session() -> Iterator[int]:
    """Give the leader of a session that is more than one process."""
    child = "import sys; print(flush=True); sys.stdin.read()"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate()


def test_instances_are_weighed_while_they_serve_and_not_too_often(place: Path, stack: ExitStack, session: int) -> None:
    scene = Scene(place, stack, max_memory=1 << 30)
    scene.state.instances = {5: Member("blog", session), 6: Member("blog", None), 7: Member("blog", 2**22 + 1)}
    assert scene.observe(0).memory == {}, "it serves nobody"
    connected(stack, scene.listener)
    accepted(stack, scene.listener)
    memory = scene.observe(1 * SECOND).memory
    assert memory.keys() == {InstanceId(5)}, "what cannot be read is not known"
    assert memory[InstanceId(5)] > 8 << 20, "two Pythons"
    assert scene.observe(30 * SECOND).memory == {}
    assert scene.observe(31 * SECOND).memory.keys() == {InstanceId(5)}


def test_instances_without_a_limit_are_not_weighed(place: Path, stack: ExitStack, session: int) -> None:
    scene = Scene(place, stack)
    scene.state.instances = {5: Member("blog", session)}
    connected(stack, scene.listener)
    accepted(stack, scene.listener)
    assert scene.observe(0).memory == {}
