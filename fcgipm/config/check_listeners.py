"""Check where applications listen: sockets, ports, and that no two of them want the same."""

from __future__ import annotations

import os
import posixpath
import socket
import stat

from fcgipm.config.access import file_system_of, is_remote
from fcgipm.config.addresses import is_address, split_host
from fcgipm.config.drafts import Draft
from fcgipm.config.identity import group_name, own_identity, resolve_group, resolve_user
from fcgipm.config.problems import Report, Where
from fcgipm.config.resolve import Drafts
from fcgipm.config.schema import Daemon
from fcgipm.config.socketnames import LARGEST_GENERATION, LONGEST_PATH, excess, private_path
from fcgipm.config.tables import is_usable_name
from fcgipm.counting import counted
from fcgipm.linux.paths import may_others_write, open_directory

_OWN_FILES = ("control.sock", "connector.sock", "report.sock", "metrics.sock", "state.json", "fcgipm.pid")
_OWN_DIRECTORIES = ("private", "dynamic")


def check_listeners(drafts: Drafts, daemon: Daemon, euid: int, report: Report) -> None:
    """Report what keeps the applications of *drafts* from listening where they say."""
    paths = _Claims(report, "socket")
    ports = _Claims(report, "port")
    _claim_own(drafts.daemon, daemon, paths, ports)
    for draft in drafts.applications.values():
        if not draft.sound("socket", "port", "address") or not is_usable_name(draft.name):
            continue
        if draft.values["port"] is not None:
            _check_port(draft, euid, report)
            ports.claim(_port_key(draft.values["address"], draft.values["port"]), draft.at("port"), draft.name)
        else:
            _check_socket(draft, drafts.daemon, daemon, euid, report)
            paths.claim((_real(draft.values["socket"]),), draft.at("socket"), draft.name)
            _refuse_tcp_keys(draft, report)
        check_queue_depth(draft, report)
    for draft in drafts.externals.values():
        _check_external(draft, paths, ports, report)


class _Claims:
    """Who listens where; the second who wants the same place is told who the first is."""

    def __init__(self, report: Report, what: str) -> None:
        self._report = report
        self._what = what
        self._owners: dict[tuple[object, ...], str] = {}

    def claim(self, place: tuple[object, ...], where: Where, owner: str) -> None:
        if self.is_free(place, where):
            self._owners[place] = owner

    def is_free(self, place: tuple[object, ...], where: Where) -> bool:
        """Whether nobody listens at *place*; if somebody does, it is a problem of *where*."""
        for taken, first in self._owners.items():
            if _is_same(place, taken):
                text = f"{self._what} {place[0]} is taken by {first}"
                self._report.problem(where, f"{text}; each needs one of its own")
                return False
        return True


def _is_same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    """Whether two places are one: equal, or a port on a single address and on all addresses of its family."""
    if one == other:
        return True
    if len(one) != 3 or len(other) != 3 or one[:2] != other[:2]:
        return False
    return any(isinstance(address, bytes) and not any(address) for address in (one[2], other[2]))


def _real(path: str) -> str:
    """Return *path* with the links in its directory followed, so that /var/run/x is /run/x."""
    return posixpath.join(os.path.realpath(posixpath.dirname(path)), posixpath.basename(path))


def _port_key(address: str, port: int) -> tuple[object, ...]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return port, family, socket.inet_pton(family, address)


def _claim_own(draft: Draft, daemon: Daemon, paths: _Claims, ports: _Claims) -> None:
    for name in _OWN_FILES:
        paths.claim((_real(posixpath.join(daemon.runtime_dir, name)),), draft.where, "fcgipm itself")
    if daemon.metrics_listen.startswith("unix:"):
        paths.claim((_real(daemon.metrics_listen.removeprefix("unix:")),), draft.at("metrics_listen"), "metrics-listen")
    elif daemon.metrics_listen and draft.sound("metrics_listen"):
        host, port = split_host(daemon.metrics_listen)
        ports.claim(_port_key(host, port), draft.at("metrics_listen"), "metrics-listen")


