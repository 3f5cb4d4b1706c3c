"""Say whether a user may reach, read or execute a file, without becoming that user."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator

from fcgipm.config.identity import Identity
from fcgipm.linux.paths import has_acl

REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs"})
"""File systems on which a Unix socket or a lock does not do what it must."""


def why_not_executable(path: str, identity: Identity) -> str | None:
    """Return why *identity* cannot execute the file *path*, or None if it can."""
    try:
        status = os.stat(path)
    except OSError as error:
        return _missing(path, error)
    if stat.S_ISDIR(status.st_mode):
        return f"{path}: is a directory"
    if not stat.S_ISREG(status.st_mode):
        return f"{path}: not a regular file"
    if os.statvfs(path).f_flag & os.ST_NOEXEC:
        return f"{path}: lies on a file system that is mounted noexec"
    blocked = why_not_reachable(path, identity)
    if blocked is not None:
        return blocked
    if not _may_execute(path, status, identity):
        return f"{path}: {identity.user} may not execute it{_owned(status)}"
    return None


def why_not_enterable(path: str, identity: Identity) -> str | None:
    """Return why *path* cannot be the working directory of *identity*, or None if it can."""
    try:
        status = os.stat(path)
    except OSError as error:
        return _missing(path, error)
    if not stat.S_ISDIR(status.st_mode):
        return f"{path}: not a directory"
    return why_not_reachable(posixpath.join(path, "."), identity)


def why_not_reachable(path: str, identity: Identity) -> str | None:
    """Return which directory above *path* keeps *identity* out, or None."""
    for directory in _directories_above(path):
        try:
            status = os.stat(directory)
        except OSError as error:
            return _missing(directory, error)
        if not _may_execute(directory, status, identity):
            return f"{path}: {identity.user} may not enter {directory}{_owned(status)}"
    return None


def file_system_of(path: str) -> str:
    """Return the type of the file system that *path*, which exists, lies on; empty where the kernel does not say."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with os.fdopen(os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)) as mounts:
        for line in mounts:
            fields = line.split(" ")
            if fields[2] == wanted:
                return fields[fields.index("-") + 1]
    return ""


def is_remote(file_system: str) -> bool:
    """Whether *file_system* is on another machine or in a program: NFS, CIFS, FUSE and their like."""
    return file_system in REMOTE or file_system.startswith("fuse")


def _directories_above(path: str) -> Iterator[str]:
    """Yield the directories that are passed on the way to *path*, as it is written and as its links lead."""
    seen = set()
    for start in (posixpath.dirname(path), posixpath.dirname(os.path.realpath(path))):
        directory = start
        parts = []
        while directory not in seen:
            parts.append(directory)
            seen.add(directory)
            directory = posixpath.dirname(directory)
        yield from reversed(parts)


def _may_execute(path: str, status: os.stat_result, identity: Identity) -> bool:
    """Whether *identity* may run, or enter, what has *status*."""
    mode = status.st_mode
    if identity.uid == 0:
        return stat.S_ISDIR(mode) or bool(mode & 0o111)
    if identity.uid == status.st_uid:
        return bool(mode & stat.S_IXUSR)
    if has_acl(path):
        return True  # the list may name this user; the kernel will decide when the time comes
    if status.st_gid == identity.gid or status.st_gid in identity.groups:
        return bool(mode & stat.S_IXGRP)
    return bool(mode & stat.S_IXOTH)


def _owned(status: os.stat_result) -> str:
    return f" (owner {status.st_uid}:{status.st_gid}, mode {stat.S_IMODE(status.st_mode):04o})"


def _missing(path: str, error: OSError) -> str:
    return f"{path}: {(error.strerror or str(error)).lower()}"
