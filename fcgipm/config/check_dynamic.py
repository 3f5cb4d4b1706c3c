"""Check the table [dynamic]: the names of its roots, people, what a wrapper and a chroot need."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator

from fcgipm.config.check_instances import check_rights, check_wrapper
from fcgipm.config.check_listeners import check_owners, check_queue_depth
from fcgipm.config.check_roots import check_root
from fcgipm.config.drafts import Draft
from fcgipm.config.identity import own_identity, resolve_group, resolve_user
from fcgipm.config.problems import Report
from fcgipm.config.quantities import shown
from fcgipm.config.resolve import Drafts
from fcgipm.config.schema import RESERVED_NAMES, Daemon
from fcgipm.config.socketnames import LARGEST_GENERATION, LARGEST_NUMBER, dynamic_socket, excess, private_path
from fcgipm.config.values import APP_NAMES, may_be_named
from fcgipm.counting import counted


def check_dynamic(drafts: Drafts, daemon: Daemon, euid: int, report: Report) -> None:
    """Report what keeps *euid*'s daemon from starting scripts as the table [dynamic] of *drafts* says."""
    draft = drafts.dynamic
    if draft is None:
        return
    if not draft.parts and draft.sound("roots"):
        report.warning(draft.where, "there are no roots, so no script will ever be started")
    _check_names(drafts, daemon, report)
    check_owners(draft, drafts.daemon, euid, report)
    check_queue_depth(draft, report)
    _check_chroot(draft, report)
    _check_wrapper(draft, drafts.daemon, daemon, euid, report)
    for table, name in _unknown_people(draft, drafts.daemon, report):
        table.broken.add(name)
    if not draft.sound("user", "group", "groups"):
        return
    if euid != 0 and draft.values["wrapper"] == "off":
        check_rights(draft, own_identity(euid), report)
    for root in draft.parts:
        if root.sound("user", "group", "owners", "path"):
            check_root(draft, root, daemon, euid, report)


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _check_names(drafts: Drafts, daemon: Daemon, report: Report) -> None:
    assert drafts.dynamic is not None
    taken = {name: draft.where for table in (drafts.applications, drafts.externals) for name, draft in table.items()}
    for root in drafts.dynamic.parts:
        if not root.sound("path", "name"):
            continue
        where, name = root.at("name"), root.name
        if not may_be_named(name):
            text = f"{shown(name)}, the last component of path, cannot be its name; write name = with {APP_NAMES}"
            report.problem(where, text)
        elif name in RESERVED_NAMES:
            report.problem(where, f"{name!r} is reserved for fcgipm itself; write another name")
        elif name in taken:
            first = taken[name]
            place = first.file if first.line is None else f"{first.file}:{first.line}"
            text = f"{name!r} is the name of {first.path} in {place} already"
            report.problem(where, f"{text}; applications and roots share one name space, so write another name")
        else:
            taken[name] = where
            _check_length(root, daemon, report)


def _check_length(root: Draft, daemon: Daemon, report: Report) -> None:
    """Report a root where not even the shortest name of a script would leave room for its socket's."""
    public = dynamic_socket(daemon.runtime_dir, root.name, "x")
    for name in (public, private_path(daemon.runtime_dir, public, str(LARGEST_NUMBER), LARGEST_GENERATION)):
        if excess(name) > 0:
            text = f"{name} is {counted(excess(name), 'byte')} too long for a socket"
            report.problem(root.at("name"), f"{text}; shorten runtime-dir or the root's name")
            return


# ── people ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _unknown_people(draft: Draft, daemon_draft: Draft, report: Report) -> Iterator[tuple[Draft, str]]:
    """Report each user and group that this system does not have; yield where and in which field."""
    for table in (draft, *draft.parts):
        users = {"user": (table.values["user"],), "owners": table.values.get("owners", ())}
        groups = {"group": (table.values["group"],), "groups": table.values.get("groups") or ()}
        for resolve, written in ((resolve_user, users), (resolve_group, groups)):
            for name, people in written.items():
                for person in people:
                    try:
                        _ = None if person is None else resolve(person)
                    except LookupError as error:
                        filled_in = table is draft and name not in draft.places
                        report.problem(daemon_draft.at("web_user") if filled_in else table.at(name), str(error))
                        yield table, name


def _check_wrapper(draft: Draft, daemon_draft: Draft, daemon: Daemon, euid: int, report: Report) -> None:
    if draft.values["wrapper"] == "off":
        return
    where = (draft if "wrapper" in draft.places else daemon_draft).at("wrapper")
    if euid != 0:
        report.problem(where, f"a wrapper needs root, and fcgipm is started by {own_identity(euid).user}")
        return
    check_wrapper(draft, where, daemon, report)
    for name in ("user", "group", "groups"):
        if name in draft.places and name not in draft.inherited:
            text = "is not used: with a wrapper scripts run as the user of their root, or else as their owner"
            report.warning(draft.at(name), text)


# ── directories ──────────────────────────────────────────────────────────────────────────────────────────────────


def _check_chroot(draft: Draft, report: Report) -> None:
    chroot = draft.values["chroot"]
    if chroot is None:
        return
    if not os.path.isdir(chroot):
        report.problem(draft.at("chroot"), f"{chroot}: no such directory")
        return
    for root in draft.parts:
        path = root.values["path"]
        if root.sound("path") and posixpath.commonpath((chroot, path)) != chroot:
            text = f"{path} is not inside the chroot {chroot}, so no script in it could be started"
            report.problem(root.at("path"), text)
