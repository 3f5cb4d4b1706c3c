"""Visitors from another network name space: no table shows whom instances serve, so the keeper finds out."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness.keeper import SERVE, Puppet, Rig, python
from harness.visitors import from_elsewhere, leave
from harness.waiting import until

from fcgipm import wire

ONE = f"[app.one]\n{python(SERVE)}\nready-timeout = 30\n"


@pytest.fixture
def puppet(rig: Callable[..., Rig]) -> Puppet:
    return rig(ONE).puppet()


def unseen(puppet: Puppet) -> tuple[int, ...] | None:
    """Return what the keeper says, None where it is too early for another look."""
    puppet.order(wire.Count(app="one"), wire.Count(app="nobody"))
    puppet.expect(wire.Denied, order="Count")
    if not any(isinstance(report, wire.Unseen) for report in puppet.reports()):
        return None
    return puppet.expect(wire.Unseen, app="one").connections


def public(puppet: Puppet) -> Path:
    return Path(puppet.snapshot.listeners[0].address.removeprefix("unix:"))


def here(puppet: Puppet, stack: ExitStack) -> None:
    """Let somebody come from this name space."""
    stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(public(puppet)))


@pytest.mark.root
def test_they_are_found_while_they_are_served(puppet: Puppet, stack: ExitStack) -> None:
    for number in (1, 2, 3):
        puppet.spawn("one", number)
    here(puppet, stack)
    assert until(lambda: unseen(puppet) == (), what="the one from here is seen by everybody")
    visitors = [from_elsewhere(stack, public(puppet)) for _ in range(3)]
    until(lambda: len(set(unseen(puppet) or ())) == 2, what="two are served; the third one waits, and that is seen")
    leave(visitors[0])
    leave(visitors[1])
    until(lambda: len(unseen(puppet) or (1, 2)) == 1, what="only the third one is served")


@pytest.mark.root
def test_an_instance_that_serves_one_is_ready(puppet: Puppet, stack: ExitStack) -> None:
    """Although it is asleep in a read whenever it is looked at."""
    from_elsewhere(stack, public(puppet))
    puppet.order(wire.Spawn(instance=1, app="one", generation=1))
    assert puppet.expect(wire.BecameReady, instance=1).how == "serving"


def test_who_is_removed_still_serves(rig: Callable[..., Rig]) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    puppet.spawn("one", 1)
    keeper.configure("")
    puppet.order(wire.Apply(request=1))
    puppet.expect(wire.Applied)

    assert until(lambda: unseen(puppet) == (), what="it is looked at although it is not public any more")


def test_the_keeper_does_not_spend_its_time_on_that(puppet: Puppet) -> None:
    for number in (1, 2, 3):
        puppet.spawn("one", number)
    assert None in [unseen(puppet) for _ in range(50)]


def test_nobody_is_watched_for_by_it(puppet: Puppet, stack: ExitStack) -> None:
    puppet.spawn("one", 1)
    for _ in range(2):
        here(puppet, stack)
    for _ in range(3):
        unseen(puppet)
    assert not any(isinstance(report, wire.SomebodyWaits) for report in puppet.reports())
