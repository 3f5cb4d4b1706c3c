"""The trial of the program that is installed by now: a process of it says whether it could take the keeper's place.

It reads the state and the configuration, does nothing else, and ends.  The configuration that it has read is what the
program begins with if it does take the place: what is checked is what is used.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fcgipm.keeper.keeping import carried
from fcgipm.keeper.keeping.program import Program
from fcgipm.linux import dispositions
from fcgipm.linux import pidfd as pidfds

PATIENCE: Final = 5
"""Seconds that it may take."""
STATE, LOADED = 3, 4
"""Its descriptors: what it is to read, and where it puts the configuration."""
_MAX_ANSWER: Final = 64 * 1024


class TrialError(Exception):
    """The installed program cannot take the keeper's place; the text says why."""


@dataclass(frozen=True, slots=True)
class TrialPassed:
    """The program can."""

    version: str
    loaded: int
    """The descriptor of the configuration that it has read, the caller's."""


class Trial:
    """One trial.  `fileno` is readable when there is something to `feed`; when that is all, call `result`."""

    def __init__(self, program: Program, what: bytes) -> None:
        """Start a process of *program*, which is to read *what*, an encoded `Carried`; raise `TrialError`."""
        self._program = program
        self._told = bytearray()
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as undo:
            try:
                state = carried.keep(what, "fcgipm-state")
                ours.callback(os.close, state)
                self._loaded = carried.keep(b"", "fcgipm-configuration")
                undo.callback(os.close, self._loaded)
                self._pipe, told = os.pipe2(os.O_CLOEXEC)
                ours.callback(os.close, told)
                undo.callback(os.close, self._pipe)
                pid = _spawned(program, (told, state, self._loaded))
                # Ours, and nobody waits for it before we are back in the loop: the number is still its own.
                self._pidfd = pidfds.open_process(pid)
            except OSError as error:
                raise TrialError(f"{program.name} cannot be tried: {error.strerror or error}") from error
            undo.pop_all()

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return self._pipe

    def feed(self) -> bool:
        """Take what is there; return whether that was all."""
        piece = os.read(self._pipe, _MAX_ANSWER)
        self._told += piece
        return not piece or len(self._told) > _MAX_ANSWER

    def result(self) -> TrialPassed:
        """Return what the program tells, after the last `feed`; raise `TrialError`."""
        answer = _answer_in(self._told)
        if answer is None or "error" in answer:
            self._close()
            why = _last_line(self._told) if answer is None else str(answer["error"])
            raise TrialError(f"{self._program.name} cannot go on in place of this program: {why}")
        loaded, self._loaded = self._loaded, -1
        self._close()
        return TrialPassed(str(answer.get("program", "?")), loaded)

    def give_up(self) -> TrialError:
        """End the process, which takes too long; return what to say."""
        self._close()
        return TrialError(f"{self._program.name} has not said within {PATIENCE} s that it can go on")

    def _close(self) -> None:
        with contextlib.suppress(PermissionError):
            pidfds.send(self._pidfd, signal.SIGKILL)  # it has told all, or too much, or nothing in time
        for number in (self._pidfd, self._pipe, self._loaded):
            if number >= 0:
                os.close(number)


def _spawned(program: Program, sources: Sequence[int]) -> int:
    """Start the trial with *sources* as its output and the descriptors `STATE` and `LOADED`; return its pid."""
    with contextlib.ExitStack() as lifted:
        told, *others = (_lifted(number, lifted) for number in sources)
        actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
        actions += [(os.POSIX_SPAWN_DUP2, told, target) for target in (1, 2)]
        for number, target in zip(others, (STATE, LOADED), strict=True):
            actions.append((os.POSIX_SPAWN_DUP2, number, target))
        return os.posix_spawn(
            program.words[0],
            [*program.words, "trial", str(STATE), str(LOADED)],
            program.environ,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=[number for number in dispositions.changed() if number in dispositions.CHANGEABLE],
        )


def _lifted(number: int, stack: contextlib.ExitStack) -> int:
    """Return a copy of *number* that is the target of no other, closed with *stack*."""
    copy = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, LOADED + 1)
    stack.callback(os.close, copy)
    return copy


def _answer_in(told: bytes | bytearray) -> dict[str, Any] | None:
    """Return the JSON object in the last of the lines *told* that is one."""
    for line in reversed(bytes(told).splitlines()):
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(line)
            if isinstance(found, dict) and found.keys() & {"program", "error"}:
                return found
    return None


def _last_line(told: bytes | bytearray) -> str:
    lines = [line.strip() for line in told.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it has ended without an answer"
