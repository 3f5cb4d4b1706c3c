"""What is kept of decisions."""

from __future__ import annotations

from fcgipm.core.chronicle import KEPT, Chronicle
from fcgipm.core.events import Instant


def kept(chronicle: Chronicle) -> list[tuple[str, str, int, int, int]]:
    return [(one.action, one.text, one.since, one.at, one.times) for one in chronicle]


def test_the_same_again_is_kept_once_with_its_first_and_its_last_time() -> None:
    chronicle = Chronicle()
    for at in (1, 2, 5):
        chronicle.enter(Instant(at), "start", "initial", "an instance is started")
    assert kept(chronicle) == [("start", "an instance is started", 1, 5, 3)]


def test_of_the_same_the_last_inputs_are_kept() -> None:
    chronicle = Chronicle()
    for waiting in (1, 2, None):
        chronicle.enter(Instant(1), "deny", "queue-full", "no", waiting=waiting, limited_by="max-processes")
    (one,) = chronicle
    assert one.inputs == {"limited by": "max-processes"}


def test_what_changes_nothing_pushes_out_nothing_although_it_takes_turns() -> None:
    chronicle = Chronicle()
    chronicle.enter(Instant(1), "start", "somebody-came", "one more")
    for at in range(2, 1000, 2):
        chronicle.enter(Instant(at), "keep", "slack-run", "all stay")
        chronicle.enter(Instant(at + 1), "keep", "kill-run", "all stay")
    assert kept(chronicle) == [
        ("start", "one more", 1, 1, 1), ("keep", "all stay", 2, 998, 499), ("keep", "all stay", 3, 999, 499),
    ]  # fmt: skip


def test_trying_in_vain_pushes_out_nothing() -> None:
    chronicle = Chronicle()
    chronicle.enter(Instant(1), "start", "somebody-came", "one more")
    for at in range(2, 1000, 2):
        chronicle.enter(Instant(at), "remove", "kill-run", "1 of 2 may go, if idle")
        chronicle.enter(Instant(at + 1), "spare", "kill-run", "every instance is busy")
    assert [(action, times) for action, _, _, _, times in kept(chronicle)] == [
        ("start", 1), ("remove", 499), ("spare", 499),
    ]  # fmt: skip


def test_starts_and_removals_that_take_turns_are_all_kept() -> None:
    chronicle = Chronicle()
    for at in range(0, 2 * KEPT, 2):
        chronicle.enter(Instant(at), "start", "start-delay", "one more, 2 in all")
        chronicle.enter(Instant(at + 1), "remove", "kill-run", f"blog/{at} was idle and went")
    assert len(kept(chronicle)) == KEPT
    assert kept(chronicle)[-1][3:] == (2 * KEPT - 1, 1)
