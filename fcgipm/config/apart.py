"""Read a configuration in a process of its own, for the daemon.

The daemon stays small, and a fork of it fast: the parser, the checks and what they leave in memory (3 MB with 100
applications, half a megabyte more at every `apply`) end with that process.  Nor can a fault in them end the daemon.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NoReturn

from fcgipm.config.problems import ConfigError, Problem

if TYPE_CHECKING:
    from io import FileIO

    from fcgipm.config.loaded import Loaded
    from fcgipm.config.schema import Daemon

PATIENCE: Final = 60
"""Seconds that the reading may take."""


def load_apart(
    path: str,
    *,
    environ: Mapping[str, str],
    euid: int,
    foreground: bool = True,
    running: Daemon | None = None,
) -> Loaded:
    """Do what `fcgipm.config.load.load` does, in a child that has ended by then; raise `ConfigError` as it does."""
    try:
        child, readable = _begin(path, environ=environ, euid=euid, foreground=foreground, running=running)
    except OSError as error:
        raise _unread(path, f"no process could be started for it: {error.strerror}") from error
    with os.fdopen(readable, "rb", buffering=0) as told:
        answer = _answer(told)
    if answer is None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if answer is None:
        raise _unread(path, f"it was not read within {PATIENCE} s, as where a file system does not answer")
    if status:
        code = os.waitstatus_to_exitcode(status)
        raise _unread(path, f"its reader has ended with {f'status {code}' if code >= 0 else f'signal {-code}'}")
    found: Loaded | tuple[Problem, ...] = pickle.loads(answer)  # noqa: S301  our own child has written it
    if isinstance(found, tuple):
        raise ConfigError(found)
    return found


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


def _answer(told: FileIO) -> bytes | None:
    """Return all that is told until the end, or None if that takes too long."""
    pieces: list[bytes] = []
    poller = select.poll()
    poller.register(told, select.POLLIN)
    deadline = time.monotonic() + PATIENCE
    while poller.poll(max(0, deadline - time.monotonic()) * 1000):
        piece = told.read(64 * 1024)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
    return None


def _read(
    writable: int, path: str, *, environ: Mapping[str, str], euid: int, foreground: bool, running: Daemon | None
) -> NoReturn:
    try:
        from fcgipm.config.load import load  # noqa: PLC0415  here and nowhere else in the daemon

        found: Loaded | tuple[Problem, ...]
        try:
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
