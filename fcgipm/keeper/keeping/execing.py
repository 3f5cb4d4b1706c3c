"""Execute another program in the place of this one: the process, its children and its named descriptors stay.

Signals are blocked from before it until the new program handles them, and wait in the kernel meanwhile; what this
program has received and not dealt with is sent again, so that it waits there, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator

from fcgipm.keeper.daemon.signals import TAKEN
from fcgipm.keeper.keeping import carried
from fcgipm.keeper.keeping.carried import Carried
from fcgipm.keeper.keeping.program import Program
from fcgipm.linux.descriptors import LAST_STANDARD


@contextlib.contextmanager
def signals_blocked() -> Iterator[None]:
    """Let the signals that the keeper handles wait until the end of this context, if it has one.

    Exec makes them the default again, which is to die of one, or of CHLD to forget it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unblock_signals() -> None:
    """Take what has waited since the old program blocked it; the handlers have to be there."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TAKEN)


def send_again(numbers: Iterable[int]) -> None:
    """Have the signals *numbers*, which are blocked, wait in the kernel."""
    for number in numbers:
        os.kill(os.getpid(), number)


def replace_program(program: Program, what: Carried) -> None:
    """Become *program* with *what* it is to know; return only by raising OSError, and then nothing has changed.

    Signals must be blocked.
    """
    given: dict[str, int] = dict(what.descriptors)
    memory = carried.keep(carried.encode(what), "fcgipm-state")
    inherited = [memory, *given.values()]
    try:
        _close_on_exec(set(inherited))
        for number in inherited:
            os.set_inheritable(number, True)
        os.execve(program.words[0], [*program.words, "resume", str(memory)], program.environ)  # noqa: S606  no shell
    finally:
        for number in inherited:
            os.set_inheritable(number, False)
        os.close(memory)


def _close_on_exec(spared: set[int]) -> None:
    """Let nothing be inherited but the standard descriptors and those that are *spared*."""
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number > LAST_STANDARD and number not in spared:
            with contextlib.suppress(OSError):  # that of the listing itself
                os.set_inheritable(number, False)


def take_over(memory: int) -> Carried:
    """Return what the old program has given in the file *memory*; raise `StateError`.

    All its descriptors are close-on-exec again.
    """
    what = carried.decode(carried.kept(memory))
    for number in what.descriptors.values():
        os.set_inheritable(number, False)
    return what
