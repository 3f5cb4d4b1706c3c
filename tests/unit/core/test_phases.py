"""The tables of a new generation and of its probe are total."""

from __future__ import annotations

from itertools import product

import pytest

from fcgipm.core import phases
from fcgipm.core.lifecycle import LifecycleError
from fcgipm.core.phases import Answer, Asking, Phase, Step, advance, ask


def test_every_pair_of_phase_and_step_is_decided_exactly_once() -> None:
    verdicts = [*phases.TRANSITIONS, *phases.IGNORED, *phases.IMPOSSIBLE]

    assert len(verdicts) == len(set(verdicts))
    assert set(verdicts) == set(product(Phase, Step))


def test_every_pair_of_probe_and_answer_is_decided_exactly_once() -> None:
    verdicts = [*phases.ASKING, *phases.ASKING_IGNORED, *phases.ASKING_IMPOSSIBLE]

    assert len(verdicts) == len(set(verdicts))
    assert set(verdicts) == set(product(Asking, Answer))


@pytest.mark.parametrize("pair", sorted(phases.IMPOSSIBLE, key=str))
def test_the_impossible_is_a_bug_and_says_so(pair: tuple[Phase, Step]) -> None:
    with pytest.raises(LifecycleError, match="cannot be"):
        advance(*pair)


@pytest.mark.parametrize("pair", sorted(phases.ASKING_IMPOSSIBLE, key=str))
def test_the_impossible_of_a_probe_is_a_bug_too(pair: tuple[Asking, Answer]) -> None:
    with pytest.raises(LifecycleError, match="cannot be"):
        ask(*pair)


@pytest.mark.parametrize("pair", sorted(phases.IGNORED, key=str))
def test_what_is_ignored_changes_nothing(pair: tuple[Phase, Step]) -> None:
    assert advance(*pair) is pair[0]


def test_only_what_was_proved_or_replaces_nobody_is_published() -> None:
    before = {phase for (phase, _), after in phases.TRANSITIONS.items() if after is Phase.PUBLISHING}

    assert before == {Phase.PROVING, Phase.CLEARING}


def test_every_phase_but_an_end_ends_when_nobody_is_to_reach_the_application_any_more() -> None:
    assert {advance(phase, Step.DROPPED) for phase in Phase if phase not in (Phase.DONE, Phase.GIVEN_UP)} == {
        Phase.GIVEN_UP
    }
