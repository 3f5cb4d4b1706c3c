"""What a new generation is proved by: a way to it before visitors have one, canaries, definitions of some only."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from harness.keeper import SERVE, Puppet, Rig, python
from harness.ports import free_port
from harness.waiting import ended, until

from fcgipm import wire

Start = Callable[..., Rig]

ONE = f"[app.one]\n{python(SERVE)}\n"
TWO = f"[app.two]\n{python(SERVE)}\n"


def tcp(port: int) -> str:
    return f"[app.one]\n{python(SERVE)}\nport = {port}\n"


def connection(puppet: Puppet, app: str, generation: int) -> socket.socket:
    """Return the connection that the keeper hands for this generation."""
    puppet.order(wire.Connect(app=app, generation=generation))
    puppet.expect(wire.Connected, app=app, generation=generation)
    (number,) = puppet.handed.pop((app, generation))
    return socket.socket(fileno=number)


def canary(puppet: Puppet, number: int, generation: int) -> wire.Spawned:
    puppet.order(wire.Spawn(instance=number, app="one", generation=generation, canary=True))
    spawned = puppet.expect(wire.Spawned, instance=number)
    puppet.expect(wire.BecameReady, instance=number)
    return spawned


def apply(puppet: Puppet, *apps: str, dry_run: bool = False) -> wire.Applied:
    puppet.order(wire.Apply(request=1, apps=apps or None, dry_run=dry_run))
    return puppet.expect(wire.Applied)


def told(changes: tuple[wire.ChangedKey, ...]) -> set[tuple[str | None, str, str]]:
    return {(change.app, change.key, change.effect) for change in changes}


# ── a change that is given up ────────────────────────────────────────────────────────────────────────────────────────


def test_the_old_generation_is_what_it_was_after_one_on_a_port_was_given_up(rig: Start) -> None:
    def apps(value: str) -> str:
        return f"{tcp(port)}initial-env = {{ CODE = '{value}' }}\n"

    def code(spawned: wire.Spawned) -> str:
        lines = Path(f"/proc/{spawned.pid}/environ").read_text().split("\0")
        return next(line for line in lines if line.startswith("CODE="))

    port = free_port()
    keeper = rig(apps("old"))
    puppet = keeper.puppet()
    assert code(puppet.spawn("one", 1)) == "CODE=old"
    keeper.configure(apps("new"))
    apply(puppet)
    assert code(puppet.spawn("one", 2, generation=2)) == "CODE=new"
    puppet.retire(2)
    puppet.retire(1)  # idle, say
    apply(puppet)

    assert code(puppet.spawn("one", 3, generation=1)) == "CODE=old"


# ── a way to a generation that nobody meets ──────────────────────────────────────────────────────────────────────────


def test_only_an_unpublished_generation_is_connected_to(rig: Start) -> None:
    puppet = rig(ONE).puppet()
    puppet.spawn("one", 1)
    puppet.spawn("one", 2, generation=2)

    with connection(puppet, "one", 2) as sock:
        assert not os.get_blocking(sock.fileno())
        assert sock.getpeername().endswith("/private/one.2")
        sock.send(b"x")
        until(lambda: sock.recv(1) == b"" if _readable(sock) else None, what="the instance has taken it and closed")

    puppet.order(wire.Publish(app="one", generation=2))
    puppet.expect(wire.Published)
    for generation in (1, 2, 3):
        puppet.order(wire.Connect(app="one", generation=generation))
        if generation == 1:  # not public any more: an old one is nobody's either
            puppet.expect(wire.Connected, generation=1)
        else:
            failed = puppet.expect(wire.ConnectFailed, generation=generation)
            assert failed.error == f"generation {generation} of one has no listener that visitors cannot reach"
    puppet.order(wire.Connect(app="nobody", generation=1))
    puppet.expect(wire.ConnectFailed, app="nobody")


def _readable(sock: socket.socket) -> bool:
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    return True


def test_a_port_to_which_an_application_moves_is_connected_to(rig: Start) -> None:
    port = free_port()
    keeper = rig(ONE)
    puppet = keeper.puppet()
    puppet.spawn("one", 1)
    keeper.configure(tcp(port))
    apply(puppet)
    puppet.spawn("one", 2, generation=2)

    with connection(puppet, "one", 2) as sock:
        assert not os.get_blocking(sock.fileno())
        assert sock.getpeername() == ("127.0.0.1", port)
        sock.send(b"x")
        until(lambda: _readable(sock), what="the instance has taken it and closed")


def test_a_full_queue_is_told_and_nobody_waits_for_it(rig: Start) -> None:
    puppet = rig(
        f"[app.one]\n{python('import time; time.sleep(600)')}\nlisten-queue-depth = 1\nready-timeout = 0.1\n"
    ).puppet()
    puppet.spawn("one", 1, generation=2)
    held = [connection(puppet, "one", 2) for _ in range(2)]

    puppet.order(wire.Connect(app="one", generation=2))

    assert puppet.expect(wire.ConnectFailed).error == "its queue is full"
    for sock in held:
        sock.close()


# ── canaries ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_canary_has_a_socket_of_its_own_that_goes_with_it(rig: Start) -> None:
    port = free_port()
    keeper = rig(tcp(port))
    puppet = keeper.puppet()
    puppet.spawn("one", 1)

    canary(puppet, 2, 2)

    assert keeper.bound() == [".c2"]
    assert not (keeper.runtime / ".c2").exists()
    with connection(puppet, "one", 2) as sock:
        assert sock.family == socket.AF_UNIX
        sock.send(b"x")
        until(lambda: _readable(sock), what="an answer of the canary")
    assert puppet.retire(2, cut=True).how == "cut"
    until(lambda: keeper.bound() == [], what="its socket is gone")
    puppet.order(wire.Connect(app="one", generation=2))
    puppet.expect(wire.ConnectFailed)
    with socket.create_connection(("127.0.0.1", port)) as visitor:  # the one of visitors is as it was
        visitor.send(b"x")
        assert visitor.recv(1) == b""


def test_canaries_are_few(rig: Start) -> None:
    puppet = rig(tcp(free_port())).puppet()
    for number in range(1, 5):
        canary(puppet, number, 2)

    puppet.order(wire.Spawn(instance=5, app="one", generation=2, canary=True))

    assert puppet.expect(wire.SpawnFailed).error == "one has 4 canaries"
    puppet.expect(wire.Denied)


def test_the_next_manager_finds_no_canary(rig: Start) -> None:
    keeper = rig(tcp(free_port()))
    puppet = keeper.puppet()
    puppet.spawn("one", 1)
    spawned = canary(puppet, 2, 2)

    puppet.end(0)

    snapshot = keeper.puppet().snapshot
    assert [fact.instance for fact in snapshot.instances] == [1]
    ended(spawned.pid)
    until(lambda: keeper.bound() == [], what="its socket is gone")


# ── definitions of some ──────────────────────────────────────────────────────────────────────────────────────────────


def test_only_the_named_are_taken_over(rig: Start) -> None:
    keeper = rig(ONE + TWO)
    puppet = keeper.puppet()
    puppet.spawn("two", 1)
    changed = "[app.{}]\n{}\npriority = 3\n"
    keeper.configure(
        changed.format("one", python(SERVE)) + changed.format("two", python(SERVE)) + f"[app.three]\n{python(SERVE)}\n",
        daemon="log-level = 'debug'",
    )

    applied = apply(puppet, "one")

    assert applied.problems == ()
    assert told(applied.changes) == {("one", "priority", "new generation")}
    assert told(applied.pending) == {
        (None, "log-level", "in place"),
        ("two", "priority", "new generation"),
        ("three", "", "added"),
    }
    assert applied.definitions is not None
    assert {one["name"]: one.get("priority") for one in applied.definitions.applications} == {"one": 3, "two": None}
    assert not keeper.socket("three").exists()
    puppet.spawn("one", 2, generation=2)
    assert os.getpriority(os.PRIO_PROCESS, _pid(puppet, 3, "two")) == 0

    assert told(apply(puppet, "three", "two").changes) == {
        ("two", "priority", "new generation"),
        ("three", "", "added"),
    }
    assert keeper.socket("three").exists()
    assert told(apply(puppet).changes) == {(None, "log-level", "in place")}


def _pid(puppet: Puppet, number: int, app: str) -> int:
    return puppet.spawn(app, number).pid


def test_a_named_one_may_be_gone(rig: Start) -> None:
    keeper = rig(ONE + TWO)
    puppet = keeper.puppet()
    keeper.configure(f"[app.three]\n{python(SERVE)}\n")

    applied = apply(puppet, "two")

    assert told(applied.changes) == {("two", "", "removed")}
    assert told(applied.pending) == {("one", "", "removed"), ("three", "", "added")}
    assert (keeper.socket("one").exists(), keeper.socket("two").exists()) == (True, False)


def test_what_cannot_be_taken_over_alone_changes_nothing(rig: Start) -> None:
    keeper = rig(ONE + TWO)
    puppet = keeper.puppet()
    keeper.configure(ONE.replace("\n", "\nsocket = 'two.sock'\n", 1) + TWO.replace("\n", "\nsocket = 'one.sock'\n", 1))

    applied = apply(puppet, "one")

    (problem,) = applied.problems
    assert problem.startswith("app.one: ")
    assert problem.endswith("/two.sock is still that of two, which has another in the file; name two, too")
    assert applied.definitions is None
    applied = apply(puppet, "tow")
    (problem,) = applied.problems
    assert applied.unknown == ("tow",)
    assert problem == f"app.tow: there is no such application to reload: it is not in {keeper.config}"


def test_a_dry_run_changes_nothing(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    keeper.configure(ONE + "priority = 2\n" + TWO)

    for _ in range(2):
        applied = apply(puppet, dry_run=True)
        assert told(applied.changes) == {("one", "priority", "new generation"), ("two", "", "added")}
        assert applied.definitions is None
    assert not keeper.socket("two").exists()
    assert told(apply(puppet, "two", dry_run=True).pending) == {("one", "priority", "new generation")}


def test_what_is_asked_for_together_is_answered_each_for_itself(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    keeper.configure(ONE + "priority = 2\n" + TWO)
    puppet.order(
        wire.Apply(request=1, apps=("one",)),
        wire.Apply(request=2, apps=("one",), dry_run=True),
        wire.Apply(request=3),
        wire.Apply(request=4),
        wire.Apply(request=5, apps=("nobody",)),
    )

    answers = [puppet.expect(wire.Applied, request=number) for number in range(1, 6)]

    assert [told(answer.changes) for answer in answers] == [
        {("one", "priority", "new generation")}, set(), {("two", "", "added")}, set(), set()
    ]  # fmt: skip
    assert [len(answer.problems) for answer in answers] == [0, 0, 0, 0, 1]


def test_a_generation_keeps_what_it_began_with(rig: Start) -> None:
    keeper = rig("[app.one]\ncommand = ['/bin/sh', '-c', 'echo $0 $X; exec sleep 600', 'first']\nready-timeout = 0.1\n")
    puppet = keeper.puppet()
    puppet.spawn("one", 1)
    keeper.configure(
        "[app.one]\ncommand = ['/bin/sh', '-c', 'echo $0; exec sleep 600', 'second']\nready-timeout = 0.1\n"
    )
    apply(puppet, "one")

    puppet.spawn("one", 2)
    puppet.spawn("one", 3, generation=2)

    assert [_said(puppet, number) for number in (1, 2, 3)] == ["first", "first", "second"]


def _said(puppet: Puppet, number: int) -> str:
    return os.read(puppet.descriptors[number][0], 100).decode().strip()
