"""fcgipm with something changed in it, for proofs that need it worse than it is, or in more of a hurry.

``altered.py HOW start --foreground FILE``; *HOW* is one of `ALTERATIONS`.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from fcgipm.cli.fcgipm import main
from fcgipm.keeper.instances import retire
from fcgipm.keeper.instances.session import Process
from fcgipm.keeper.keeping import execing
from fcgipm.keeper.keeping.carried import Carried
from fcgipm.keeper.keeping.program import Program
from fcgipm.keeper.keeping.state import decode
from fcgipm.keeper.supervising import supervise


def blind() -> None:
    """Remove instances as everybody does: ask, and do not look; who does not listen is killed."""

    def remove(leader: Process, *_: object, **__: Any) -> retire.Result:
        with suppress(ProcessLookupError):
            os.killpg(leader.pid, signal.SIGTERM)
            os.killpg(leader.pid, signal.SIGKILL)
        return retire.Result.KILLED

    retire.try_removal = remove


def hasty() -> None:
    """Start each manager at once, however many have ended before it: so that many can be killed in a short time."""
    supervise._PAUSES = (0,)  # type: ignore[misc]  # its own tests prove the pauses


def slow() -> None:
    """Let whoever is frozen stand still for long enough to be seen, and the keeper to be killed meanwhile."""
    freeze = retire._Frozen.freeze

    def freeze_and_wait(self: Any, found: Any) -> bool:
        frozen = freeze(self, found)
        select.select([], [], [], 0.3)
        return frozen

    retire._Frozen.freeze = freeze_and_wait  # type: ignore[method-assign]


def abrupt() -> None:
    """Upgrade as everybody does: end everything, and start again."""

    def replace(program: Program, what: Carried) -> None:
        for instance in decode(what.state.encode()).instances:
            os.killpg(instance.pid, signal.SIGKILL)
            os.waitpid(instance.pid, 0)
        os.execve(program.words[0], [*program.words, "start", "--foreground", what.path], program.environ)

    execing.replace_program = replace


ALTERATIONS: Final[Mapping[str, Callable[[], None]]] = {
    "abrupt": abrupt, "blind": blind, "hasty": hasty, "slow": slow,
}  # fmt: skip

if __name__ == "__main__":
    ALTERATIONS[sys.argv.pop(1)]()
    sys.argv[0] = "fcgipm"
    sys.exit(main())
