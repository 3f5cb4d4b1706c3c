"""Without a free descriptor, and beside processes that nobody can stop: the keeper answers, and sees to all others."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.keeper import PUPPET, SERVE, Puppet, Rig, python
from harness.programs import VFORK, compiled
from harness.waiting import ended, until

from fcgipm import wire

Start = Callable[..., Rig]

ONE = f"[app.one]\n{python(SERVE)}\n"
TWO = f"[app.two]\n{python(SERVE)}\n"


@contextmanager
def without_descriptors(pid: int) -> Iterator[None]:
    """Let process *pid* open nothing more."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def test_every_order_is_answered_and_everything_heals(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    first = puppet.spawn("one", 1)
    keeper.configure(ONE + TWO)
    with without_descriptors(keeper.pid):
        puppet.order(
            wire.Spawn(instance=2, app="one", generation=1),
            wire.Spawn(instance=3, app="one", generation=2),
            wire.Publish(app="one", generation=3),
            wire.Retire(instance=1, cut=False),
            wire.Apply(request=7),
        )
        assert puppet.expect(wire.SpawnFailed, instance=2).error == "Too many open files"
        assert puppet.expect(wire.SpawnFailed, instance=3).step == "socket"
        assert puppet.expect(wire.PublishFailed).generation == 3
        assert puppet.expect(wire.RemovalRefused).why == "unstoppable"
        assert puppet.expect(wire.Applied, request=7).problems
        os.kill(first.pid, signal.SIGKILL)
        assert puppet.expect(wire.Exited).signal == signal.SIGKILL

    puppet.order(wire.Apply(request=8))
    assert puppet.expect(wire.Applied, request=8).problems == ()
    puppet.spawn("one", 4)
    puppet.spawn("two", 5)
    puppet.order(wire.Publish(app="one", generation=4))
    puppet.expect(wire.Published)
    puppet.retire(4)


def open_files(pid: int) -> list[str]:
    """Return what process *pid* has open, without its sockets: old listeners stay for a while."""
    links = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # just closed
            links.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return sorted("pipe" if link.startswith("pipe:") else link for link in links if not link.startswith("socket:"))


def test_whatever_the_first_missing_descriptor_is_for_nothing_stays_open_and_nobody_stays(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    before, failures = open_files(keeper.pid), 0
    children = Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children")
    limits = resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE)
    free = min(set(range(1000)) - set(map(int, os.listdir(f"/proc/{keeper.pid}/fd"))))
    for number in range(1, 17):
        resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE, (free + number, limits[1]))
        puppet.order(wire.Spawn(instance=number, app="one", generation=1))
        until(lambda: any(isinstance(one, wire.BecameReady | wire.SpawnFailed) for one in puppet.reports()))
        resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE, limits)
        if any(isinstance(one, wire.SpawnFailed) for one in puppet.reports()):
            assert puppet.expect(wire.SpawnFailed, instance=number).shortage
            failures += 1
        else:
            puppet.expect(wire.BecameReady, instance=number)
            puppet.retire(number)
        until(lambda: len(children.read_text().split()) == 1, what="nobody is left but the manager")
        until(lambda: open_files(keeper.pid) == before, what="nothing is left open")
    assert 4 <= failures < 16


def exhaust(pid: int, puppet: Puppet) -> int:
    """Let process *pid* open hardly more than it has, and *puppet* take the rest of it; return how many instances."""
    highest = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 16, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))
    number = 0
    while True:
        number += 1
        puppet.order(wire.Spawn(instance=number, app="one", generation=1))
        until(lambda: any(isinstance(one, wire.BecameReady | wire.SpawnFailed) for one in puppet.reports()))
        if any(isinstance(one, wire.SpawnFailed) for one in puppet.reports()):
            break
        puppet.expect(wire.BecameReady)
    generation = 1
    while not any(isinstance(one, wire.PublishFailed) for one in puppet.reports()):
        generation += 1
        puppet.order(wire.Publish(app="one", generation=generation))
        until(lambda: any(isinstance(one, wire.Published | wire.PublishFailed) for one in puppet.reports()))
        if any(isinstance(one, wire.Published) for one in puppet.reports()):
            puppet.expect(wire.Published)
    return number - 1


def test_a_manager_that_dies_is_replaced_though_no_descriptor_is_left(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    instances = exhaust(keeper.pid, puppet)
    assert instances > 1

    for _ in range(2):  # what was lent has come back
        puppet.end(1)
        puppet = keeper.puppet()
        assert len(puppet.snapshot.instances) == instances
        assert len([what for what, _ in puppet.handed if what == "pipes"]) == instances
    puppet.order(wire.Spawn(instance=1000, app="one", generation=1))
    assert puppet.expect(wire.SpawnFailed).error == "Too many open files"


def test_the_end_goes_on_though_no_descriptor_is_left(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    instances = exhaust(keeper.pid, puppet)
    os.kill(keeper.pid, signal.SIGTERM)
    puppet.expect(wire.Signalled, name="TERM")

    for number in range(1, instances + 1):
        puppet.retire(number)
    puppet.order(wire.Shutdown(status=0, finished=True))
    puppet.end(0)
    assert keeper.process.wait(30) == 0


def test_without_a_manager_the_keeper_empties_the_applications_itself(rig: Start, place: Path) -> None:
    program = place / "manager"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} {PUPPET} {place}/meet\n")
    program.chmod(0o755)
    keeper = rig(ONE, manager=str(program))
    puppet = keeper.puppet()
    busy = puppet.spawn("one", 1).pid
    before = len(os.listdir(f"/proc/{busy}/fd"))
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(keeper.socket("one")))
        until(lambda: len(os.listdir(f"/proc/{busy}/fd")) > before, what="the visitor is accepted")
        idle = puppet.spawn("one", 2).pid
        program.unlink()
        puppet.end(1)
        keeper.logged("the manager cannot be started")
        os.kill(keeper.pid, signal.SIGTERM)

        ended(idle, within=20)
        keeper.logged("there is no manager to stop the applications; the keeper does it by itself")
        assert not keeper.socket("one").exists()
        os.kill(busy, 0)
    assert keeper.process.wait(30) == 0
    assert "killed because" not in keeper.log()


def test_a_death_is_told_between_orders_that_take_long(rig: Start, place: Path) -> None:
    program = compiled(VFORK, place / "vfork")
    program.chmod(0o755)
    keeper = rig(f"[app.stubborn]\ncommand = ['{program}']\n{ONE}")
    puppet = keeper.puppet()
    puppet.order(wire.Spawn(instance=1, app="stubborn", generation=1))
    puppet.expect(wire.Spawned)
    one = puppet.spawn("one", 2)
    os.kill(keeper.pid, signal.SIGSTOP)  # so that the death is there before the first order is obeyed
    puppet.order(*(wire.Retire(instance=1, cut=False) for _ in range(6)))
    os.kill(one.pid, signal.SIGKILL)
    os.kill(keeper.pid, signal.SIGCONT)
    puppet.expect(wire.Exited, instance=2)

    told_before = sum(isinstance(report, wire.RemovalRefused) for report in puppet.reports())
    assert told_before < 5
    assert {puppet.expect(wire.RemovalRefused).why for _ in range(6)} == {"unstoppable"}
    puppet.order(wire.Retire(instance=1, cut=True))
    puppet.expect(wire.Exited, instance=1)
