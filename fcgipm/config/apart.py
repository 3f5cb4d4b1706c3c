"""Read a configuration in a process of its own, for the daemon.

The daemon stays small, and a fork of it fast: the parser, the checks and what they leave in memory (3 MB with 100
applications, half a megabyte more at every `apply`) end with that process.  Nor can a fault in them end the daemon.
"""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NoReturn

from fcgipm.config.problems import ConfigError, Problem

if TYPE_CHECKING:
    from fcgipm.config.loaded import Loaded
    from fcgipm.config.schema import Daemon

PATIENCE: Final = 60
"""Seconds that the reading may take."""
_TURN: Final = 1 << 20
"""Bytes taken at once, as much as a pipe may hold."""


class Reading:
    """A configuration that is being read by a child.

    `fileno` becomes readable when the child has something to tell; then call `feed` until it returns True, and
    `result`.  The child's end is for the owner to wait for: it is a child like others.
    """

    def __init__(
        self,
        path: str,
        *,
        environ: Mapping[str, str],
        euid: int,
        foreground: bool = True,
        running: Daemon | None = None,
    ) -> None:
        """Begin to do what `fcgipm.config.load.load` does; raise `ConfigError` where not even that can be done."""
        self._path = path
        self._told = bytearray()
        try:
            self.pid, self._pipe = _begin(path, environ=environ, euid=euid, foreground=foreground, running=running)
        except OSError as error:
            raise _unread(path, f"no process could be started for it: {error.strerror}") from error

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return self._pipe

    def feed(self) -> bool:
        """Take what is there; return whether that was all."""
        piece = os.read(self._pipe, _TURN)
        self._told += piece
        return not piece

    def result(self) -> Loaded:
        """Return what was read, after the last `feed`; raise `ConfigError` as `load` does."""
        os.close(self._pipe)
        if not self._told:
            raise _unread(self._path, "its reader has ended without an answer")
        try:
            found: Loaded | tuple[Problem, ...] = pickle.loads(self._told)  # noqa: S301  our own child has written it
        except (pickle.UnpicklingError, EOFError) as error:
            raise _unread(self._path, "its reader has ended in the middle of its answer") from error
        if isinstance(found, tuple):
            raise ConfigError(found)
        return found

    def give_up(self) -> ConfigError:
        """End the child, which takes too long; return what to say."""
        os.close(self._pipe)
        os.kill(self.pid, signal.SIGKILL)  # not waited for yet: the number is still its own
        return _unread(self._path, f"it was not read within {PATIENCE} s, as where a file system does not answer")


def load_apart(
    path: str,
    *,
    environ: Mapping[str, str],
    euid: int,
    foreground: bool = True,
) -> Loaded:
    """Do what `fcgipm.config.load.load` does, in a child that has ended by then; raise `ConfigError` as it does."""
    reading = Reading(path, environ=environ, euid=euid, foreground=foreground)
    poller = select.poll()
    poller.register(reading, select.POLLIN)
    deadline = time.monotonic() + PATIENCE
    while poller.poll(max(0, deadline - time.monotonic()) * 1000):
        if reading.feed():
            os.waitpid(reading.pid, 0)
            return reading.result()
    raise reading.give_up()


def _unread(path: str, why: str) -> ConfigError:
    return ConfigError((Problem(path, None, "", f"cannot be read: {why}"),))


def _begin(
    path: str, *, environ: Mapping[str, str], euid: int, foreground: bool, running: Daemon | None
) -> tuple[int, int]:
    """Return the reading child and the pipe in which it answers."""
    readable, writable = os.pipe2(os.O_CLOEXEC)
    # No handler of ours may run in the child.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        child = os.fork()
        if child == 0:
            _read(writable, path, environ=environ, euid=euid, foreground=foreground, running=running)
    except OSError:
        os.close(readable)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(writable)
    return child, readable


def _read(
    writable: int, path: str, *, environ: Mapping[str, str], euid: int, foreground: bool, running: Daemon | None
) -> NoReturn:
    gc.disable()  # it would look at, and so copy, every page of the daemon's; this process ends soon
    try:
        found: Loaded | tuple[Problem, ...]
        try:
            from fcgipm.config.load import load  # noqa: PLC0415  here and nowhere else in the daemon

            found = load(path, environ=environ, euid=euid, foreground=foreground, running=running)
        except ConfigError as error:
            found = error.problems
        except Exception as error:  # noqa: BLE001  whatever it is, the daemon says it and lives on
            found = _unread(path, repr(error)).problems
        with os.fdopen(writable, "wb") as told:
            pickle.dump(found, told, protocol=pickle.HIGHEST_PROTOCOL)
        os._exit(0)
    finally:
        os._exit(1)
