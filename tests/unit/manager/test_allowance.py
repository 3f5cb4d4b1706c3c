from __future__ import annotations

from fcgipm.manager.telling.allowance import BURST, LINES_PER_SECOND, Allowance

SECOND = 1_000_000_000


def taken(allowance: Allowance, size: int = 10) -> int:
    count = 0
    while allowance.take(size):
        count += 1
    return count


def test_a_burst_may_be_written_at_once() -> None:
    assert taken(Allowance(now=0)) == BURST


def test_then_so_many_lines_a_second() -> None:
    allowance = Allowance(now=0)
    taken(allowance)

    assert not allowance.refill(SECOND // LINES_PER_SECOND - 1)
    assert allowance.refill(SECOND // LINES_PER_SECOND)
    assert taken(allowance) == 1
    allowance.refill(SECOND // LINES_PER_SECOND + SECOND)
    assert taken(allowance) == LINES_PER_SECOND


def test_no_more_than_a_burst_is_saved_up() -> None:
    allowance = Allowance(now=0)
    allowance.refill(3600 * SECOND)

    assert taken(allowance) == BURST


def test_a_long_line_costs_as_many_short_ones() -> None:
    assert taken(Allowance(now=0), size=8192) == -(-BURST // 9)
