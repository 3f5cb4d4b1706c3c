"""The life of an instance: one enum of states, one of inputs, and one total table.

Every pair of state and input is a transition, ignored on purpose, or impossible; a test says so.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from typing import Final, TypeVar


class InstanceState(enum.Enum):
    """Where an instance is in its life."""

    STARTING = "starting"
    """Ordered or exec'd; it counts as help on its way."""
    READY = "ready"
    """It accepts connections."""
    RETIRING = "retiring"
    """It is to go as soon as nobody can lose by it."""
    ENDED = "ended"
    """Its process is gone; it leaves the books."""


class Input(enum.Enum):
    """What can happen to an instance."""

    SPAWNED = "spawned"
    FAILED = "failed"
    """It could not be exec'd."""
    READIED = "readied"
    RETIRED = "retired"
    """It was decided that it goes."""
    REMOVED = "removed"
    """The keeper asked or killed it."""
    REFUSED = "refused"
    """The keeper found that somebody would lose by its removal."""
    SPARED = "spared"
    """It was to go only if it was idle, and it is not: it stays."""
    EXITED = "exited"


_S, _I = InstanceState, Input

TRANSITIONS: Final = {
    (_S.STARTING, _I.SPAWNED): _S.STARTING,
    (_S.STARTING, _I.FAILED): _S.ENDED,
    (_S.STARTING, _I.READIED): _S.READY,
    (_S.STARTING, _I.RETIRED): _S.RETIRING,
    (_S.STARTING, _I.EXITED): _S.ENDED,
    (_S.READY, _I.RETIRED): _S.RETIRING,
    (_S.READY, _I.EXITED): _S.ENDED,
    (_S.RETIRING, _I.SPAWNED): _S.RETIRING,
    (_S.RETIRING, _I.FAILED): _S.ENDED,
    (_S.RETIRING, _I.READIED): _S.RETIRING,
    (_S.RETIRING, _I.REMOVED): _S.RETIRING,
    (_S.RETIRING, _I.REFUSED): _S.RETIRING,
    (_S.RETIRING, _I.SPARED): _S.READY,
    (_S.RETIRING, _I.EXITED): _S.ENDED,
}

IGNORED: Final = frozenset(
    {
        (_S.READY, _I.READIED),  # seen ready twice: once by each of two managers
        (_S.RETIRING, _I.RETIRED),  # two reasons to go are one
        (_S.STARTING, _I.REMOVED),  # an answer to the previous manager's order
        (_S.STARTING, _I.REFUSED),
        (_S.READY, _I.REMOVED),
        (_S.READY, _I.REFUSED),
    }
)

IMPOSSIBLE: Final = frozenset(
    {(_S.READY, _I.SPAWNED), (_S.READY, _I.FAILED), (_S.READY, _I.SPARED), (_S.STARTING, _I.SPARED)}
    | {(_S.ENDED, given) for given in Input}
)  # fmt: skip


class LifecycleError(AssertionError):
    """An input that cannot come in this state did: a bug of ours or of the keeper."""


def advance(state: InstanceState, given: Input) -> InstanceState:
    """Return the state after *given*."""
    return follow(TRANSITIONS, IGNORED, state, given, "an instance")


StateT = TypeVar("StateT", bound=enum.Enum)
InputT = TypeVar("InputT", bound=enum.Enum)


def follow(
    transitions: Mapping[tuple[StateT, InputT], StateT],
    ignored: Collection[tuple[StateT, InputT]],
    state: StateT,
    given: InputT,
    whose: str,
) -> StateT:
    """Return what *given* makes of *state*, by the table of *whose* life it is; raise `LifecycleError`."""
    if (state, given) in ignored:
        return state
    try:
        return transitions[state, given]
    except KeyError:
        raise LifecycleError(f"{whose} that is {state.value} cannot be {given.value}") from None
