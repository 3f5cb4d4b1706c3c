"""Check what concerns the instances of applications: as whom they run, their program, files and rights."""

from __future__ import annotations

import os
import posixpath
import resource

from fcgipm.config.access import why_not_enterable, why_not_executable
from fcgipm.config.drafts import Draft
from fcgipm.config.identity import Identity, make_identity, manager_identity, own_identity, web_identity
from fcgipm.config.problems import Report, Where
from fcgipm.config.quantities import UNLIMITED
from fcgipm.config.resolve import Drafts
from fcgipm.config.schema import Daemon
from fcgipm.linux.rlimits import LIMIT_NUMBERS

_SUEXEC_LETS_THROUGH = (
    *("HTTP_", "SSL_", "REDIRECT_", "CONTENT_", "CONTEXT_", "DATE_", "DOCUMENT_", "REMOTE_", "REQUEST_", "SCRIPT_"),
    *("SERVER_", "AUTH_TYPE", "GATEWAY_INTERFACE", "HTTPS", "LAST_MODIFIED", "PATH_INFO", "PATH_TRANSLATED"),
    *("QUERY_STRING", "TZ", "UNIQUE_ID", "USER_NAME"),
)
"""Beginnings of the names that Apache's suexec does not remove."""

_SUEXEC_LEAST_ID = 100


def check_instances(drafts: Drafts, daemon: Daemon, euid: int, report: Report) -> None:
    """Report what keeps instances of *drafts*' applications from being started by *euid*'s daemon."""
    for draft in drafts.applications.values():
        identity = _identity(draft, euid)
        if identity is None:
            continue
        if euid == 0:
            _check_identity(draft, daemon, identity, report)
        else:
            check_rights(draft, identity, report)
        if draft.values["wrapper"] != "off":
            where = (draft if "wrapper" in draft.places else drafts.daemon).at("wrapper")
            if euid == 0:
                check_wrapper(draft, where, daemon, report)
                _warn_of_ids(draft, identity, report)
            else:
                report.problem(where, f"a wrapper needs root, and fcgipm is started by {identity.user}")
        else:
            _check_program(draft, identity, report)
        _check_directories(draft, identity, report)


def _identity(draft: Draft, euid: int) -> Identity | None:
    if not draft.sound("user", "group", "groups"):
        return None
    if euid != 0:
        return own_identity(euid)
    return make_identity(draft.values["user"], draft.values["group"], draft.values["groups"])


def _check_identity(draft: Draft, daemon: Daemon, identity: Identity, report: Report) -> None:
    if not draft.values["allow_root"]:
        if identity.uid == 0:
            written = "user" in draft.places
            hint = "write allow-root = true, or another user" if written else "write user = …"
            report.problem(draft.at("user"), f"the instances would run as root; {hint}")
        elif identity.gid == 0 or 0 in identity.groups:
            blamed = "group" if identity.gid == 0 else "groups"
            report.problem(
                draft.at(blamed), "the instances would have root's group; write allow-root = true or another"
            )
    try:
        manager = manager_identity(daemon, 0)
    except LookupError:
        return  # a problem of [fcgipm], and told there
    if identity.uid == manager.uid:
        report.problem(draft.at("user"), f"{identity.user!r} is the manager's user, as which no application may run")


def check_rights(draft: Draft, own: Identity, report: Report) -> None:
    """Report what only root could do for *own*, an ordinary user."""
    values = draft.values
    wanted = make_identity(values["user"], values["group"], values["groups"])
    differs = {
        "user": wanted.uid != own.uid,
        "group": wanted.gid != own.gid,
        "groups": set(wanted.groups) - {own.gid} != set(own.groups) - {own.gid},
        "priority": values["priority"] < 0,
        "oom_score_adjust": values["oom_score_adjust"] < 0,
        "chroot": values["chroot"] is not None,
    }
    for name, needs_root in differs.items():
        if needs_root and name in draft.places:
            report.problem(draft.at(name), f"needs root, and fcgipm is started by {own.user}")
    for name, limit in values["rlimits"].items():
        hard = resource.getrlimit(LIMIT_NUMBERS[name])[1]
        if hard != resource.RLIM_INFINITY and (limit == UNLIMITED or limit > hard):
            where = draft.at("rlimits").key(name)
            report.problem(where, f"above the hard limit {hard}, which only root can raise")


def check_wrapper(draft: Draft, where: Where, daemon: Daemon, report: Report) -> None:
    """Report what keeps the wrapper, written at *where*, from starting *draft*'s instances."""
    wrapper = draft.values["wrapper"]
    if wrapper == "on":
        report.problem(where, "there is no suexec on this system; install one, or write the path of a wrapper")
        return
    try:
        blocked = why_not_executable(wrapper, web_identity(daemon))
    except LookupError:
        return  # a problem of [fcgipm], and told there
    if blocked is not None:
        report.problem(where, f"{blocked}; the wrapper is started as web-user")
    for name in ("chroot", "no_new_privs"):
        if draft.values[name]:
            report.problem(draft.at(name), f"cannot be together with the wrapper {wrapper}")
    if _is_suexec(draft):
        _warn_of_variables(draft, report)


def _is_suexec(draft: Draft) -> bool:
    wrapper: str = draft.values["wrapper"]
    return posixpath.basename(wrapper).startswith("suexec")


def _warn_of_variables(draft: Draft, report: Report) -> None:
    names = [*draft.values["initial_env"], *draft.values["pass_env"]]
    lost = [name for name in names if not name.startswith(_SUEXEC_LETS_THROUGH)]
    if lost:
        text = f"suexec lets few variables through; these get lost: {', '.join(lost)}; set them in a starter script"
        report.warning(draft.at("initial_env" if draft.values["initial_env"] else "pass_env"), text)


def _warn_of_ids(draft: Draft, identity: Identity, report: Report) -> None:
    if _is_suexec(draft) and min(identity.uid, identity.gid) < _SUEXEC_LEAST_ID:
        text = f"suexec refuses ids below {_SUEXEC_LEAST_ID}, and this is {identity.uid}:{identity.gid}"
        report.warning(draft.at("user"), text)


def _check_program(draft: Draft, identity: Identity, report: Report) -> None:
    if not draft.sound("command", "chroot"):
        return
    program = _inside(draft.values["chroot"], draft.values["command"][0])
    blocked = why_not_executable(program, identity) if program is not None else None
    if blocked is not None:
        report.problem(draft.at("command"), blocked)


def _check_directories(draft: Draft, identity: Identity, report: Report) -> None:
    if not draft.sound("chroot", "directory"):
        return
    chroot = draft.values["chroot"]
    if chroot is not None and not os.path.isdir(chroot):
        report.problem(draft.at("chroot"), f"{chroot}: no such directory")
    elif draft.values["wrapper"] != "off":
        if "directory" in draft.places:
            report.warning(draft.at("directory"), "is not used: a wrapper is started in the program's own directory")
    elif "directory" in draft.places:  # else it is the program's, which has been checked with the program
        directory = _inside(chroot, draft.values["directory"])
        blocked = why_not_enterable(directory, identity) if directory is not None else None
        if blocked is not None:
            report.problem(draft.at("directory"), blocked)


def _inside(chroot: str | None, path: str) -> str | None:
    """Return *path* as seen from outside *chroot*; None where a link makes that impossible to say."""
    if chroot is None:
        return path
    outside = posixpath.join(chroot, path.lstrip("/"))
    root = os.path.realpath(chroot)
    return outside if posixpath.commonpath((root, os.path.realpath(outside))) == root else None
