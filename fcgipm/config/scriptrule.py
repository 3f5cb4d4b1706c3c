"""What may run of that which nobody declared: a rule about everything from a root down to the script.

From the root down everything is opened component by component, following no link.  Nobody but root, who it will run
as, and the root's owners may be able to change anything there: so nobody else can exchange it afterwards either.
Keeper and manager look by this rule, each with its own rights; what the keeper finds is what counts.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from fcgipm.config.dynamic import script_path
from fcgipm.config.identity import resolve_user
from fcgipm.linux.paths import has_acl

if TYPE_CHECKING:
    from fcgipm.config.identity import Identity
    from fcgipm.config.schema import Root

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

Obstacle: TypeAlias = Literal["missing", "directory", "forbidden"]
"""Nothing is there; a directory, in which a script may be; or what may not be run."""


class ScriptError(Exception):
    """The script may not be run, or is none; *obstacle* says what is in the way, the text why."""

    def __init__(self, text: str, obstacle: Obstacle = "forbidden") -> None:
        super().__init__(text)
        self.obstacle: Obstacle = obstacle


class NotExecutable(ScriptError):
    """Nobody may execute the file: it is no script, or not yet."""


class Unseen(ScriptError):
    """It cannot be looked at with the rights that there are."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory on the way, as it was."""

    path: str
    status: os.stat_result


def demand_program(script: Entry) -> None:
    """Raise `ScriptError` unless *script* is an executable file, whoever may execute it."""
    mode = script.status.st_mode
    if stat.S_ISDIR(mode):
        raise ScriptError(f"{script.path} is not a regular file but a directory", "directory")
    if not stat.S_ISREG(mode):
        raise ScriptError(f"{script.path} is not a regular file")
    if not mode & 0o111:
        raise NotExecutable(f"{script.path} is not executable")


def demand_trust(entries: Sequence[Entry], root: Root, identity: Identity, starter: int) -> None:
    """Raise `ScriptError` if somebody who is not trusted could change one of *entries*, or *identity* not run the last.

    *identity* is who it runs as, *starter* the uid as which fcgipm was started.
    """
    owners = {0, starter, identity.uid, *_uids(root.owners)}
    for entry in entries:
        _demand(entry, identity, owners)
    script = entries[-1]
    if not _may_execute(script, identity):
        raise ScriptError(f"{script.path}: {identity.user} may not execute it{_shown(script.status)}")


# ── the way there ────────────────────────────────────────────────────────────────────────────────────────────────


def descend(root: Root, path: str) -> tuple[int, list[Entry]]:
    """Return a descriptor of the directory of *path*, and what lies on the way, from *root* to the script itself.

    Raises `ScriptError`, and OSError where that could not even be tried.
    """
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
        raise ScriptError(f"{path}: {os.strerror(error.errno or 0).lower()}", "missing") from error
    except OSError as error:
        raise Unseen(f"{path}: {os.strerror(error.errno or 0).lower()}") from error


# ── who may change it, and who executes it ────────────────────────────────────────────────────────────────────────────


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
