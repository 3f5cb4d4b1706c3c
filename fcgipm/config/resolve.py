"""Fill in what depends on something: the system, the daemon's table, or another key of the same application."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

from fcgipm.config.drafts import Draft
from fcgipm.config.identity import (
    Identity,
    group_name,
    identity_of,
    make_identity,
    own_identity,
    resolve_group,
    resolve_user,
)
from fcgipm.config.problems import Report
from fcgipm.config.schema import Application, Daemon

WEB_SERVER = "www-data"
SUEXEC = (
    "/usr/lib/apache2/suexec",
    "/usr/sbin/suexec",
    "/usr/lib/httpd/suexec",
    "/usr/libexec/apache2/suexec",
    "/usr/local/apache2/bin/suexec",
)
"""Where distributions put it, Debian first."""


@dataclass(slots=True)
class Drafts:
    """All tables of a configuration as drafts, by name."""

    daemon: Draft
    applications: dict[str, Draft]
    externals: dict[str, Draft]
    dynamic: Draft | None = None

    def of_instances(self) -> list[Draft]:
        """Return the tables that describe instances."""
        return [*self.applications.values(), *([] if self.dynamic is None else [self.dynamic])]


def fill_daemon(draft: Draft, environ: Mapping[str, str], euid: int, *, foreground: bool) -> None:
    """Fill in the defaults of [fcgipm] that depend on the system and on how fcgipm is started."""
    if "runtime_dir" not in draft.places:
        draft.values["runtime_dir"] = default_runtime_dir(environ, euid)
    defaults = {
        "web_user": _web_user(euid),
        "web_group": _web_group(euid),
        "log": "stderr" if foreground else "syslog",
        "pid_file": posixpath.join(draft.values["runtime_dir"], "fcgipm.pid"),
    }
    for name, value in defaults.items():
        if not draft.values[name]:
            draft.values[name] = value
    draft.values["wrapper"] = _found_wrapper(draft.values["wrapper"])


def default_runtime_dir(environ: Mapping[str, str], euid: int) -> str:
    """Return where the sockets of *euid*'s daemon are unless the file says otherwise."""
    if euid == 0:
        return "/run/fcgipm"
    own = environ.get("XDG_RUNTIME_DIR", "")
    return posixpath.join(own, "fcgipm") if own.startswith("/") else f"/tmp/fcgipm-{euid}"


def fill_applications(drafts: Drafts, daemon: Daemon, euid: int, report: Report) -> None:
    """Make every application and external application complete; identities that cannot be go to *report*."""
    for draft in drafts.applications.values():
        _fill_application(draft, daemon)
        _fill_identity(draft, drafts.daemon, daemon, euid, report)
    for draft in drafts.externals.values():
        draft.values["uri"] = draft.values["uri"] or (f"/{draft.name}/",)
    if drafts.dynamic is not None:
        _fill_dynamic(drafts.dynamic, daemon, euid)


def _fill_application(draft: Draft, daemon: Daemon) -> None:
    values = draft.values
    values["uri"] = values["uri"] or (f"/{draft.name}/",)
    if values["port"] is None and "port" not in draft.broken:
        values["socket"] = posixpath.join(daemon.runtime_dir, values["socket"] or f"{draft.name}.sock")
    _fill_range(draft)
    if "idle_stop" in draft.inherited and (values["processes"] is not None or values["min_processes"]):
        values["idle_stop"] = None  # [defaults] gives it to those who can use it
    if values["command"]:
        draft.fill("directory", posixpath.dirname(values["command"][0]))
    values["wrapper"] = _found_wrapper(values["wrapper"] or daemon.wrapper)
    _bound_default(draft, "ready_timeout", "start_timeout")


def _fill_dynamic(draft: Draft, daemon: Daemon, euid: int) -> None:
    values = draft.values
    values["wrapper"] = _found_wrapper(values["wrapper"] or daemon.wrapper)
    _bound_default(draft, "ready_timeout", "start_timeout")
    for name in ("max_class_processes", "min_processes", "process_slack"):
        _bound_default(draft, name, "max_processes")
    if euid != 0:
        _fill_own(draft, own_identity(euid))
    elif values["wrapper"] == "off":  # else a script runs as the user of its root, or as its owner
        draft.fill("user", daemon.web_user)
    draft.fill("socket_group", daemon.web_group)
    for root in draft.parts:
        root.values["name"] = root.name = root.values["name"] or posixpath.basename(root.values["path"])
        root.values["uri"] = root.values["uri"] or f"/{root.name}/"


def _bound_default(draft: Draft, name: str, greatest: str) -> None:
    """Make the default of *name* no more than what was written as the *greatest*."""
    if greatest in draft.places and name not in draft.places:
        draft.values[name] = min(draft.values[name], draft.values[greatest])


def _fill_range(draft: Draft) -> None:
    """Leave either `processes` or both of the others."""
    values = draft.values
    if draft.places.keys().isdisjoint({"min_processes", "max_processes"}):
        return
    values["processes"] = None
    if values["max_processes"] is None:
        values["max_processes"] = max(1, values["min_processes"] or 0)
    if values["min_processes"] is None:
        values["min_processes"] = 1


def _fill_identity(draft: Draft, daemon_draft: Draft, daemon: Daemon, euid: int, report: Report) -> None:
    """Write down as whom the instances run and who owns the socket, so that `apply` notices when that changes."""
    values = draft.values
    names = {name: values[name] for name in ("user", "group", "groups")}
    try:
        identity = identity_of(Application(name=draft.name, command=("/",), **names), daemon, euid)
        make_identity(names["user"] or identity.user, names["group"] or identity.group, names["groups"])
    except LookupError as error:
        if draft.sound("user", "group", "groups"):
            blamed = next((name for name in ("group", "groups") if _is_unknown(values[name])), "user")
            from_daemon = blamed == "user" and values["user"] is None
            report.problem(daemon_draft.at("web_user") if from_daemon else draft.at(blamed), str(error))
        draft.broken |= {"user", "group", "groups"}
        return
    _fill_own(draft, identity)
    draft.fill("socket_owner", identity.user)
    draft.fill("socket_group", daemon.web_group)


def _fill_own(draft: Draft, identity: Identity) -> None:
    draft.fill("user", identity.user)
    draft.fill("group", identity.group)
    draft.fill("groups", tuple(group_name(gid) for gid in identity.groups))


def _is_unknown(groups: str | tuple[str, ...] | None) -> bool:
    names = (groups,) if isinstance(groups, str) else groups or ()
    try:
        for name in names:
            resolve_group(name)
    except LookupError:
        return True
    return False


def _found_wrapper(wrapper: str) -> str:
    """Return *wrapper* with "on" replaced by the system's suexec; "on" is left where there is none."""
    if wrapper != "on":
        return wrapper
    return next((path for path in SUEXEC if os.path.exists(path)), "on")


def _web_user(euid: int) -> str:
    try:
        return resolve_user(WEB_SERVER).name
    except LookupError:
        return own_identity(euid).user


def _web_group(euid: int) -> str:
    """Return the web server's group if sockets can be given to it, else the daemon's own."""
    own = own_identity(euid)
    try:
        gid = resolve_group(WEB_SERVER)
    except LookupError:
        return own.group
    return WEB_SERVER if euid == 0 or gid in {own.gid, *own.groups} else own.group
