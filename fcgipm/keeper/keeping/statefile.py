"""The file with the state: written once after everything that has happened, before the keeper sleeps again.

No child becomes an instance before its number is in the file, so a keeper that is killed leaves none that nobody knows.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from fcgipm.config.schema import SECOND
from fcgipm.keeper.keeping.state import State, StateError, decode
from fcgipm.linux import memory

if TYPE_CHECKING:
    from fcgipm.keeper.context import Context
    from fcgipm.keeper.keeping.record import Record

NAME: Final = "state.json"
_PASSING: Final = "state.json.new"
_LATER: Final = SECOND
"""Until what can wait is written, and between two attempts where that fails."""
_MOST: Final = 256 * 1024 * 1024
"""Bytes: more is none of ours."""


class StateFile:
    """Writes the record into the runtime directory; it is the `context.Keeping` of the keeper's other parts."""

    def __init__(self, context: Context, directory: int, record: Record) -> None:
        """*directory* is a descriptor of the runtime directory."""
        self._context = context
        self._directory = directory
        self._record = record
        self._due: int | None = None
        """When it is to be written; 0: at once."""
        self._calls: list[Callable[[], None]] = []
        self._said = ""
        """What kept it from being written, and was said."""

    @property
    def _where(self) -> str:
        return self._context.loaded.config.daemon.runtime_dir

    def changed(self, *, later: bool = False) -> None:
        """See `context.Keeping`."""
        due = time.monotonic_ns() + _LATER if later or self._said else 0
        self._due = due if self._due is None else min(due, self._due)

    def when_written(self, call: Callable[[], None]) -> None:
        """See `context.Keeping`.  Where it cannot be written *call* is called all the same: visitors come first."""
        self._calls.append(call)

    def settle(self) -> None:
        """Write what has changed, unless that can wait."""
        if self._due == 0:
            self._write()
        elif self._calls:
            self._call()

    def why_not(self) -> str:
        """See `context.Keeping`."""
        self._write()
        return self._said and f"{NAME} cannot be written in {self._where}: {self._said}"

    def deadline(self) -> int | None:
        """Return when it is written next."""
        return self._due

    def expire(self, _now: int) -> None:
        """Write what could wait until now, and keep none of the memory that all the writes before have taken."""
        self._write()
        memory.give_back()

    def finish(self) -> None:
        """Leave what is to be known after a graceful end, or nothing."""
        try:
            text = self._record.farewell()
            if text is None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(NAME, dir_fd=self._directory)
            else:
                self._replace(text)
        except OSError as error:
            why = f"{NAME} cannot be written for the next start: {error.strerror}; what was stopped is started then"
            self._context.say("warning", why)

    def _write(self) -> None:
        self._due = time.monotonic_ns() + _LATER  # unless it succeeds
        try:
            self._replace(self._record.text())
        except OSError as error:
            why = f"{error.strerror or error}"
            if why != self._said:
                self._said = why
                what = (
                    f"cannot write {NAME} in {self._where}: {why}; were fcgipm killed now, the next one would not "
                    f"find all instances; tried again each second"
                )
                self._context.tell("error", "state-file", what)
        else:
            self._due = None
            if self._said:
                self._said = ""
                self._context.tell("info", "state-file", f"{NAME} can be written again")
        finally:
            self._call()

    def _call(self) -> None:
        calls, self._calls = self._calls, []
        for call in calls:
            call()

    def _replace(self, text: bytes) -> None:
        """Put *text* in the place of what was there, at once and whole."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(_PASSING, flags, 0o600, dir_fd=self._directory)
            try:
                os.fchmod(descriptor, 0o600)
                view = memoryview(text)
                while view:
                    view = view[os.write(descriptor, view) :]
            finally:
                os.close(descriptor)
            os.rename(_PASSING, NAME, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(_PASSING, dir_fd=self._directory)
            raise


def read(directory: int) -> State | None:
    """Return what a keeper has left in the runtime directory, None where nothing is; raise `StateError` or OSError.

    What somebody else could have written is not believed.
    """
    try:
        descriptor = os.open(NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise StateError("it is no file")
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            who = f"owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}"
            raise StateError(f"somebody else could have written it: {who}")
        if found.st_size > _MOST:
            raise StateError(f"it is {found.st_size} bytes long, which is none of ours")
        return decode(file.read(_MOST + 1))
