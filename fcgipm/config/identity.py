"""Find users and groups, and say as whom an application, the manager and the web server run."""

from __future__ import annotations

import grp
import os
import pwd
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from fcgipm.config.schema import Application, Daemon, Dynamic, Root

DYNAMIC_UIDS = range(61184, 65520)
"""Where systemd's DynamicUser finds its uids; no account has one of them."""

NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Identity:
    """Numbers and names of whoever runs something; *groups* are the supplementary ones, as for setgroups."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    user: str
    """A name, or ``#id`` where there is no account."""
    group: str
    home: str | None


@dataclass(frozen=True, slots=True)
class User:
    """What the user database says; *gid* and *home* are None for an id without an account."""

    uid: int
    name: str
    gid: int | None
    home: str | None


def resolve_user(text: str) -> User:
    """Return the user *text*, a name or ``#id``; raise `LookupError` with a text if there is none of that name."""
    try:
        entry = pwd.getpwuid(int(text[1:])) if text.startswith("#") else pwd.getpwnam(text)
    except KeyError:
        if text.startswith("#"):
            return User(int(text[1:]), text, None, None)
        raise LookupError(f"there is no user {text!r}") from None
    return User(entry.pw_uid, entry.pw_name, entry.pw_gid, entry.pw_dir)


def resolve_group(text: str) -> int:
    """Return the gid of *text*, a name or ``#id``; raise `LookupError` with a text if there is none of that name."""
    if text.startswith("#"):
        return int(text[1:])
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise LookupError(f"there is no group {text!r}") from None


def user_name(uid: int) -> str:
    """Return the name of *uid*, or ``#uid`` where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def group_name(gid: int) -> str:
    """Return the name of *gid*, or ``#gid`` where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"#{gid}"


def own_identity(euid: int) -> Identity:
    """Return the identity of who runs fcgipm, *euid*; the groups are those of this process."""
    user = resolve_user(f"#{euid}")
    gid = os.getegid() if euid == os.geteuid() or user.gid is None else user.gid
    return Identity(euid, gid, tuple(sorted(set(os.getgroups()))), user.name, group_name(gid), user.home)


def make_identity(user: str, group: str | None, groups: Iterable[str] | None) -> Identity:
    """Return the identity that *user*, *group* and *groups* name; raise `LookupError` with the reason."""
    account = resolve_user(user)
    if group is not None:
        gid = resolve_group(group)
    elif account.gid is not None:
        gid = account.gid
    else:
        raise LookupError(f"user {user!r} has no account, so its group must be given as well")
    if groups is not None:
        members = {resolve_group(item) for item in groups}
    elif account.gid is None:
        members = {gid}
    else:
        members = set(os.getgrouplist(account.name, gid))
    return Identity(account.uid, gid, tuple(sorted(members)), account.name, group_name(gid), account.home)


def identity_of(app: Application, daemon: Daemon, euid: int) -> Identity:
    """Return as whom the instances of *app* run; raise `LookupError` with a text where that cannot be.

    An ordinary user's instances run as that user, whose groups cannot be changed.
    """
    if euid != 0:
        return own_identity(euid)
    return make_identity(app.user or daemon.web_user, app.group, app.groups)


def script_identity(
    dynamic: Dynamic, root: Root, daemon: Daemon, euid: int, owner: tuple[int, int] | None = None
) -> Identity:
    """Return as whom a script of *root* runs; raise `LookupError` with a text where that cannot be.

    With a wrapper, and no user written for the root, it is *owner*: uid and gid of the script's file.  Who it is may
    still be somebody as whom nothing runs: `why_not_run_as` knows.
    """
    if euid != 0:
        return own_identity(euid)
    if is_owners(dynamic, root):
        if owner is None:
            raise LookupError(f"scripts of {root.name} run as their owners")
        return make_identity(user_name(owner[0]), root.group or f"#{owner[1]}", None)
    if root.user is not None:
        return make_identity(root.user, root.group, None)
    return make_identity(dynamic.user or daemon.web_user, root.group or dynamic.group, dynamic.groups)


def is_owners(dynamic: Dynamic, root: Root) -> bool:
    """Whether each script of *root* runs as the owner of its file."""
    return dynamic.wrapper not in {None, "off"} and root.user is None


def why_not_run_as(identity: Identity, manager: Identity, euid: int, *, allow_root: bool) -> str | None:
    """Return why *euid*'s daemon starts nothing as *identity*, or None if it may; *manager* is who the manager is."""
    if euid != 0:
        return None
    if identity.uid == manager.uid:
        return f"{identity.user!r} is the manager's user, as which no application may run"
    if allow_root:
        return None
    if identity.uid == 0:
        return "it would run as root, which needs allow-root = true"
    if identity.gid == 0 or 0 in identity.groups:
        return "it would have root's group, which needs allow-root = true"
    return None


def web_identity(daemon: Daemon) -> Identity:
    """Return who the web server is, with web-group as its group; raise `LookupError` with a text."""
    return make_identity(daemon.web_user, daemon.web_group or None, None)


def manager_identity(daemon: Daemon, euid: int) -> Identity:
    """Return as whom the manager runs: its one supplementary group is web-group; raise `LookupError` with a text.

    Started by an ordinary user it runs as that user, groups included.
    """
    if euid != 0:
        return own_identity(euid)
    web_group = (resolve_group(daemon.web_group),)
    try:
        user = resolve_user(daemon.user)
    except LookupError:
        uid = _free_uid(daemon.user)
        return Identity(uid, uid, web_group, f"#{uid}", group_name(uid), None)
    gid = user.uid if user.gid is None else user.gid
    return Identity(user.uid, gid, web_group, user.name, group_name(gid), user.home)


def _free_uid(name: str) -> int:
    """Return a uid for *name*: the same at every start, unless an account or a service of systemd has it."""
    first = zlib.crc32(name.encode()) % len(DYNAMIC_UIDS)
    for step in range(len(DYNAMIC_UIDS)):
        uid = DYNAMIC_UIDS[(first + step) % len(DYNAMIC_UIDS)]
        if not _is_taken(uid):
            return uid
    raise LookupError(f"there is no user {name!r}, and no free uid from {DYNAMIC_UIDS[0]} to {DYNAMIC_UIDS[-1]}")


def _is_taken(uid: int) -> bool:
    taken = user_name(uid) != f"#{uid}" or group_name(uid) != f"#{uid}"
    return taken or os.path.lexists(f"/run/systemd/dynamic-uid/direct:{uid}")
