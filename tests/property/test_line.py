"""Who waits in a line, since when, and who gave up: whatever happens between two looks."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from fcgipm.core.events import Instant
from fcgipm.linux.sock_diag import Queue
from fcgipm.linux.visitors import Waiting
from fcgipm.manager.observing.line import Line

COME, ACCEPT, GIVE_UP, LOOK = "come", "accept", "give up", "look"
HAPPENINGS = st.lists(
    st.tuples(st.sampled_from((COME, COME, ACCEPT, GIVE_UP, LOOK)), st.integers(0, 1_000)), max_size=60
)


@dataclass(eq=False, slots=True)
class Visitor:
    name: int
    gone: bool = False
    seen_at: int | None = None
    """When he was first seen waiting."""
    gap_seen: bool = False
    """Whether it was seen that he had given up."""


def oldest(visitors: list[Visitor]) -> int | None:
    return min((one.seen_at for one in visitors if one.seen_at is not None), default=None)


@dataclass(slots=True)
class World:
    """A queue as the kernel has one, with all that a look cannot know."""

    queue: list[Visitor] = field(default_factory=list)
    before: list[Visitor] = field(default_factory=list)
    """Who waited at the last look and had not given up."""
    now: int = 0
    names: int = 0
    has_gaps_before: bool = False

    def happen(self, what: str, number: int) -> None:
        if what == COME:
            self.names += 1
            self.queue.append(Visitor(self.names))
        elif what == ACCEPT and self.queue:
            self.queue.pop(0)
        elif what == GIVE_UP and self.queue:
            self.queue[number % len(self.queue)].gone = True

    def look(self) -> tuple[list[Visitor], int, bool]:
        """Return who waits, how many are newly seen to have given up, and whether a look can know that exactly."""
        live = [one for one in self.queue if not one.gone]
        news = [one for one in self.queue if one.gone and not one.gap_seen]
        exact = not self.has_gaps_before or any(one in self.before for one in live)
        for one in live:
            one.seen_at = self.now if one.seen_at is None else one.seen_at
        for one in news:
            one.gap_seen = True
        self.before = live
        self.has_gaps_before = any(one.gone for one in self.queue)
        return live, len(news), exact


@given(HAPPENINGS)
def test_a_line_in_order(happenings: list[tuple[str, int]]) -> None:
    """As that before a Unix listener."""
    world, line = World(), Line()
    for what, number in [*happenings, (LOOK, 0)]:
        world.now += number
        if what != LOOK:
            world.happen(what, number)
            continue
        names = tuple(0 if one.gone else one.name for one in world.queue)
        gave_up = line.take(Waiting(Queue(len(names), 100), names, names.count(0)), Instant(world.now))
        live, news, exact = world.look()
        assert line.oldest_since == oldest(live)
        assert gave_up == news if exact else 0 <= gave_up <= news


@given(HAPPENINGS, st.randoms(use_true_random=False))
def test_a_line_in_no_order(happenings: list[tuple[str, int]], chance: random.Random) -> None:
    """As that before a TCP listener, where everybody is known by name."""
    world, line = World(), Line()
    for what, number in [*happenings, (LOOK, 0)]:
        world.now += number
        if what != LOOK:
            world.happen(what, number)
            continue
        names = [one.name.to_bytes(8, "big") for one in world.queue if not one.gone]
        chance.shuffle(names)
        gone = frozenset(one.name.to_bytes(8, "big") for one in world.queue if one.gone)
        gave_up = line.take(Waiting(Queue(len(world.queue), 100), tuple(names), len(gone), gone), Instant(world.now))
        live, news, _ = world.look()
        assert line.oldest_since == oldest(live)
        assert gave_up == news


def test_a_line_that_is_too_long_to_be_named_ages_as_a_whole() -> None:
    line, endless = Line(), Waiting(Queue(9_000, 9_000), None)
    line.take(Waiting(Queue(2, 9_000), (7, 8)), Instant(5))
    assert line.take(endless, Instant(6)) == 0
    assert line.oldest_since == 5
    line.take(Waiting(Queue(2, 9_000), (8, 9)), Instant(7))
    assert line.oldest_since == 5, "this one was seen before the line was too long"
    line.take(Waiting(Queue(0, 9_000), ()), Instant(8))
    line.take(endless, Instant(9))
    line.take(endless, Instant(10))
    assert line.oldest_since == 9
