"""Check a root of [dynamic]: as whom its scripts run, and that nobody else can exchange it."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Container

from fcgipm.config.access import why_not_enterable
from fcgipm.config.drafts import Draft
from fcgipm.config.identity import (
    Identity,
    is_owners,
    manager_identity,
    own_identity,
    resolve_group,
    resolve_user,
    script_identity,
    why_not_run_as,
)
from fcgipm.config.problems import Report
from fcgipm.config.schema import Daemon, Dynamic, Root
from fcgipm.linux.paths import has_acl

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITABLE = "chmod go-w it, or write another directory"
_ALLOWED = "allowed: root, who starts fcgipm, who the scripts run as, and owners"


def check_root(draft: Draft, root: Draft, daemon: Daemon, euid: int, report: Report) -> None:
    """Report what keeps *euid*'s daemon from starting scripts of *root*, a part of [dynamic], *draft*."""
    table = Dynamic(**{name: draft.values[name] for name in ("user", "group", "groups", "wrapper", "allow_root")})
    parsed = Root(name=root.name, **{name: root.values[name] for name in ("path", "user", "group", "owners")})
    if euid != 0:
        _check_rights(root, parsed, own_identity(euid), report)
    each_its_own = euid == 0 and is_owners(table, parsed)
    identity = None if each_its_own else _identity(draft, root, table, parsed, daemon=daemon, euid=euid, report=report)
    if identity is None and not each_its_own:
        return  # who may own the directory is not known then
    owners = {0, euid, *(resolve_user(owner).uid for owner in parsed.owners)}
    groups = {0}
    if identity is not None:
        owners.add(identity.uid)
        groups.add(identity.gid)
    why = why_not_root(parsed.path, owners, groups, is_anybodys=each_its_own)
    if why is None and identity is not None and draft.values["wrapper"] == "off":
        why = why_not_enterable(parsed.path, identity)
    if why is not None:
        report.problem(root.at("path"), why)


def _check_rights(root: Draft, parsed: Root, own: Identity, report: Report) -> None:
    """Report what only root could do for *own*, an ordinary user."""
    if parsed.user is not None and resolve_user(parsed.user).uid != own.uid:
        report.problem(root.at("user"), f"needs root, and fcgipm is started by {own.user}")
    if parsed.group is not None and resolve_group(parsed.group) != own.gid:
        report.problem(root.at("group"), f"needs root, and fcgipm is started by {own.user}")


def _identity(
    draft: Draft, root: Draft, table: Dynamic, parsed: Root, *, daemon: Daemon, euid: int, report: Report
) -> Identity | None:
    """Return as whom the scripts of *root* run; None where that is a problem, which is told."""
    blamed = root if {"user", "group"} & root.places.keys() else draft
    where = blamed.at("group" if "user" not in blamed.places and "group" in blamed.places else "user")
    try:
        identity = script_identity(table, parsed, daemon, euid)
        manager = manager_identity(daemon, euid)
    except LookupError as error:
        report.problem(where, str(error))
        return None
    why = why_not_run_as(identity, manager, euid, allow_root=table.allow_root)
    if why is not None:
        report.problem(where, f"a script of {root.name} cannot be started: {why}")
        return None
    return identity


def why_not_root(path: str, owners: Container[int], groups: Container[int], *, is_anybodys: bool) -> str | None:
    """Return why scripts below *path* cannot be trusted to be who put them there, or None if they can.

    No symbolic link leads there, and only *owners* and members of *groups* may exchange what is on the way.  The
    directory itself may be anybody's where *is_anybodys*: whose a script is, is then looked at when it is started.
    """
    if path == "/":
        return "the whole file system cannot be a root; write the directory where scripts lie"
    if ".." in path.split("/"):
        return f'{path}: write the directory without ".."'
    here = os.open("/", _LOOK)
    walked = reached = "/"
    try:
        for part in filter(None, path.split("/")):
            reached = posixpath.join(walked, part)
            above = os.fstat(here)
            if not stat.S_ISDIR(above.st_mode):
                return f"{walked} is not a directory"
            there = os.open(part, _LOOK, dir_fd=here)
            os.close(here)
            here = there
            found = os.fstat(here)
            why = _why_exchangeable(walked, above, found, owners, groups)
            if why is not None:
                return why
            walked = reached
            if stat.S_ISLNK(found.st_mode):
                return f"{walked} is a symbolic link; write where it leads, {os.path.realpath(path)}"
        return _why_not_directory(path, here, owners, groups, is_anybodys=is_anybodys)
    except OSError as error:
        return f"{reached}: {(error.strerror or '').lower()}"
    finally:
        os.close(here)


def _why_exchangeable(
    directory: str, above: os.stat_result, entry: os.stat_result, owners: Container[int], groups: Container[int]
) -> str | None:
    """Return who else could put something in the place of *entry*, None if nobody."""
    if above.st_uid not in owners:
        return f"{directory} belongs to uid {above.st_uid}, who could exchange what is in it; {_ALLOWED}"
    if not _may_others_write(directory, above, groups):
        return None
    if not above.st_mode & stat.S_ISVTX:
        mode = f"{stat.S_IMODE(above.st_mode):04o}"
        return f"{directory}: mode {mode} lets others exchange what is in it; chmod go-w it"
    if entry.st_uid not in owners:
        return f"{directory}: anybody may write there, and uid {entry.st_uid} did; {_ALLOWED}"
    return None


def _why_not_directory(
    path: str, descriptor: int, owners: Container[int], groups: Container[int], *, is_anybodys: bool
) -> str | None:
    status = os.fstat(descriptor)
    if not stat.S_ISDIR(status.st_mode):
        return f"{path} is not a directory"
    if status.st_uid not in owners and not is_anybodys:
        return f"{path} belongs to uid {status.st_uid}; {_ALLOWED}"
    if status.st_mode & stat.S_IWOTH or (_may_others_write(path, status, groups) and not is_anybodys):
        return f"{path}: mode {stat.S_IMODE(status.st_mode):04o} lets others put scripts there; {_WRITABLE}"
    if os.statvfs(path).f_flag & os.ST_NOEXEC:
        return f"{path} lies on a file system that is mounted noexec"
    return None


def _may_others_write(path: str, status: os.stat_result, groups: Container[int]) -> bool:
    """Return whether more than its owner and members of *groups* may write the directory *path*."""
    if status.st_mode & stat.S_IWOTH:
        return True
    # With a list, the bits of the group are what all in it may have at most.
    return bool(status.st_mode & stat.S_IWGRP) and (status.st_gid not in groups or has_acl(path))
