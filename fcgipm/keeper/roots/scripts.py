"""Whether a script that nobody declared may be run, and what exactly was looked at, as `config.scriptrule` wants it."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from fcgipm.config.identity import is_owners, script_identity, why_not_run_as
from fcgipm.config.scriptrule import ScriptError, demand_program, demand_trust, descend

if TYPE_CHECKING:
    from fcgipm.config.identity import Identity
    from fcgipm.config.loaded import Loaded
    from fcgipm.config.schema import Root
    from fcgipm.config.scriptrule import Entry


@dataclass(frozen=True, slots=True)
class Script:
    """A script that may be run; holds its *directory*, an O_PATH descriptor, until the context is left."""

    directory: int
    name: str
    status: os.stat_result
    identity: Identity

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.directory)


def examine(loaded: Loaded, root: Root, path: str, *, become: Identity | None = None) -> Script:
    """Return the script *path* of *root* if it may be run; raise `ScriptError`.

    *become* is as whom it was to run so far; it is an error then if that has changed.
    """
    directory, entries = descend(root, path)
    try:
        script = entries[-1]
        demand_program(script)
        identity = _identity(loaded, root, script, become)
        demand_trust(entries, root, identity, os.geteuid())
    except BaseException:
        os.close(directory)
        raise
    return Script(directory, posixpath.basename(path), script.status, identity)


def owner_of(root: Root, path: str) -> tuple[int, int] | None:
    """Return uid and gid of the script's file, whatever else it is; None where there is none."""
    try:
        directory, entries = descend(root, path)
    except ScriptError:
        return None
    os.close(directory)
    return entries[-1].status.st_uid, entries[-1].status.st_gid


def _identity(loaded: Loaded, root: Root, script: Entry, become: Identity | None) -> Identity:
    """Return as whom *script* runs; raise `ScriptError` where that cannot be, or is somebody else by now."""
    dynamic, status = loaded.config.dynamic, script.status
    assert dynamic is not None, root.name
    if become is not None:
        if is_owners(dynamic, root) and os.geteuid() == 0 and status.st_uid != become.uid:
            text = (
                f"{script.path} belongs to uid {status.st_uid} by now, and it was {become.user}'s; apply takes that up"
            )
            raise ScriptError(text)
        return become
    try:
        owner = status.st_uid, status.st_gid
        identity = script_identity(dynamic, root, loaded.config.daemon, os.geteuid(), owner)
    except LookupError as error:
        raise ScriptError(f"{script.path}: {error}") from error
    why = why_not_run_as(identity, loaded.manager, os.geteuid(), allow_root=dynamic.allow_root)
    if why is not None:
        raise ScriptError(f"{script.path}: {why}")
    return identity
