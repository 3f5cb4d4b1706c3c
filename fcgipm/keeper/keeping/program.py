"""How this program was started, and so how the one that is installed in its place by now is."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_THIS_PROCESS_ONLY: Final = frozenset({"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"})
"""Of sd_listen_fds(3): the descriptors that they tell of have other numbers by now."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to execute, apart from arguments of fcgipm's own."""

    words: tuple[str, ...]
    """Interpreter, its options, and the script; paths are absolute."""
    environ: Mapping[str, str]

    @property
    def name(self) -> str:
        """How people are told of it."""
        return self.words[-1]


def this_program(environ: Mapping[str, str]) -> Program:
    """Return how this process was started; to be called before it goes to another directory.

    *environ* is the environment that it is to have again.
    """
    own = max(0, len(sys.argv) - 1)
    words = [sys.executable or sys.orig_argv[0], *sys.orig_argv[1 : len(sys.orig_argv) - own]]
    words[1:] = [os.path.abspath(word) if os.path.isfile(word) else word for word in words[1:]]
    return Program(tuple(words), {name: value for name, value in environ.items() if name not in _THIS_PROCESS_ONLY})
