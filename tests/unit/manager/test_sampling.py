"""What looks at real listeners make of each other; time is the test's."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from harness.visitors import accepted, connected, from_elsewhere, inode_of, tcp_listener, unix_listener

from fcgipm import wire
from fcgipm.config.schema import MILLISECOND, SECOND
from fcgipm.core.events import Instant, Sample
from fcgipm.manager.observing.listeners import Listeners
from fcgipm.manager.observing.sampling import AT_REST, Sampler
from fcgipm.manager.observing.strangers import Strangers

START = 100 * SECOND


class Scene:
    """A sampler, and the listeners that it is told of."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.listeners = Listeners()
        self.gave_up: list[tuple[str, int]] = []
        self.asked: list[str] = []
        self.strangers = Strangers(self.asked.append)
        self.sampler = Sampler(lambda app, count: self.gave_up.append((app, count)), self.strangers)

    def look(self, after: int = 0, *names: str) -> dict[str, Sample]:
        """Look at *names*, or at all, *after* so many nanoseconds since `START`."""
        return self.sampler.look(self.listeners, names or self.listeners.apps(), Instant(START + after))

    def seen(self, after: int = 0, app: str = "blog") -> Sample:
        return self.look(after, app)[app]

    def publish(self, listener: socket.socket, generation: int = 1, app: str = "blog") -> None:
        """Tell that *listener* is the public one."""
        name = listener.getsockname()
        address = f"unix:{name}" if isinstance(name, str) else f"tcp:{name[0]}:{name[1]}"
        self.listeners.learn(
            wire.ListenerFact(
                app=app, generation=generation, address=address, bound=address.removeprefix("unix:"), published=True,
                inode=inode_of(listener),
            )
        )  # fmt: skip


@pytest.fixture
def scene(place: Path) -> Iterator[Scene]:
    scene = Scene(place)
    yield scene
    scene.sampler.close()


@pytest.fixture(params=["unix", "127.0.0.1", "::1"])
def listener(request: pytest.FixtureRequest, stack: ExitStack, place: Path) -> socket.socket:
    if request.param == "unix":
        return unix_listener(stack, str(place / "s"), 16)
    return tcp_listener(stack, request.param)


def test_who_waits_ages_from_look_to_look(scene: Scene, stack: ExitStack, listener: socket.socket) -> None:
    scene.publish(listener)
    assert scene.seen() == Sample(queued=0, limit=16)
    connected(stack, listener)
    assert scene.seen(1).oldest_since == START + 1
    connected(stack, listener)
    found = scene.seen(5 * SECOND)
    assert (found.queued, found.waiting, found.oldest_since) == (2, 2, START + 1)
    accepted(stack, listener)
    assert scene.seen(6 * SECOND).oldest_since == START + 5 * SECOND
    accepted(stack, listener)
    assert scene.seen(7 * SECOND).oldest_since is None


def test_who_gave_up_is_told_once_and_does_not_age(scene: Scene, stack: ExitStack) -> None:
    listener = unix_listener(stack, str(scene.place / "s"), 16)
    scene.publish(listener)
    first, _, third = (connected(stack, listener) for _ in range(3))
    assert scene.seen(1).oldest_since == START + 1
    late = connected(stack, listener)
    first.close()
    third.close()
    for after in (2, 3):
        found = scene.seen(after)
        assert (found.queued, found.abandoned, found.waiting, found.oldest_since) == (4, 2, 2, START + 1)
    accepted(stack, listener)
    accepted(stack, listener)
    assert scene.seen(4).oldest_since == START + 2
    late.close()
    assert scene.seen(5).oldest_since is None
    assert scene.gave_up == [("blog", 2), ("blog", 1)]


def test_connection_time_is_what_was_busy_before_for_the_time_since(
    scene: Scene, stack: ExitStack, listener: socket.socket
) -> None:
    scene.publish(listener)
    server = []
    for _ in range(3):
        connected(stack, listener)
        server.append(stack.enter_context(listener.accept()[0]))
    found = scene.seen()
    assert (found.busy, found.connection_time, found.requests) == (3, 0, 3)
    server[0].close()
    found = scene.seen(100 * MILLISECOND)
    assert (found.busy, found.connection_time, found.requests) == (2, 300 * MILLISECOND, 0)
    connected(stack, listener)
    accepted(stack, listener)
    server[1].close()
    found = scene.seen(1100 * MILLISECOND)
    assert (found.busy, found.connection_time, found.requests) == (2, 2 * SECOND, 1)


def test_an_application_that_was_not_looked_at_for_long_was_at_rest(scene: Scene, stack: ExitStack) -> None:
    listener = unix_listener(stack, str(scene.place / "s"), 16)
    scene.publish(listener)
    connected(stack, listener)
    accepted(stack, listener)
    scene.look()
    assert scene.seen(AT_REST).connection_time == AT_REST
    assert scene.seen(2 * AT_REST + 1).connection_time == 0
    assert scene.seen(2 * AT_REST + 2).connection_time == 1


