"""Without a free descriptor, and beside processes that nobody can stop: the keeper answers, and sees to all others."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.keeper import SERVE, Rig, python
from harness.programs import VFORK, compiled

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


def test_a_death_is_told_between_orders_that_take_long(rig: Start, place: Path) -> None:
    program = compiled(VFORK, place / "vfork")
    program.chmod(0o755)
    keeper = rig(f"[app.stubborn]\ncommand = ['{program}']\n{ONE}")
    puppet = keeper.puppet()
    puppet.order(wire.Spawn(instance=1, app="stubborn", generation=1))
    puppet.expect(wire.Spawned)
    one = puppet.spawn("one", 2)
    puppet.order(*(wire.Retire(instance=1, cut=False) for _ in range(6)))
    assert puppet.expect(wire.RemovalRefused).why == "unstoppable"
    os.kill(one.pid, signal.SIGKILL)
    puppet.expect(wire.Exited, instance=2)

    assert sum(isinstance(report, wire.RemovalRefused) for report in puppet.reports()) < 5
    puppet.order(wire.Retire(instance=1, cut=True))
    puppet.expect(wire.Exited, instance=1)
