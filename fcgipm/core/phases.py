"""How far a new generation is: one enum of phases, one of steps, and one total table; the same for its probe.

Every pair is a transition, ignored on purpose, or impossible; a test says so.
"""

from __future__ import annotations

import enum
from typing import Final

from fcgipm.core.lifecycle import follow


class Phase(enum.Enum):
    """How far a new generation is."""

    CLEARING = "clearing"
    """Its port is held by instances of which nobody else has the listener: they go first."""
    GATHERING = "gathering"
    """Its instances are being started; nobody can meet them."""
    PROVING = "proving"
    """They are ready, and are to live for a moment and to answer the probe."""
    PUBLISHING = "publishing"
    """The order to publish it is under way."""
    ROLLING = "rolling"
    """On the listener of all generations, its instances take the places of the old ones, one at a time."""
    DONE = "done"
    GIVEN_UP = "given-up"


class Step(enum.Enum):
    """What can happen to a new generation."""

    CLEARED = "cleared"
    """Nobody holds its port any more."""
    COMPLETED = "completed"
    """All its instances are ready, or its canary is."""
    LACKED = "lacked"
    """It is to have more instances, or one is not ready any more."""
    PROVED = "proved"
    """It may be published."""
    PROVED_ASIDE = "proved aside"
    """Its canary was proved: its instances may come to the listener of all."""
    LOST = "lost"
    """An instance of it ended or was not ready in time, or its probe failed."""
    PUBLISHED = "published"
    REFUSED = "refused"
    """Its listener could not be made or published."""
    REPLACED = "replaced"
    """No instance of an old generation is left in its place."""
    SUPERSEDED = "superseded"
    """Somebody wants something newer."""
    DROPPED = "dropped"
    """Nobody is to reach the application any more."""


_P, _S = Phase, Step

TRANSITIONS: Final = {
    (_P.CLEARING, _S.CLEARED): _P.PUBLISHING,
    (_P.GATHERING, _S.COMPLETED): _P.PROVING,
    (_P.GATHERING, _S.LOST): _P.GIVEN_UP,
    (_P.GATHERING, _S.REFUSED): _P.GIVEN_UP,
    (_P.GATHERING, _S.SUPERSEDED): _P.GIVEN_UP,
    (_P.PROVING, _S.LACKED): _P.GATHERING,
    (_P.PROVING, _S.PROVED): _P.PUBLISHING,
    (_P.PROVING, _S.PROVED_ASIDE): _P.ROLLING,
    (_P.PROVING, _S.LOST): _P.GIVEN_UP,
    (_P.PROVING, _S.REFUSED): _P.GIVEN_UP,
    (_P.PROVING, _S.SUPERSEDED): _P.GIVEN_UP,
    (_P.PUBLISHING, _S.PUBLISHED): _P.DONE,
    (_P.PUBLISHING, _S.REFUSED): _P.GIVEN_UP,
    (_P.ROLLING, _S.REPLACED): _P.DONE,
    (_P.ROLLING, _S.LOST): _P.GIVEN_UP,
    (_P.ROLLING, _S.SUPERSEDED): _P.GIVEN_UP,
} | {(phase, _S.DROPPED): _P.GIVEN_UP for phase in Phase if phase not in (_P.DONE, _P.GIVEN_UP)}

IGNORED: Final = frozenset(
    {
        (_P.CLEARING, _S.SUPERSEDED),  # it begins with what is wanted then
        (_P.GATHERING, _S.LACKED),
        (_P.PROVING, _S.COMPLETED),
        (_P.PUBLISHING, _S.LOST),  # visitors may meet it already: the instance is replaced as any other
        (_P.PUBLISHING, _S.SUPERSEDED),  # that takes milliseconds, and what is newer comes after it
    }
)

_NEVER: Final = {
    _P.CLEARING: {_S.COMPLETED, _S.LACKED, _S.PROVED, _S.PROVED_ASIDE, _S.LOST, _S.PUBLISHED, _S.REFUSED, _S.REPLACED},
    _P.GATHERING: {_S.CLEARED, _S.PROVED, _S.PROVED_ASIDE, _S.PUBLISHED, _S.REPLACED},
    _P.PROVING: {_S.CLEARED, _S.PUBLISHED, _S.REPLACED},
    _P.PUBLISHING: {_S.CLEARED, _S.COMPLETED, _S.LACKED, _S.PROVED, _S.PROVED_ASIDE, _S.REPLACED},
    _P.ROLLING: {_S.CLEARED, _S.COMPLETED, _S.LACKED, _S.PROVED, _S.PROVED_ASIDE, _S.PUBLISHED, _S.REFUSED},
    _P.DONE: set(Step),
    _P.GIVEN_UP: set(Step),
}

IMPOSSIBLE: Final = frozenset((phase, step) for phase, steps in _NEVER.items() for step in steps)


class Asking(enum.Enum):
    """How far the probe of a new generation is."""

    OPEN = "open"
    """It was not sent yet."""
    ASKED = "asked"
    ANSWERED = "answered"
    """As it should be, or there is none: nothing more is asked."""


class Answer(enum.Enum):
    """What can happen to a probe; one that fails ends its generation, and has no state of its own."""

    SENT = "sent"
    GOOD = "good"
    SPARED = "spared"
    """The application has no probe."""


ASKING: Final = {
    (Asking.OPEN, Answer.SENT): Asking.ASKED,
    (Asking.OPEN, Answer.SPARED): Asking.ANSWERED,
    (Asking.ASKED, Answer.GOOD): Asking.ANSWERED,
}

ASKING_IGNORED: Final = frozenset({(Asking.ANSWERED, Answer.GOOD)})  # answered twice is answered

ASKING_IMPOSSIBLE: Final = frozenset(
    {
        (Asking.OPEN, Answer.GOOD),
        (Asking.ASKED, Answer.SENT),
        (Asking.ASKED, Answer.SPARED),
        (Asking.ANSWERED, Answer.SENT),
        (Asking.ANSWERED, Answer.SPARED),
    }
)


def advance(phase: Phase, step: Step) -> Phase:
    """Return the phase after *step*."""
    return follow(TRANSITIONS, IGNORED, phase, step, "a generation")


def ask(asking: Asking, answer: Answer) -> Asking:
    """Return how far the probe is after *answer*."""
    return follow(ASKING, ASKING_IGNORED, asking, answer, "a probe")
