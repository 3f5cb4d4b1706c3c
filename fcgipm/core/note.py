"""What the core asks the keeper to keep for an application, so that it outlives the manager.

A note is opaque to the keeper: JSON of `Memory`.  One that cannot be read (an older version wrote it) is forgotten.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass

from fcgipm.codec import CodecError, from_json, to_terse_json
from fcgipm.core.policy.classic import Load
from fcgipm.core.view import GivenUp


class Mode(enum.Enum):
    """What people want of an application."""

    RUN = "run"
    STOP = "stop"
    LEAVE = "leave"
    """It was removed from the configuration, or the daemon ends."""
    HAND_OVER = "hand-over"
    """The daemon ends, and the next one takes its socket over: visitors wait there.  Never noted."""


class Trouble(enum.Enum):
    """Whether an application is tried at all."""

    NONE = "none"
    FAILED = "failed"
    """Its definition cannot work; only a person changes that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The part of an application's state that must not be forgotten; instants are monotonic nanoseconds."""

    mode: Mode
    scale: int | None = None
    failures: int = 0
    trouble: Trouble = Trouble.NONE
    reason: str = ""
    last_start: int | None = None
    restarts: int = 0
    newest: int = 1
    generation: int = 0
    """The one that holds, 0 is not known: where all share a listener nobody else can tell."""
    abandoned: int = 0
    given_up: GivenUp | None = None
    under_way: int = 0
    """The generation that is to be proved, or whose instances take the places of others one by one; 0 where none is.

    In the first case what runs for it need not outlive the manager; in the second the next one goes on.
    """
    cut: int = 0
    load: Load | None = None
    level: int | None = None
    """How many instances the demand has led to: a replacement beside the one that it replaces is none of them."""

    def wish(self, *, autostart: bool) -> Memory | None:
        """Return what people have asked for, which a new daemon is to do, too; None where it does so by itself."""
        stopped = self.mode is Mode.STOP and autostart
        if not stopped and self.scale is None:
            return None
        mode = Mode.RUN if autostart and not stopped else Mode.STOP
        return Memory(mode=mode, scale=self.scale, reason=self.reason if stopped else "")


def write(memory: Memory) -> str:
    """Return *memory* as the text of a note; there are many."""
    return json.dumps(to_terse_json(memory), separators=(",", ":"))


def read(text: str) -> Memory | None:
    """Return what `write` wrote, None where *text* is nothing of the kind."""
    try:
        return from_json(Memory, json.loads(text))
    except (CodecError, ValueError):
        return None
