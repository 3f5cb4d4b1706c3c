"""The last look at what was found: no two applications listen in one place, and nobody is written down twice."""

from __future__ import annotations

import posixpath
from typing import Final

from fcgipm.config.addresses import split_host
from fcgipm.config.schema import RESERVED_NAMES
from fcgipm.importing.files import joined
from fcgipm.importing.found import Found, Table

LOOPBACK: Final = "127.0.0.1"

_ANY: Final = frozenset({"0.0.0.0", "::"})
_HERE: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_RUNTIME_DIR: Final = "/run/fcgipm"
_OWN_FILES: Final = frozenset({f"{name}.sock" for name in RESERVED_NAMES} | {"state.json", "fcgipm.pid"})
_OWN_DIRECTORIES: Final = frozenset({"private", "dynamic"})
_METRICS: Final = 9753


def settle(found: Found) -> None:
    """Let every application have a place of its own, and an external one that is also declared go into that."""
    runtime_dir = found.daemon.get("runtime-dir") or _RUNTIME_DIR
    sockets: dict[str, Table] = {}
    ports: dict[int, list[Table]] = {}
    usable = [table for table in found.applications if not table.unusable]
    for table in usable:
        _claim_socket(table, runtime_dir, sockets)
        _claim_port(table, ports)
    for table in usable:
        _claim_default(table, runtime_dir, sockets)
    if _METRICS in ports:
        found.daemon.put("metrics-listen", "")
        found.daemon.note(f"metrics-listen: port {_METRICS}, its default, is that of {ports[_METRICS][0].name}")
    found.externals = [table for table in found.externals if not _merged(table, sockets, ports)]


def _claim_socket(table: Table, runtime_dir: str, sockets: dict[str, Table]) -> None:
    socket = table.get("socket")
    if socket is None:
        return
    path = joined(runtime_dir, socket)
    inside = path.removeprefix(f"{runtime_dir}/") if path.startswith(f"{runtime_dir}/") else ""
    if inside in _OWN_FILES or inside.partition("/")[0] in _OWN_DIRECTORIES:
        why = "that is fcgipm's own"
    elif path in sockets:
        why = f"it is {sockets[path].name}'s already"
    else:
        sockets[path] = table
        return
    table.drop("socket")
    table.lose(f"socket {socket}", f"{why}; without it the socket is {table.name}.sock")


def _claim_port(table: Table, ports: dict[int, list[Table]]) -> None:
    port = table.get("port")
    if port is None:
        return
    here = ports.setdefault(port, [])
    address = table.get("address") or LOOPBACK
    taken = next((other for other in here if _overlap(address, other.get("address") or LOOPBACK)), None)
    if taken is None:
        here.append(table)
        return
    table.drop("port")
    table.drop("address")
    table.drop("allowed-clients")
    table.lose(f"port {port}", f"it is {taken.name}'s already; without it there is the socket {table.name}.sock")


def _overlap(one: str, other: str) -> bool:
    if (":" in one) != (":" in other):
        return False
    return one == other or not _ANY.isdisjoint((one, other))


def _claim_default(table: Table, runtime_dir: str, sockets: dict[str, Table]) -> None:
    """Give *table* another socket if its own by default was written for another one."""
    if table.get("socket") is not None or table.get("port") is not None:
        return
    socket, number = f"{table.name}.sock", 2
    while posixpath.join(runtime_dir, socket) in sockets:
        socket, number = f"{table.name}-{number}.sock", number + 1
    if number > 2:
        table.put("socket", socket)
    sockets[posixpath.join(runtime_dir, socket)] = table


def _merged(external: Table, sockets: dict[str, Table], ports: dict[int, list[Table]]) -> bool:
    """Whether *external* is an application that is declared here: then that one gets its requests, too."""
    if external.unusable:
        return False
    socket = external.get("socket")
    if socket is not None:
        owner = sockets.get(joined("/", socket))
    else:
        owners = [_owner(host, ports) for host in external.get("host") or []]
        owner = owners[0] if len(owners) == 1 else None
        if len(owners) > 1:
            _drop_declared(external, owners)
    if owner is None:
        return False
    _hand_over(external, owner)
    return True


def _owner(host: str, ports: dict[int, list[Table]]) -> Table | None:
    """Return which application listens at *host*, ``name:port``, on this machine."""
    name, port = split_host(host)
    for table in ports.get(port, []):
        address = table.get("address") or LOOPBACK
        if name == address or (name in _HERE | _ANY and address in _HERE | _ANY):
            return table
    return None


def _drop_declared(external: Table, owners: list[Table | None]) -> None:
    hosts = external.get("host")
    others = [host for host, owner in zip(hosts, owners, strict=True) if owner is None]
    for host, owner in zip(hosts, owners, strict=True):
        if owner is not None:
            external.lose(f"host {host}", f"there is [app.{owner.name}]; the web server does not balance over both")
    external.drop("host")
    if others:
        external.put("host", others)
    else:
        external.unusable = "its hosts are applications of this file"


def _hand_over(external: Table, owner: Table) -> None:
    uris = external.get("uri") or []
    for uri in uris:
        owner.add("uri", uri)
    for key in ("document-root", "docroot"):
        if owner.get(key) is None and external.get(key) is not None:
            owner.put(key, external.get(key))
    differing = [
        key
        for key, value in external.pairs()
        if key not in ("uri", "host", "socket", "document-root", "docroot") and owner.get(key) != value
    ]
    text = f"{external.place}: {external.origin}: this is the same application"
    if differing:
        text += f"; there it has another {', '.join(differing)}"
    owner.note(text)
    for remark in external.remarks():
        owner.keep(remark)
