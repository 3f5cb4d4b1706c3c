"""Open a path that somebody else could have prepared: component by component, following no stranger's links."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Container
from typing import Final

_LOOK: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS: Final = 40
_ACL: Final = "system.posix_acl_access"
_KINDS: Final = {
    stat.S_IFIFO: "a pipe (fifo)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFDIR: "a directory",
}


class UntrustedError(OSError):
    """Somebody could have led us there; `strerror` says who or what."""

    def __init__(self, text: str) -> None:
        super().__init__(0, text)


def open_path(path: str, owners: Container[int] | None = None) -> int:
    """Return an O_PATH descriptor of what the absolute *path* names; raise OSError.

    Symbolic links are followed where only root or who runs this could have set them.  With *owners*, nobody but these
    uids may be able to change what lies on the way: `UntrustedError` tells where that is otherwise.
    """
    here = os.open("/", _LOOK)
    walked = "/"
    try:
        parts = _parts(path)
        links = 0
        while parts:
            part = parts.pop()
            there = os.open(part, _LOOK, dir_fd=here)
            try:
                directory, found = os.fstat(here), os.fstat(there)
                if owners is not None:
                    _demand(walked, directory, found, owners)
                if stat.S_ISLNK(found.st_mode):
                    links += 1
                    if links > _MAX_LINKS:
                        raise UntrustedError(f"{walked}: too many symbolic links")
                    _demand(walked, directory, found, {0, os.geteuid()})
                    target = os.readlink("", dir_fd=there)
                    parts += _parts(target)
                    if target.startswith("/"):
                        os.close(there)
                        there = os.open("/", _LOOK)
                        here, there, walked = there, here, "/"
                    continue
                here, there = there, here
                walked = os.path.normpath(os.path.join(walked, part))
            finally:
                os.close(there)
    except BaseException:
        os.close(here)
        raise
    return here


def open_directory(path: str, owners: Container[int] | None = None) -> int:
    """Do as `open_path` for a directory, as `dir_fd` wants it."""
    descriptor = open_path(path, owners)
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotADirectoryError(20, os.strerror(20), path)
    return descriptor


def _parts(path: str) -> list[str]:
    """Return the components of *path*, the last one first."""
    return [part for part in reversed(path.split("/")) if part not in {"", "."}]


def _demand(where: str, directory: os.stat_result, entry: os.stat_result, owners: Container[int]) -> None:
    """Raise `UntrustedError` if somebody but *owners* could put something else in the place of *entry*."""
    if directory.st_uid not in owners:
        raise UntrustedError(f"{where} belongs to uid {directory.st_uid}, who could replace what is in it")
    if not may_others_write(directory):
        return
    if not directory.st_mode & stat.S_ISVTX:
        raise UntrustedError(f"{where}: mode {stat.S_IMODE(directory.st_mode):04o} lets others replace what is in it")
    if entry.st_uid not in owners:
        raise UntrustedError(f"{where}: anybody may write there, and uid {entry.st_uid} did")


def may_others_write(status: os.stat_result) -> bool:
    """Return whether more than its owner and root's group may write the file or directory *status*."""
    return bool(status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and status.st_gid != 0))


def has_acl(path: str, *, follow: bool = True) -> bool:
    """Return whether *path* has an access control list, which may let more users in than its mode shows.

    With *follow* a symbolic link stands for where it leads.
    """
    try:
        return bool(os.getxattr(path, _ACL, follow_symlinks=follow))
    except OSError:
        return False


def open_to_write(path: str, flags: int, mode: int) -> int:
    """Open *path* for writing with *flags*, made with *mode* if missing; raise OSError, but never wait.

    It must be a file or a character device: a fifo makes who opens it wait for a reader, and may have none later.  Root
    does not write where somebody else's link leads, neither a symbolic nor a hard one.
    """
    if why := why_no_file(path):
        raise OSError(errno.EINVAL, why)
    descriptor = _open_at_once(path, flags | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK, mode)
    try:
        _demand_file(os.fstat(descriptor))  # it may be another by now
        os.set_blocking(descriptor, True)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _open_at_once(path: str, flags: int, mode: int) -> int:
    if os.geteuid() != 0:
        return os.open(path, flags | os.O_CREAT, mode)
    if not os.path.lexists(path):
        directory = open_directory(os.path.dirname(path))
        try:
            return os.open(os.path.basename(path), flags | os.O_CREAT | os.O_EXCL, mode, dir_fd=directory)
        finally:
            os.close(directory)
    descriptor = os.open(path, flags)  # which changes nothing yet
    try:
        _demand_only_name(path, os.fstat(descriptor))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def why_no_file(path: str) -> str | None:
    """Return why what exists at *path* is nothing to write a log or the like to, None if it is, or does not exist."""
    try:
        _demand_file(os.stat(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.strerror
    return None


def why_not_written(path: str) -> str | None:
    """Return why root must not write to the existing file *path*, None if nothing speaks against it."""
    try:
        _demand_only_name(path, os.stat(path))
    except OSError as error:
        return error.strerror
    return None


def _demand_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISCHR(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}; allowed: a file or a character device")


def _demand_only_name(path: str, opened: os.stat_result) -> None:
    if not stat.S_ISREG(opened.st_mode):
        return  # a terminal, /dev/null
    if opened.st_nlink > 1:
        raise UntrustedError(f"it has {opened.st_nlink} names (hard links), one of which may be somebody else's")
    found = open_path(path)
    try:
        if not os.path.samestat(os.fstat(found), opened):
            raise UntrustedError("it was replaced meanwhile")
    finally:
        os.close(found)
