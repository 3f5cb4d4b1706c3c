"""A new configuration: checked whole, then only what differs is touched."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.keeper import SERVE, Puppet, Rig, python
from harness.ports import free_port
from harness.waiting import until

from fcgipm import wire

Start = Callable[..., Rig]

ONE = f"[app.one]\n{python(SERVE)}\n"
TWO = f"[app.two]\n{python(SERVE)}\n"


def apply(keeper: Rig, puppet: Puppet, apps: str, *, daemon: str = "", request: int = 1) -> wire.Applied:
    keeper.configure(apps, daemon=daemon)
    puppet.order(wire.Apply(request=request))
    return puppet.expect(wire.Applied, request=request)


def keys(applied: wire.Applied) -> set[tuple[str | None, str, str]]:
    return {(change.app, change.key, change.effect) for change in applied.changes}


def test_a_bad_file_changes_nothing(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()

    applied = apply(keeper, puppet, f"{TWO}[app.three]\nprocesses = 'many'\n")

    assert any("app.three" in problem for problem in applied.problems)
    assert applied.definitions is None
    assert keeper.socket("one").exists()
    assert not keeper.socket("two").exists()
    puppet.spawn("one", 1)


def test_a_socket_that_cannot_be_bound_changes_nothing(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    keeper.socket("two").write_text("a file")

    applied = apply(keeper, puppet, f"{TWO}[app.three]\n{python(SERVE)}\n")

    assert len(applied.problems) == 1
    assert "two.sock" in applied.problems[0]
    assert keeper.socket("one").exists()
    assert not keeper.socket("three").exists()
    assert keeper.bound() == ["one.1"]
    keeper.socket("two").unlink()


def test_what_can_be_changed_in_place_is(rig: Start) -> None:
    keeper = rig(f"{ONE}socket-mode = '0600'\n")
    puppet = keeper.puppet()
    spawned = puppet.spawn("one", 1)
    before = keeper.socket("one").stat().st_ino

    applied = apply(keeper, puppet, f"{ONE}socket-mode = '0666'\nlisten-queue-depth = 3\nprocesses = 4\n")

    assert keys(applied) == {
        ("one", "socket-mode", "in place"),
        ("one", "listen-queue-depth", "in place"),
        ("one", "processes", "in place"),
    }
    found = keeper.socket("one").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_ino) == (0o666, before)
    assert applied.definitions is not None
    assert applied.definitions.applications[0]["processes"] == 4
    os.kill(spawned.pid, 0)


def test_an_added_application_has_its_socket_at_once(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()

    applied = apply(keeper, puppet, ONE + TWO)

    assert keys(applied) == {("two", "", "added")}
    assert {fact.app: fact.published for fact in applied.listeners} == {"one": True, "two": True}
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(keeper.socket("two")))
        puppet.spawn("two", 1)


def test_a_removed_application_is_unreachable_at_once_and_its_instances_finish(rig: Start) -> None:
    keeper = rig(ONE + TWO)
    puppet = keeper.puppet()
    puppet.spawn("two", 1)
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(keeper.socket("two")))
        applied = apply(keeper, puppet, ONE)

        assert keys(applied) == {("two", "", "removed")}
        assert not keeper.socket("two").exists()
        visitor.sendall(b"x")
        visitor.settimeout(10)
        assert visitor.recv(1) == b""
    puppet.retire(1)
    until(lambda: keeper.bound() == ["one.1"])
    puppet.order(wire.Spawn(instance=2, app="two", generation=1))
    assert "no application" in puppet.expect(wire.SpawnFailed).error


def test_an_application_that_comes_back_while_its_last_instance_serves_gets_a_new_socket(rig: Start) -> None:
    keeper = rig(ONE + TWO)
    puppet = keeper.puppet()
    puppet.spawn("two", 1)
    apply(keeper, puppet, ONE)

    applied = apply(keeper, puppet, ONE + TWO, request=2)

    assert {(fact.app, fact.generation) for fact in applied.listeners if fact.published} == {("one", 1), ("two", 2)}
    assert keeper.bound() == ["one.1", "two.1", "two.2"]
    puppet.spawn("two", 2, generation=2)


def test_a_new_address_is_bound_at_once_and_public_when_it_is_published(rig: Start, place: Path) -> None:
    (place / "new").mkdir()
    keeper = rig(ONE)
    puppet = keeper.puppet()
    puppet.spawn("one", 1)

    applied = apply(keeper, puppet, f"{ONE}socket = '{place}/new/one.sock'\n")
    assert keys(applied) == {("one", "socket", "new listener")}
    assert keeper.socket("one").exists()
    assert not (place / "new" / "one.sock").exists()
    puppet.spawn("one", 2, generation=2)
    puppet.order(wire.Publish(app="one", generation=2))

    assert puppet.expect(wire.Published).listener.address == f"unix:{place}/new/one.sock"
    assert (place / "new" / "one.sock").exists()
    assert not keeper.socket("one").exists()


@pytest.mark.parametrize("back", [False, True])
def test_a_unix_socket_becomes_a_port_and_the_other_way_round(rig: Start, back: bool) -> None:
    port = free_port()
    before, after = (f"{ONE}port = {port}\n", ONE) if back else (ONE, f"{ONE}port = {port}\n")
    keeper = rig(before)
    puppet = keeper.puppet()
    puppet.spawn("one", 1)

    apply(keeper, puppet, after)
    puppet.spawn("one", 2, generation=2)
    puppet.order(wire.Publish(app="one", generation=2))
    fact = puppet.expect(wire.Published).listener
    puppet.retire(1)

    assert fact.address == (f"unix:{keeper.socket('one')}" if back else f"tcp:127.0.0.1:{port}")
    assert keeper.socket("one").exists() is back


def test_what_needs_a_restart_is_said_and_not_done(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()

    applied = apply(keeper, puppet, ONE, daemon='pid-file = "/nowhere/else.pid"')

    assert keys(applied) == {(None, "pid-file", "needs a restart of fcgipm")}
    assert any("restart" in warning for warning in applied.warnings)


def test_another_log_level_holds_at_once(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    apply(keeper, puppet, ONE, daemon='log-level = "debug"\nlog-format = "json"')
    puppet.end(0)
    keeper.puppet()

    keeper.logged('"text": "the manager is started')


def test_a_changed_command_is_what_the_next_instance_runs(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    apply(keeper, puppet, f"[app.one]\n{python(SERVE, 'mark')}\n")
    spawned = puppet.spawn("one", 1)

    assert Path(f"/proc/{spawned.pid}/cmdline").read_bytes().split(b"\0")[-2] == b"mark"


def served(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as visitor:
        visitor.sendall(b"x")
        return visitor.recv(1) == b""


def test_a_port_goes_from_one_application_to_another_without_a_pause(rig: Start) -> None:
    port = free_port()
    keeper = rig(f"{ONE}port = {port}\n")
    puppet = keeper.puppet()
    puppet.spawn("one", 1)

    applied = apply(keeper, puppet, f"{TWO}port = {port}\n")

    assert applied.problems == ()
    assert [(fact.app, fact.address) for fact in applied.listeners if fact.published] == [
        ("two", f"tcp:127.0.0.1:{port}")
    ]
    assert served(port)  # by the old one's instance, until the new one has its own
    puppet.spawn("two", 2)
    puppet.retire(1)
    assert served(port)
    assert [fact.app for fact in keeper_listeners(keeper, puppet)] == ["two"]


def test_two_applications_may_exchange_their_ports(rig: Start) -> None:
    first, second = free_port(), free_port()
    keeper = rig(f"{ONE}port = {first}\n{TWO}port = {second}\n")
    puppet = keeper.puppet()

    applied = apply(keeper, puppet, f"{ONE}port = {second}\n{TWO}port = {first}\n")
    assert applied.problems == ()
    for app in ("one", "two"):
        puppet.order(wire.Publish(app=app, generation=2))
        assert puppet.expect(wire.Published).listener.app == app

    puppet.spawn("one", 1, generation=2)
    assert served(second)
    with socket.create_connection(("127.0.0.1", first), timeout=10) as waiting:
        puppet.spawn("two", 2, generation=2)
        waiting.sendall(b"x")
        assert waiting.recv(1) == b""
    assert {one.app for one in puppet.reports() if isinstance(one, wire.SomebodyWaits)} == {"two"}


def keeper_listeners(keeper: Rig, puppet: Puppet) -> tuple[wire.ListenerFact, ...]:
    puppet.end(1)
    return keeper.puppet().snapshot.listeners


def test_while_the_file_is_read_deaths_are_told_and_many_requests_are_one_more_reading(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    one = puppet.spawn("one", 1)
    before = keeper.config.read_text()
    many = "".join(f"[external.e{number}]\nhost = '127.0.0.1:9'\n" for number in range(3_000))  # long to read
    keeper.config.write_text(before + many)
    os.kill(keeper.pid, signal.SIGSTOP)  # so that the death is there before the reading has begun
    puppet.order(wire.Apply(request=1))
    os.kill(one.pid, signal.SIGKILL)
    os.kill(keeper.pid, signal.SIGCONT)
    puppet.order(*(wire.Apply(request=number) for number in range(2, 200)))

    def told() -> list[type[wire.Report]]:
        return [type(one) for one in puppet.reports() if isinstance(one, wire.Exited | wire.Applied)]

    assert until(told)[0] is wire.Exited, "the keeper has waited for the file"
    puppet.expect(wire.Exited, instance=1)
    first, last = (puppet.expect(wire.Applied, request=number, within=60) for number in (1, 199))
    assert first.problems == last.problems == ()
