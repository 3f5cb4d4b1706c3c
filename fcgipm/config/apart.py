"""Read a configuration in a process of its own, for the daemon.

The daemon stays small, and a fork of it fast: the parser, the checks and what they leave in memory (3 MB with 100
applications, half a megabyte more at every `apply`) end with that process.  Nor can a fault in them end the daemon.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

from fcgipm.config.problems import ConfigError, Problem

if TYPE_CHECKING:
    from fcgipm.config.loaded import Loaded
    from fcgipm.config.schema import Daemon


def load_apart(
    path: str,
    *,
    environ: Mapping[str, str],
    euid: int,
    foreground: bool = True,
    running: Daemon | None = None,
) -> Loaded:
    """Do what `fcgipm.config.load.load` does, in a child that has ended by then; raise `ConfigError` as it does."""
    readable, writable = os.pipe2(os.O_CLOEXEC)
    # No handler of ours may run in the child.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        child = os.fork()
        if child == 0:
            _read(writable, path, environ=environ, euid=euid, foreground=foreground, running=running)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(writable)
    with os.fdopen(readable, "rb") as told:
        answer = told.read()
    _, status = os.waitpid(child, 0)
    if not answer:
        reason = f"cannot be read: its reader has ended with {_end(status)}"
        raise ConfigError((Problem(path, None, "", reason),))
    found: Loaded | tuple[Problem, ...] = pickle.loads(answer)  # noqa: S301  our own child has written it
    if isinstance(found, tuple):
        raise ConfigError(found)
    return found


def _end(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"status {code}" if code >= 0 else f"signal {-code}"


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
            found = (Problem(path, None, "", f"cannot be read: {error!r}"),)
        with os.fdopen(writable, "wb") as told:
            pickle.dump(found, told, protocol=pickle.HIGHEST_PROTOCOL)
        os._exit(0)
    finally:
        os._exit(1)
