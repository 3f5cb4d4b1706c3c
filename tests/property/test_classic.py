"""Whatever the numbers are, the classic policy keeps what it promises."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from fcgipm.config.schema import SECOND, Dynamic
from fcgipm.core.events import Instant
from fcgipm.core.policy.classic import (
    Candidate,
    Crowd,
    Load,
    Settings,
    load_factor,
    load_factor_now,
    may_lose_one,
    periodic_run,
    settings_of,
    slack_run,
    start_due,
)

DAY = 86_400 * SECOND
TIMES = st.integers(0, 400 * DAY).map(Instant)
COUNTS = st.integers(0, 60)

gains = st.one_of(
    st.sampled_from([0.0, 0.001, 0.1, 0.5, 0.9, 1.0]), st.floats(0, 1, allow_nan=False, allow_subnormal=False)
)


@st.composite
def some_settings(draw: st.DrawFn) -> Settings:
    options = Dynamic(
        gain_value=draw(gains),
        update_interval=draw(st.integers(SECOND, DAY)),
        kill_interval=draw(st.integers(SECOND, DAY)),
        single_threshold=draw(st.integers(0, 100)),
        multi_threshold=draw(st.integers(0, 100)),
        start_delay=draw(st.integers(1, DAY)),
    )
    return settings_of(options)


@st.composite
def loads(draw: st.DrawFn, interval: int) -> Load:
    return Load(
        began_at=draw(TIMES),
        interval=interval,
        updates=draw(st.integers(0, 1000)),
        smooth=draw(st.integers(0, 20 * interval)),
        total=draw(st.integers(0, 20 * interval)),
    )


@st.composite
def candidates(draw: st.DrawFn, settings: Settings) -> list[Candidate]:
    names = draw(st.lists(st.sampled_from("abcdefgh"), unique=True))
    return [
        Candidate(
            name=name,
            load=draw(loads(settings.update_interval)),
            ready=draw(st.integers(0, 6)),
            concurrency=draw(st.sampled_from([1, 4])),
            requests=draw(st.integers(0, 2)),
            in_motion=draw(st.sampled_from([False, False, False, True])),
            least=draw(st.sampled_from([0, 0, 2])),
        )
        for name in names
    ]


@given(settings=some_settings(), data=st.data(), updates=st.integers(1, 60))
def test_the_closed_form_is_as_many_single_updates(settings: Settings, data: st.DataObject, updates: int) -> None:
    load = data.draw(loads(settings.update_interval))
    single, exact = load, Fraction(load.smooth)
    for _ in range(updates):
        exact = exact * (1 - settings.gain) + settings.gain * single.total
        single = single.at(single.next_update(settings), settings)
    at_once = load.at(single.updated_at, settings)
    assert (at_once.began_at, at_once.updates, at_once.total) == (single.began_at, single.updates, 0)
    almost = exact + Fraction(1, 10**12)  # powers are rounded up: a gain of 1e-45 shows it
    assert int(exact) <= at_once.smooth <= almost, "rounded down, once"
    assert 0 <= at_once.smooth - single.smooth < max(updates, 2)


@given(settings=some_settings(), data=st.data(), now=TIMES, jump=st.integers(0, 10**40))
def test_time_may_jump_by_any_amount(settings: Settings, data: st.DataObject, now: Instant, jump: int) -> None:
    load = data.draw(loads(settings.update_interval))
    before, after = load.at(now, settings), load.at(Instant(now + jump), settings)
    assert load.at(now, settings) == before
    assert after.updates >= before.updates >= load.updates
    assert 0 <= after.smooth <= max(load.smooth, load.total)
    if after.updates > load.updates:
        assert after.updated_at <= now + jump < after.next_update(settings)
        assert after.total == 0
    else:
        assert after == load
    assert after.at(Instant(now + jump), settings) == after
    if settings.gain > Fraction(1, 1000) and after.updates > load.updates + 10**6:
        assert after.smooth == 0


@given(settings=some_settings(), data=st.data(), now=TIMES, other=st.integers(SECOND, DAY))
def test_another_update_interval_changes_no_ratio(
    settings: Settings, data: st.DataObject, now: Instant, other: int
) -> None:
    load = data.draw(loads(settings.update_interval)).at(now, settings)
    anew_settings = replace(settings, update_interval=other)
    anew = load.at(load.updated_at, anew_settings)
    assert anew.updated_at == load.updated_at
    ratio, ratio_anew = load_factor(load, 1, 1, settings), load_factor(anew, 1, 1, anew_settings)
    assert ratio - Fraction(1, other) < ratio_anew <= ratio


@given(data=st.data(), settings=some_settings(), total=COUNTS, least=COUNTS, limit=COUNTS, slack=COUNTS, now=TIMES)
def test_runs_keep_every_minimum_and_who_may_not_go(
    *, data: st.DataObject, settings: Settings, total: int, least: int, limit: int, slack: int, now: Instant
) -> None:
    crowd = data.draw(candidates(settings))
    periodic = periodic_run(crowd, settings, total=total, least=least, now=now)
    making_room = slack_run(crowd, settings, total=total, least=least, limit=limit, slack=slack, now=now)
    assert len(set(periodic)) == len(periodic)
    by_name = {one.name: one for one in crowd}
    for taken in (periodic, making_room):
        assert not taken or total - len(taken) >= least
        for name, count in Counter(taken).items():
            one = by_name[name]
            assert not one.in_motion
            assert one.ready - count >= one.least
            if settings.single_threshold == 0:
                assert one.ready - count >= 1, "the last one is kept for ever"
    assert not making_room or total - len(making_room) + slack >= limit, "more than the room that was wanted"
    for name in periodic:
        assert by_name[name].load.at(now, settings).updates > 0


@given(data=st.data(), settings=some_settings(), total=COUNTS, least=COUNTS, limit=COUNTS, slack=COUNTS, now=TIMES)
def test_a_slack_run_ends_only_with_room_at_the_minimum_or_without_anybody_left(
    *, data: st.DataObject, settings: Settings, total: int, least: int, limit: int, slack: int, now: Instant
) -> None:
    crowd = data.draw(candidates(settings))
    taken = Counter(slack_run(crowd, settings, total=total, least=least, limit=limit, slack=slack, now=now))
    left = total - taken.total()
    rest = [replace(one, ready=one.ready - taken[one.name]) for one in crowd]
    if left + slack > limit and left > least:
        assert not any(may_lose_one(one, settings, now=now, slack=True) for one in rest)


@given(data=st.data(), settings=some_settings(), total=COUNTS, least=COUNTS, limit=COUNTS, slack=COUNTS, now=TIMES)
def test_the_order_of_definition_decides_nothing(
    *, data: st.DataObject, settings: Settings, total: int, least: int, limit: int, slack: int, now: Instant
) -> None:
    crowd = data.draw(candidates(settings))
    other = data.draw(st.permutations(crowd))
    assert periodic_run(crowd, settings, total=total, least=least, now=now) == periodic_run(
        other, settings, total=total, least=least, now=now
    )
    assert slack_run(crowd, settings, total=total, least=least, limit=limit, slack=slack, now=now) == slack_run(
        other, settings, total=total, least=least, limit=limit, slack=slack, now=now
    )


@given(data=st.data(), settings=some_settings(), now=TIMES, more=st.integers(0, DAY), slack=st.booleans())
def test_who_does_more_is_not_sooner_taken_from(
    data: st.DataObject, settings: Settings, now: Instant, more: int, *, slack: bool
) -> None:
    for one in data.draw(candidates(settings)):
        load = one.load.at(now, settings)
        busier = [replace(load, smooth=load.smooth + more), replace(load, total=load.total + more)]
        for other in busier:
            factors = [load_factor_now(each, one.ready, one.concurrency, settings, now) for each in (load, other)]
            assert factors[0] <= factors[1]
            if may_lose_one(replace(one, load=other), settings, now=now, slack=slack):
                assert may_lose_one(replace(one, load=load), settings, now=now, slack=slack)


@given(data=st.data(), settings=some_settings(), now=TIMES)
def test_who_goes_is_what_the_load_factor_says(data: st.DataObject, settings: Settings, now: Instant) -> None:
    for one in data.draw(candidates(settings)):
        load, ready = one.load.at(now, settings), one.ready
        eligible = not one.in_motion and ready > one.least
        for slack in (False, True):
            factor = (
                load_factor_now(load, ready, one.concurrency, settings, now)
                if slack
                else load_factor(load, ready, one.concurrency, settings)
            )
            if ready > 1:
                factor = factor * ready / (ready - 1)
            bearable = settings.single_threshold if ready == 1 else settings.multi_threshold
            judged = slack or load.updates > 0
            expected = eligible and judged and 100 * factor < bearable
            assert may_lose_one(one, settings, now=now, slack=slack) is expected


@given(
    settings=some_settings(),
    waiting=st.integers(0, 3),
    since=st.none() | TIMES,
    full=st.booleans(),
    ready=st.integers(0, 3),
    starting=st.integers(0, 2),
    last_ready_at=st.none() | TIMES,
    now=TIMES,
)
def test_one_at_a_time_is_started_and_somebody_always_in_the_end(
    *,
    settings: Settings,
    waiting: int,
    since: Instant | None,
    ready: int,
    starting: int,
    last_ready_at: Instant | None,
    now: Instant,
    full: bool,
) -> None:
    crowd = Crowd(waiting=waiting, oldest_since=since, full=full)
    due = start_due(crowd, settings, ready=ready, starting=starting, last_ready_at=last_ready_at, now=now)
    if starting:
        assert due is None
    elif full or (waiting and not ready):
        assert due == now
    elif waiting and since is not None:
        assert due == max(since, since if last_ready_at is None else last_ready_at) + settings.start_delay
    else:
        assert due is None
