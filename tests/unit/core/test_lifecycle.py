"""The table of an instance's life is total."""

from __future__ import annotations

from itertools import product

import pytest

from fcgipm.core import lifecycle
from fcgipm.core.lifecycle import Input, InstanceState, LifecycleError, advance


def test_every_pair_is_decided_exactly_once() -> None:
    verdicts = [*lifecycle.TRANSITIONS, *lifecycle.IGNORED, *lifecycle.IMPOSSIBLE]

    assert len(verdicts) == len(set(verdicts))
    assert set(verdicts) == set(product(InstanceState, Input))


@pytest.mark.parametrize("pair", sorted(lifecycle.IMPOSSIBLE, key=str))
def test_the_impossible_is_a_bug_and_says_so(pair: tuple[InstanceState, Input]) -> None:
    with pytest.raises(LifecycleError, match="cannot be"):
        advance(*pair)


@pytest.mark.parametrize("pair", sorted(lifecycle.IGNORED, key=str))
def test_what_is_ignored_changes_nothing(pair: tuple[InstanceState, Input]) -> None:
    assert advance(*pair) is pair[0]
