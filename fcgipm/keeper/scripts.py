"""Whether a script that nobody declared may be run, and what exactly was looked at.

From the root down everything is opened component by component, following no link.  Nobody but root, who it will run
as, and the root's owners may be able to change anything there: so nobody else can exchange it afterwards either.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from fcgipm.config.dynamic import script_path
from fcgipm.config.identity import is_owners, resolve_user, script_identity, why_not_run_as
from fcgipm.linux.paths import has_acl

if TYPE_CHECKING:
    from fcgipm.config.identity import Identity
    from fcgipm.config.loaded import Loaded
    from fcgipm.config.schema import Root

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class ScriptError(Exception):
    """The script may not be run, or is *missing*; the text says why."""

    def __init__(self, text: str, *, missing: bool = False) -> None:
        super().__init__(text)
        self.missing = missing


class NotExecutable(ScriptError):
    """Nobody may execute the file: it is no script, or not yet."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory on the way, as it was."""

    path: str
    status: os.stat_result


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
    directory, entries = _descend(root, path)
    try:
        script = entries[-1]
        if not stat.S_ISREG(script.status.st_mode):
            raise ScriptError(f"{script.path} is not a regular file")
        if not script.status.st_mode & 0o111:
            raise NotExecutable(f"{script.path} is not executable")
        identity = _identity(loaded, root, script, become)
        owners = {0, os.geteuid(), identity.uid, *_uids(root.owners)}
        for entry in entries:
            _demand(entry, identity, owners)
        if not _may_execute(script, identity):
            raise ScriptError(f"{script.path}: {identity.user} may not execute it{_shown(script.status)}")
    except BaseException:
        os.close(directory)
        raise
    return Script(directory, posixpath.basename(path), script.status, identity)


def owner_of(root: Root, path: str) -> tuple[int, int] | None:
    """Return uid and gid of the script's file, whatever else it is; None where there is none."""
    try:
        directory, entries = _descend(root, path)
    except ScriptError:
        return None
    os.close(directory)
    return entries[-1].status.st_uid, entries[-1].status.st_gid


# ── the way there ────────────────────────────────────────────────────────────────────────────────────────────────


def _descend(root: Root, path: str) -> tuple[int, list[Entry]]:
    """Return a descriptor of the directory of *path*, and what lies on the way, from *root* to the script itself."""
    top = posixpath.normpath(root.path)
    above = here = os.open("/", _LOOK)
    entries: list[Entry] = []
    walked = "/"
    try:
        for part in filter(None, script_path(root, path).split("/")):
            walked = posixpath.join(walked, part)
            there = _opened(walked, part, here)
            if above != here:
                os.close(above)
            above, here = here, there
            status = os.fstat(here)
            if stat.S_ISLNK(status.st_mode):
                raise ScriptError(f"{walked} is a symbolic link")
            if walked == top or entries:
                entries.append(Entry(walked, status))
    except BaseException:
        os.close(above)
        if here != above:
            os.close(here)
        raise
    os.close(here)
    return above, entries


def _opened(path: str, name: str, directory: int) -> int:
    try:
        return os.open(name, _LOOK, dir_fd=directory)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ScriptError(f"{path}: {os.strerror(error.errno or 0).lower()}", missing=True) from error
    except OSError as error:
        raise ScriptError(f"{path}: {os.strerror(error.errno or 0).lower()}") from error


# ── who may change it, and who runs it ───────────────────────────────────────────────────────────────────────────


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


def _uids(names: tuple[str, ...]) -> set[int]:
    found = set()
    for name in names:
        try:
            found.add(resolve_user(name).uid)
        except LookupError:
            continue  # nobody has that name any more
    return found


def _demand(entry: Entry, identity: Identity, owners: Container[int]) -> None:
    """Raise `ScriptError` if somebody but *owners*, and the group that it runs with, could change *entry*."""
    status = entry.status
    if status.st_uid not in owners:
        allowed = f"allowed: root, {identity.user}, who runs it, and the root's owners"
        raise ScriptError(f"{entry.path} belongs to uid {status.st_uid}; {allowed}")
    if status.st_mode & stat.S_IWOTH:
        raise ScriptError(f"{entry.path}: everybody may write it{_shown(status)}")
    if not status.st_mode & stat.S_IWGRP:
        return
    if status.st_gid not in {0, identity.gid}:
        allowed = f"allowed: root's group, and {identity.group}, with which it runs"
        raise ScriptError(f"{entry.path}: its group may write it{_shown(status)}; {allowed}")
    if has_acl(entry.path, follow=False):  # the bits of the group say only what all that are listed may at most
        raise ScriptError(f"{entry.path}: an access control list lets others write it")


def _may_execute(script: Entry, identity: Identity) -> bool:
    mode, status = script.status.st_mode, script.status
    if identity.uid == 0 or has_acl(script.path, follow=False):
        return bool(mode & 0o111)
    if status.st_uid == identity.uid:
        return bool(mode & stat.S_IXUSR)
    if status.st_gid == identity.gid or status.st_gid in identity.groups:
        return bool(mode & stat.S_IXGRP)
    return bool(mode & stat.S_IXOTH)


def _shown(status: os.stat_result) -> str:
    return f" (owner {status.st_uid}:{status.st_gid}, mode {stat.S_IMODE(status.st_mode):04o})"
