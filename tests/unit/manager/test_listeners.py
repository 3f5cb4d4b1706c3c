"""Which listeners an application has, as the keeper tells of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fcgipm import wire
from fcgipm.manager.observing.listeners import Listeners

UNIX = wire.ListenerFact(app="a", generation=1, address="unix:/a", bound="/p/a.1", published=True, inode=11)
TCP = wire.ListenerFact(app="t", generation=1, address="tcp:::1:9", bound="tcp:::1:9", published=True, inode=21)


def inodes(listeners: Listeners, app: str = "a") -> list[tuple[int, bool]]:
    return [(one.endpoint.inode, one.fact.published) for one in listeners.of(app)]


def public(listeners: Listeners, app: str = "a") -> int | None:
    held = listeners.public(app)
    return None if held is None else held.endpoint.inode


def unix(generation: int) -> wire.ListenerFact:
    return replace(UNIX, generation=generation, bound=f"/p/a.{generation}", inode=10 + generation)


def test_a_new_generation_is_public_and_the_old_ones_stay() -> None:
    listeners = Listeners([UNIX, TCP])
    listeners.learn(unix(2))
    assert inodes(listeners) == [(11, False), (12, True)]
    assert public(listeners) == 12
    assert inodes(listeners, "t") == [(21, True)]


def test_an_old_generation_can_be_public_again() -> None:
    listeners = Listeners([UNIX])
    for generation in (2, 1):
        listeners.learn(unix(generation))
    assert inodes(listeners) == [(12, False), (11, True)]
    assert public(listeners) == 11


def test_a_tcp_application_has_one_listener_for_all_its_generations() -> None:
    listeners = Listeners([TCP])
    listeners.learn(replace(TCP, generation=2))
    assert inodes(listeners, "t") == [(21, True)]


def test_a_generation_that_is_hidden_until_it_is_published_is_known_with_the_others() -> None:
    listeners = Listeners([unix(2), replace(UNIX, published=False)])
    assert public(listeners) == 12


@pytest.mark.parametrize("fact", [UNIX, TCP], ids=["unix", "tcp"])
def test_what_was_withdrawn_is_public_no_more_and_serves_on(fact: wire.ListenerFact) -> None:
    listeners = Listeners([fact])
    listeners.learn(replace(fact, generation=0, bound=fact.address, published=False, inode=0))
    assert inodes(listeners, fact.app) == [(fact.inode, False)]


@pytest.mark.parametrize(("generation", "left"), [(1, [(12, True)]), (2, [(11, False), (12, True)])])
def test_only_what_is_not_public_is_dropped(generation: int, left: list[tuple[int, bool]]) -> None:
    listeners = Listeners([UNIX])
    listeners.learn(unix(2))
    (old,) = (one for one in listeners.of("a") if one.fact.generation == generation)
    listeners.drop(old)
    assert inodes(listeners) == left


def test_few_old_generations_are_kept() -> None:
    listeners = Listeners([UNIX])
    for generation in range(2, 9):
        listeners.learn(unix(generation))
    assert [inode for inode, _ in inodes(listeners)] == [15, 16, 17, 18]


def test_an_application_without_listeners_has_none() -> None:
    assert (inodes(Listeners()), public(Listeners())) == ([], None)