def _check_port(draft: Draft, euid: int, report: Report) -> None:
    if "socket" in draft.places:
        report.problem(draft.at("socket"), "cannot be together with port; an application listens in one place")
    for address in draft.values["allowed_clients"]:
        if not is_address(address):
            report.problem(draft.at("allowed_clients"), f"{address!r} is not an IPv4 or IPv6 address")
    least = _number_from("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if euid != 0 and least is not None and draft.values["port"] < least:
        report.warning(draft.at("port"), f"ports below {least} usually need root")


def _refuse_tcp_keys(draft: Draft, report: Report) -> None:
    if "address" in draft.places:
        report.problem(draft.at("address"), "needs port beside it; without one the application has a Unix socket")
    if draft.values["allowed_clients"] and "allowed_clients" not in draft.inherited:
        report.problem(draft.at("allowed_clients"), "needs port beside it; to a Unix socket, its permissions say who")


def _check_socket(draft: Draft, daemon_draft: Draft, daemon: Daemon, euid: int, report: Report) -> None:
    path, where = draft.values["socket"], draft.at("socket")
    check_owners(draft, daemon_draft, euid, report)
    longest = private_path(daemon.runtime_dir, path, draft.name, LARGEST_GENERATION)
    for name in (path, longest):
        if excess(name) > 0:
            text = f"{name} is {counted(excess(name), 'byte')} too long for a socket (at most {LONGEST_PATH})"
            report.problem(where, f"{text}; shorten runtime-dir, socket or the application's name")
            break
    directory = posixpath.dirname(path)
    if directory == daemon.runtime_dir:
        return
    if any(_is_below(_real(path), posixpath.join(_real(daemon.runtime_dir), name)) for name in _OWN_DIRECTORIES):
        report.problem(where, f"{path}: that directory is fcgipm's own")
        return
    why = _why_not_directory(directory, draft, euid)
    if why is not None:
        report.problem(where, f"{path}: {why}")
    elif os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode):
        report.problem(where, f"{path}: is there already, and not a socket")


def _is_below(path: str, directory: str) -> bool:
    return path.startswith(directory + "/")


def _why_not_directory(directory: str, draft: Draft, euid: int) -> str | None:
    try:
        status = os.stat(directory)
    except OSError as error:
        return f"{directory}: {(error.strerror or '').lower()}"
    if not stat.S_ISDIR(status.st_mode):
        return f"{directory} is not a directory"
    users = {0, euid}
    if draft.sound("user"):
        users.add(resolve_user(draft.values["user"]).uid)
    if status.st_uid not in users:
        return f"{directory} belongs to uid {status.st_uid}; allowed: root's directories, or the application's user's"
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        return f"{directory}: mode {stat.S_IMODE(status.st_mode):04o} lets anybody replace the socket; chmod o-w it"
    if euid == 0 and (why := _why_led_astray(directory, status, users)) is not None:
        return why
    if euid == os.geteuid() and not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        return f"uid {euid} may not write in {directory}"
    file_system = file_system_of(directory)
    return f"{directory} lies on {file_system}, which cannot hold sockets" if is_remote(file_system) else None


def _why_led_astray(directory: str, status: os.stat_result, users: set[int]) -> str | None:
    """Return who but *users* could have root act elsewhere than in *directory*, None if nobody."""
    if may_others_write(status) and not status.st_mode & stat.S_ISVTX:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        return f"{directory}: mode {mode} lets group {group_name(status.st_gid)} replace the socket; chmod g-w it"
    try:
        os.close(open_directory(directory, users))
    except OSError as error:
        return f"{error.strerror}; the way to the socket must be root's or the application's user's alone"
    return None


def check_owners(draft: Draft, daemon_draft: Draft, euid: int, report: Report) -> None:
    """Report what keeps *euid*'s daemon from giving sockets to the owner and group that *draft* names."""
    own = own_identity(euid)
    if draft.values["socket_owner"] is not None and draft.sound("user", "socket_owner"):
        try:
            owner = resolve_user(draft.values["socket_owner"])
        except LookupError as error:
            report.problem(draft.at("socket_owner"), str(error))
        else:
            if euid not in (0, owner.uid):
                report.problem(draft.at("socket_owner"), f"needs root, and fcgipm is started by {own.user}")
    if draft.sound("user", "socket_group") and daemon_draft.sound("web_group"):
        blamed = draft.at("socket_group") if "socket_group" in draft.places else daemon_draft.at("web_group")
        try:
            gid = resolve_group(draft.values["socket_group"])
        except LookupError as error:
            report.problem(blamed, str(error))
        else:
            if euid != 0 and gid not in {own.gid, *own.groups}:
                text = f"sockets can be given to group {draft.values['socket_group']!r} by root or a member of it"
                report.problem(blamed, f"{text}, and fcgipm is started by {own.user}")


def check_queue_depth(draft: Draft, report: Report) -> None:
    """Warn where the kernel would cut the queue of *draft*'s listener."""
    most = _number_from("/proc/sys/net/core/somaxconn")
    depth = draft.values["listen_queue_depth"]
    if most is not None and depth > most:
        text = f"{depth} is more than net.core.somaxconn, {most}; the kernel will make it {most}"
        report.warning(draft.at("listen_queue_depth"), text)


def _number_from(path: str) -> int | None:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC)) as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _check_external(draft: Draft, paths: _Claims, ports: _Claims, report: Report) -> None:
    if not draft.sound("host", "socket"):
        return
    hosts, path = draft.values["host"], draft.values["socket"]
    if hosts and path is not None:
        report.problem(draft.at("socket"), "cannot be together with host; one of them says where the application is")
    elif path is not None:
        paths.is_free((_real(path),), draft.at("socket"))  # two external ones may well be the same program
    elif not hosts:
        report.problem(draft.where, "needs host or socket, to say where the application is")
    for item in hosts:
        host, port = split_host(item)
        if is_address(host):
            ports.is_free(_port_key(host, port), draft.at("host"))