def test_a_new_generation_has_a_line_of_its_own_and_the_old_one_is_still_at_work(
    scene: Scene, stack: ExitStack
) -> None:
    old, new = (unix_listener(stack, str(scene.place / name), 16) for name in ("s.1", "s.2"))
    scene.publish(old, 1)
    clients = [connected(stack, old) for _ in range(3)]
    served = stack.enter_context(old.accept()[0])
    clients[2].close()
    assert scene.seen(1).oldest_since == START + 1
    connected(stack, new).close()
    scene.publish(new, 2)
    assert scene.seen(2) == Sample(queued=1, limit=16, abandoned=1, busy=1, connection_time=1)
    assert scene.gave_up == [("blog", 1), ("blog", 1)]
    new.accept()[0].close()
    for _ in range(2):
        connected(stack, new)
    accepted(stack, new)
    found = scene.seen(3)
    assert (found.queued, found.oldest_since, found.busy, found.requests) == (1, START + 3, 2, 1)
    served.close()
    old.close()
    found = scene.seen(4)
    assert (found.queued, found.oldest_since, found.busy) == (1, START + 3, 1)
    assert [one.fact.generation for one in scene.listeners.of("blog")] == [2], "what is closed is not looked for again"


def test_the_generations_of_a_tcp_application_share_the_line(scene: Scene, stack: ExitStack) -> None:
    listener = tcp_listener(stack, "127.0.0.1")
    scene.publish(listener, 1)
    connected(stack, listener)
    scene.look(1)
    scene.publish(listener, 2)
    found = scene.seen(9)
    assert (found.queued, found.oldest_since, found.busy) == (1, START + 1, 0)


def test_only_what_can_be_seen_is_in_the_answer(scene: Scene, stack: ExitStack) -> None:
    for app in ("blog", "closed"):
        scene.publish(unix_listener(stack, str(scene.place / app), 16), app=app)
    assert set(scene.look(1)) == {"blog", "closed"}
    assert set(scene.look(2, "blog", "unknown")) == {"blog"}
    gone = unix_listener(stack, str(scene.place / "gone"), 16)
    scene.publish(gone, app="closed")
    gone.close()
    assert set(scene.look(3)) == {"blog"}
    assert scene.look(4, "unknown") == {}


def test_a_kernel_that_cannot_be_asked_is_asked_again(scene: Scene, stack: ExitStack) -> None:
    unix, tcp = unix_listener(stack, str(scene.place / "s"), 16), tcp_listener(stack, "127.0.0.1")
    scene.publish(unix)
    scene.publish(tcp, app="tcp")
    old = unix_listener(stack, str(scene.place / "old"), 16)
    scene.publish(old, 1, "deployed")
    scene.publish(unix_listener(stack, str(scene.place / "new"), 16), 2, "deployed")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), before[1]))
    try:
        with suppress(OSError):
            while True:
                stack.callback(os.close, os.dup(2))
        assert scene.look(1) == {}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert {family: error.strerror for family, error in scene.sampler.failures.items()} == {
        socket.AF_UNIX: "Too many open files", socket.AF_INET: "Too many open files",
    }  # fmt: skip
    assert len(scene.listeners.of("deployed")) == 2, "who was not seen is not gone"
    assert set(scene.look(2)) == {"blog", "tcp", "deployed"}
    assert scene.sampler.failures == {}


def test_an_application_that_comes_back_begins_anew(scene: Scene, stack: ExitStack) -> None:
    listener = unix_listener(stack, str(scene.place / "s"), 16)
    scene.publish(listener)
    connected(stack, listener)
    scene.look(1)
    scene.listeners = Listeners()
    for number in range(200):
        scene.publish(unix_listener(stack, str(scene.place / str(number)), 1), app=str(number))
        scene.look(2)
        scene.listeners = Listeners()
    scene.publish(listener)
    assert scene.seen(3).oldest_since == START + 3


def asked(scene: Scene, after: int) -> list[str]:
    """Return about whom the keeper is asked then."""
    scene.asked.clear()
    scene.strangers.ask(scene.listeners.apps(), Instant(START + after))
    return scene.asked


@pytest.mark.root
def test_one_who_waits_and_is_not_from_here_has_the_keeper_asked(scene: Scene, stack: ExitStack) -> None:
    listener = unix_listener(stack, str(scene.place / "s"), 16)
    scene.publish(listener)
    connected(stack, listener)
    scene.look(0)
    assert asked(scene, 0) == [], "this one can be seen, wherever he is"
    from_elsewhere(stack, scene.place / "s")
    scene.look(1)
    assert asked(scene, 1) == [], "not everybody is checked at every look"
    accepted(stack, listener)
    scene.look(20 * SECOND)
    assert asked(scene, 20 * SECOND) == ["blog"]


def test_what_the_keeper_tells_is_added_to_what_is_seen(scene: Scene, stack: ExitStack) -> None:
    listener = unix_listener(stack, str(scene.place / "s"), 16)
    scene.publish(listener)
    assert scene.sampler.shows_nobody("blog")
    connected(stack, listener)
    scene.strangers.answer("blog", (7,), Instant(START))
    found = scene.seen(1 * SECOND)
    assert (found.busy, found.requests) == (1, 1)
    assert scene.sampler.shows_nobody("blog")
    inode = accepted(stack, listener)
    scene.strangers.answer("blog", (7, inode), Instant(START + 2 * SECOND))
    found = scene.seen(2 * SECOND)
    assert (found.busy, found.requests, found.connection_time) == (2, 1, 1 * SECOND)
    assert not scene.sampler.shows_nobody("blog")
    assert scene.seen(9 * SECOND).busy == 1, "the answer is too old"
