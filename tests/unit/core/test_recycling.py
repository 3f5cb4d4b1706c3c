"""Instances that are old, large or have served much are replaced, the replacement first, one at a time."""

from __future__ import annotations

import pytest
from harness.simulation import Simulation, blog, retirements, spawns

from fcgipm.config.schema import SECOND
from fcgipm.core import events as ev
from fcgipm.core.events import InstanceId, Sample
from fcgipm.core.recycling import PAUSE, jittered

HOUR = 3600 * SECOND


def ready(processes: int = 2, **more: object) -> Simulation:
    sim = Simulation(blog(processes=processes, init_start_delay=0, **more))
    sim.given(ev.Tick())
    sim.ready(*range(1, processes + 1))
    return sim


def seen(requests: int = 0, memory: dict[int, int] | None = None) -> Sample:
    sizes = {InstanceId(number): size for number, size in (memory or {}).items()}
    return Sample(queued=0, limit=100, busy=1, requests=requests, memory=sizes)


def test_limits_are_spread_between_nine_tenths_and_the_whole_and_the_same_for_the_same_one() -> None:
    ages = [jittered(HOUR, InstanceId(number)) for number in range(1, 200)]
    assert HOUR * 9 // 10 <= min(ages) < HOUR * 91 // 100
    assert HOUR * 99 // 100 < max(ages) <= HOUR
    assert len(set(ages)) == len(ages)
    assert jittered(HOUR, InstanceId(7)) == ages[6]


def test_an_old_one_goes_when_its_replacement_is_ready() -> None:
    sim = ready(max_lifetime=HOUR)
    first = min((1, 2), key=lambda number: jittered(HOUR, InstanceId(number)))
    due = jittered(HOUR, InstanceId(first))
    assert spawns(sim.after(due - 1)) == []
    assert spawns(sim.after(1)) == [(3, 1)]
    assert sim.view().ready == 2
    assert retirements(sim.ready(3)) == [(first, False)], "only now"
    sim.killed(first)
    assert sim.view().ready == 2


def test_one_at_a_time() -> None:
    sim = ready(max_lifetime=HOUR)
    assert len(spawns(sim.after(2 * HOUR))) > 1, "a replacement that is never ready is a failed start"
    sim = ready(max_lifetime=HOUR)
    sim.now = ev.Instant(sim.now + 2 * HOUR)
    assert len(spawns(sim.given(ev.Tick()))) == 1
    retired = retirements(sim.ready(3))
    sim.killed(retired[0][0])
    assert len(spawns(sim.after(SECOND))) <= 1


def test_a_replacement_that_fails_leaves_the_old_one_and_is_tried_later() -> None:
    sim = ready(processes=1, max_lifetime=HOUR)
    while not (started := spawns(sim.after(SECOND))):
        pass
    assert retirements(sim.spawned(started[0][0]) + sim.exited(started[0][0])) == []
    assert sim.view().ready == 1
    assert spawns(sim.after(PAUSE - 1)) == []
    assert spawns(sim.after(SECOND)) == [(3, 1)]


def test_the_old_one_dies_while_its_replacement_starts() -> None:
    sim = ready(processes=1, max_lifetime=HOUR, restart_delay=10 * HOUR)
    while not (started := spawns(sim.after(SECOND))):
        pass
    sim.exited(1)
    assert retirements(sim.ready(started[0][0])) == []
    assert sim.view().ready == 1
    assert len(sim.view().instances) == 1


@pytest.mark.parametrize(
    ("options", "sample"),
    [({"max_requests": 1000}, seen(requests=2000)), ({"max_memory": 100 << 20}, seen(memory={1: 101 << 20}))],
)
def test_served_much_or_large(options: dict[str, int], sample: Sample) -> None:
    sim = ready(**options)
    assert spawns(sim.looked(blog=seen(requests=100, memory={1: 100 << 20, 2: 1}))) == []
    assert spawns(sim.looked(blog=sample)) == [(3, 1)]
    retired = retirements(sim.ready(3))
    assert retired in ([(1, False)], [(2, False)])
    assert retired == [(1, False)] or not sample.memory, "the large one"


def test_what_needs_no_looks_is_not_looked_at() -> None:
    assert ready(max_lifetime=HOUR).engine.looks(ev.Instant(10 * HOUR)) == ()
    assert ready(max_requests=5).engine.looks(ev.Instant(10 * HOUR)) == ("blog",)


def test_a_restart_ends_a_swap() -> None:
    sim = ready(processes=1, max_lifetime=HOUR)
    while not (started := spawns(sim.after(SECOND))):
        pass
    new = spawns(sim.given(ev.RestartRequested(app="blog")))
    assert len(new) == 1
    done = sim.ready(started[0][0])
    sim.ready(new[0][0])
    done += sim.published(2)
    done += sim.after(2 * SECOND)
    sim.killed(1, started[0][0])
    assert [one.instance for one in sim.view().instances] == [new[0][0]]
