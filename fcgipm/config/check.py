"""Check a configuration against this system, before anything is started."""

from __future__ import annotations

import os
import posixpath
import stat

from fcgipm.config.access import file_system_of, is_remote
from fcgipm.config.check_dynamic import check_dynamic
from fcgipm.config.check_instances import check_instances
from fcgipm.config.check_limits import check_limits
from fcgipm.config.check_listeners import check_listeners
from fcgipm.config.identity import NOBODY, manager_identity, resolve_group, resolve_user, web_identity
from fcgipm.config.problems import Report, Where
from fcgipm.config.resolve import Drafts
from fcgipm.config.schema import Daemon
from fcgipm.linux.paths import why_no_file, why_not_written


def check_system(drafts: Drafts, daemon: Daemon, euid: int, report: Report) -> None:
    """Report everything in *drafts* that this system does not have or allow for a daemon started by *euid*."""
    draft = drafts.daemon
    if draft.sound("runtime_dir"):
        why = why_not_runtime_dir(daemon.runtime_dir, euid)
        if why is not None:
            report.problem(draft.at("runtime_dir"), why)
    _check_people(drafts, daemon, euid, report)
    _check_files(drafts, daemon, euid, report)
    check_limits(drafts, report)
    check_instances(drafts, daemon, euid, report)
    check_listeners(drafts, daemon, euid, report)
    check_dynamic(drafts, daemon, euid, report)


def why_not_runtime_dir(path: str, euid: int) -> str | None:
    """Return why *path* cannot be the runtime directory of *euid*'s daemon, or None; it need not exist yet."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return _why_not_makeable(path, euid)
    except OSError as error:
        return f"{path}: {(error.strerror or '').lower()}"
    if not stat.S_ISDIR(status.st_mode):
        return f"{path}: not a directory"
    if status.st_uid != euid:
        return f"{path}: belongs to uid {status.st_uid}; it must belong to uid {euid}, who runs fcgipm"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{path}: mode {stat.S_IMODE(status.st_mode):04o} lets others write; allowed: 0755 or less, as 0711"
    return _why_not_local(path)


def _why_not_makeable(path: str, euid: int) -> str | None:
    parent = posixpath.dirname(path)
    try:
        status = os.stat(parent)
    except OSError as error:
        return f"{path}: cannot be made in {parent}: {(error.strerror or '').lower()}"
    if not stat.S_ISDIR(status.st_mode):
        return f"{path}: cannot be made: {parent} is not a directory"
    if euid == os.geteuid() and not os.access(parent, os.W_OK | os.X_OK, effective_ids=True):
        return f"{path}: cannot be made: uid {euid} may not write in {parent}"
    if status.st_uid not in {0, euid}:
        return f"{path}: {parent} belongs to uid {status.st_uid}, who could take the directory away"
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        return f"{path}: mode {stat.S_IMODE(status.st_mode):04o} of {parent} lets anybody take the directory away"
    return _why_not_local(parent)


def _why_not_local(path: str) -> str | None:
    file_system = file_system_of(path)
    if is_remote(file_system):
        return f"{path}: lies on {file_system}; sockets and locks need a local file system"
    return None


def _check_people(drafts: Drafts, daemon: Daemon, euid: int, report: Report) -> None:
    draft = drafts.daemon
    for name in ("admins", "readers"):
        for person in getattr(daemon, name):
            try:
                _ = resolve_group(person[1:]) if person.startswith("%") else resolve_user(person)
            except LookupError as error:
                report.problem(draft.at(name), str(error))
    if not draft.sound("web_user", "web_group", "user"):
        return
    try:
        web = web_identity(daemon)
    except LookupError as error:
        blamed = "web_group" if "group" in str(error) and "web_group" in draft.places else "web_user"
        report.problem(draft.at(blamed), str(error))
        return
    _check_manager(draft.at("user"), daemon, web.uid, euid, report)


def _check_manager(where: Where, daemon: Daemon, web_uid: int, euid: int, report: Report) -> None:
    if euid != 0:
        return
    try:
        manager = manager_identity(daemon, euid)
    except LookupError as error:
        report.problem(where, str(error))
        return
    if manager.uid == 0:
        report.problem(where, "the manager never runs as root; allowed: a user of its own, such as fcgipm")
    elif manager.uid == NOBODY or daemon.user == "nobody":
        report.problem(where, "nobody is shared by too many; allowed: a user of its own, such as fcgipm")
    elif manager.uid == web_uid:
        report.problem(where, f"{daemon.user!r} is also web-user; the manager must have a user of its own")


def _check_files(drafts: Drafts, daemon: Daemon, euid: int, report: Report) -> None:
    draft = drafts.daemon
    wanted = {"log": daemon.log, "pid_file": daemon.pid_file}
    if daemon.metrics_listen.startswith("unix:"):
        wanted["metrics_listen"] = daemon.metrics_listen.removeprefix("unix:")
    for name, path in wanted.items():
        directory = posixpath.dirname(path)
        if not path.startswith("/") or directory == daemon.runtime_dir or not draft.sound(name, "runtime_dir"):
            continue
        if os.path.isdir(path):
            report.problem(draft.at(name), f"{path}: is a directory")
        elif not os.path.isdir(directory):
            report.problem(draft.at(name), f"{path}: there is no directory {directory}")
        elif name != "metrics_listen" and (why := why_no_file(path)):
            report.problem(draft.at(name), f"{path}: {why}")
        elif euid == os.geteuid() and not _is_writable(path, directory):
            report.problem(draft.at(name), f"{path}: uid {euid} may not write there")
        elif euid == 0 and name != "metrics_listen" and os.path.exists(path) and (why := why_not_written(path)):
            report.problem(draft.at(name), f"{path}: {why}; remove it, or write another path")


def _is_writable(path: str, directory: str) -> bool:
    return os.access(path if os.path.lexists(path) else directory, os.W_OK, effective_ids=True)
