"""Which script below the roots of [dynamic] a path means, and whether it may run, as far as can be seen without rights.

A web server knows where the script's name ends and PATH_INFO begins only if it is told; here it is looked for.
"""

from __future__ import annotations

import enum
import os
import stat
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Final

from fcgipm.config.dynamic import containing, named, script_path
from fcgipm.config.identity import script_identity
from fcgipm.config.schema import Daemon, Dynamic, Root
from fcgipm.config.scriptrule import ScriptError, Unseen, demand_program, demand_trust, descend

_DEEPEST: Final = 32
"""Directories below a root; what is deeper is no script."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A path that may be the script which is meant."""

    root: Root
    path: str

    @property
    def name(self) -> str:
        """What its application is called."""
        return f"{self.root.name}/{self.path}"


def known(dynamic: Dynamic, applications: Container[str], path: str) -> str | None:
    """Return which of *applications* has the script that the absolute *path* is, or begins with; None: none has."""
    for root, rest in containing(dynamic, path):
        name = f"{root.name}/{rest}"
        if name in applications:
            return name
        name, found = root.name, None
        for component in rest.split("/", _DEEPEST)[:_DEEPEST]:
            name = f"{name}/{component}"
            found = name if name in applications else found
        if found is not None:
            return found
    return None


def candidates(dynamic: Dynamic, target: str) -> Iterator[tuple[Candidate, bool]]:
    """Yield what *target* may mean, the likeliest first, and whether it was seen that something is there."""
    if target.startswith("/"):
        below = containing(dynamic, target)
    else:
        one = named(dynamic, target)
        below = () if one is None else (one,)
    for root, rest in below:
        for path, seen in _scripts(root, rest):
            yield Candidate(root, path), seen


def refusal(candidate: Candidate, dynamic: Dynamic, daemon: Daemon, starter: int) -> ScriptError | None:
    """Return why *candidate* may not be run, by `config.scriptrule`; None where it may, or only the keeper can tell.

    *starter* is the uid as which fcgipm was started.
    """
    root = candidate.root
    try:
        directory, entries = descend(root, candidate.path)
        os.close(directory)
        script = entries[-1]
        demand_program(script)
        owner = script.status.st_uid, script.status.st_gid
        demand_trust(entries, root, script_identity(dynamic, root, daemon, starter, owner), starter)
    except (Unseen, OSError, LookupError):
        return None
    except ScriptError as error:
        return error
    return None


def _scripts(root: Root, rest: str) -> Iterator[tuple[str, bool]]:
    """Yield the beginning of *rest*, a path below *root*, that is there and no directory; it may be a script.

    Where we may not look, every beginning may be one.
    """
    sight, end = _Sight.DIRECTORY, 0
    for _ in range(_DEEPEST):
        end = rest.find("/", end)
        path = rest if end < 0 else rest[:end]
        if path.rpartition("/")[2] in {"", ".", ".."}:
            return
        if sight is _Sight.DIRECTORY:
            sight = _look(script_path(root, path))
        match sight:
            case _Sight.NOTHING:
                return
            case _Sight.FILE:
                yield path, True
                return
            case _Sight.HIDDEN:
                yield path, False
            case _Sight.DIRECTORY:
                pass
        if end < 0:
            return
        end += 1


class _Sight(enum.Enum):
    """What is seen at a path."""

    NOTHING = enum.auto()
    DIRECTORY = enum.auto()
    FILE = enum.auto()
    """Or a link, or whatever else."""
    HIDDEN = enum.auto()


def _look(path: str) -> _Sight:
    try:
        found = os.lstat(path)
    except PermissionError:
        return _Sight.HIDDEN
    except (OSError, ValueError):
        return _Sight.NOTHING
    return _Sight.DIRECTORY if stat.S_ISDIR(found.st_mode) else _Sight.FILE
