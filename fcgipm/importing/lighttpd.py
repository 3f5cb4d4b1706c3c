"""What a lighttpd configuration says in fastcgi.server, as tables of apps.toml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from fcgipm.config.schema import Application, External
from fcgipm.importing.files import Files, joined
from fcgipm.importing.found import Found, Place, Table, Unreadable
from fcgipm.importing.lighttpd_options import (
    FOR_EVER,
    KNOWN,
    Host,
    address,
    describe,
    describe_program,
    listen,
    lose_program,
    lose_unreadable,
)
from fcgipm.importing.lighttpd_tree import read_tree
from fcgipm.importing.lighttpd_values import Array, Item, Scope, Unknown, Value
from fcgipm.importing.naming import Names
from fcgipm.importing.settling import settle

MOST_APPLICATIONS: Final = 10_000

_READ: Final = frozenset({"fastcgi.server", "fastcgi.map-extensions", "fastcgi.debug"})
_BLANK: Final = re.compile(r"[ \t]")
_PLAIN_LABEL: Final = re.compile(r"localhost|[0-9.]*", re.IGNORECASE)


def from_lighttpd(main: str, files: Files, environ: Mapping[str, str]) -> Found:
    """Return what the configuration *main* has for apps.toml; *environ* is the environment lighttpd is started with.

    Raises `Unreadable` where it cannot be read or understood.
    """
    found = Found(main)
    scopes = read_tree(main, files, environ, found)
    importer = _Importer(found, scopes[0])
    for scope in scopes:
        importer.scope(scope)
    importer.finish(scopes)
    settle(found)
    return found


class _Importer:
    def __init__(self, found: Found, server: Scope) -> None:
        self._found = found
        self._server = server
        self._names = Names()
        self._seen: set[Item] = set()
        self._by_address: dict[tuple[str, str], Table] = {}
        self._chroot = _text(server.find("server.chroot")).rstrip("/")
        workers = server.find("server.max-worker")
        self._may_adapt = workers in (None, 0, "0")

    def finish(self, scopes: list[Scope]) -> None:
        """Read what is not any one application's."""
        tables = [*self._found.applications, *self._found.externals]
        if not tables:
            return
        self._daemon()
        if any(table.get("idle-timeout") == FOR_EVER for table in tables):
            text = f'idle-timeout = "{FOR_EVER}": without read-timeout lighttpd waits for ever; write what is enough'
            self._found.note(text)
        if any(table.get("socket") is not None for table in self._found.applications):
            self._found.note("lighttpd gives each process a socket of its own, as SOCKET-0; here all share SOCKET")
        uris = {uri for table in tables for uri in table.get("uri") or ()}
        for value, place in (scope.values.get("fastcgi.map-extensions", (0, Place(""))) for scope in scopes):
            for item in value.items if isinstance(value, Array) else ():
                if item.value not in uris:
                    what = f"fastcgi.map-extensions: {item.key or ''} => {_text(item.value)}"
                    self._found.lose(place, what, _why(item.value, "no application has that extension"))

    def _daemon(self) -> None:
        """Read who lighttpd is."""
        daemon = self._found.daemon
        for key, target in (("server.username", "web-user"), ("server.groupname", "web-group")):
            value, place = self._server.values.get(key, ("", Place("")))
            if isinstance(value, Unknown):
                daemon.lose(f"{place}: {key}", value.why)
            elif value and isinstance(value, str):
                daemon.put(target, value, f"{place}: {key}")
        if self._chroot:
            text = f"server.chroot = {self._chroot}: programs and sockets are taken to be inside"
            self._found.note(text)

    def scope(self, scope: Scope) -> None:
        """Read the applications that are written in *scope*, and not only inherited."""
        for key, (value, place) in scope.values.items():
            if key == "fastcgi.server":
                self._backends(scope, value, place)
            elif key.startswith("fastcgi.") and key not in _READ:
                why = "the snippet does not write it; it may stay in lighttpd.conf"
                self._found.lose(place, f"{key} = {_text(value) or '(…)'}", _why(value, why))

    def _backends(self, scope: Scope, value: Value, place: Place) -> None:
        if not isinstance(value, Array):
            self._found.lose(place, "fastcgi.server", _why(value, 'is not a list of "extension" => (…)'))
            return
        for item in value.items:
            if item in self._seen:
                continue  # inherited by +=
            self._seen.add(item)
            if item.key is None or not isinstance(item.value, Array):
                why = 'is not "extension" => (( "option" => value ))'
                self._found.lose(item.place, f"fastcgi.server: {item.key or ''}", _why(item.value, why))
            else:
                self._extension(scope, item.key, item.value, item.place)

    def _extension(self, scope: Scope, uri: str, hosts: Array, place: Place) -> None:
        tables: dict[Table, None] = {}
        balanced: dict[tuple[object, ...], Table] = {}
        for host in self._hosts(uri, hosts, place):
            starts = host.text("bin-path") or isinstance(host.options.get("bin-path"), Unknown)
            table = self._program(host, uri) if starts else self._external(host, uri, balanced)
            if table not in tables:
                tables[table] = None
                self._surroundings(scope, uri, table)
        if len(tables) > 1:
            names = ", ".join(table.name for table in tables)
            text = f"lighttpd balances {uri} over {names}; a snippet takes one of them: make them one, or name it"
            next(iter(tables)).note(text)

    def _hosts(self, uri: str, hosts: Array, place: Place) -> Iterator[Host]:
        if any(item.key is not None and item.key.lower() in KNOWN for item in hosts.items):
            yield self._host(uri, hosts, "", place)  # one pair of parentheses is missing
            return
        for item in hosts.items:
            if isinstance(item.value, Array):
                yield self._host(uri, item.value, item.key or "", item.place)
            else:
                why = 'is not ( "option" => value )'
                self._found.lose(item.place, f"fastcgi.server: {uri}", _why(item.value, why))

    def _host(self, uri: str, options: Array, label: str, place: Place) -> Host:
        host = Host(label, place)
        for item in options.items:
            if item.key is None:
                why = 'is not "option" => value'
                self._found.lose(item.place, f"fastcgi.server: {uri}: {_text(item.value)}", _why(item.value, why))
            else:
                host.options[item.key.lower()] = item.value
        if host.text("host").startswith("/") and not host.text("socket"):
            host.options["socket"] = host.options.pop("host")
        return host

    def _program(self, host: Host, uri: str) -> Table:
        """Return the table of the program of *host*; the same for two extensions that share it."""
        command = _BLANK.split(host.text("bin-path"))
        where = (host.text("bin-path"), host.text("socket") or address(host))
        known = self._by_address.get(where)
        if known is not None:
            known.add("uri", uri, f"uri {uri}")
            known.note(f"{host.place}: {uri}: the same program; what else is written there is not read again")
            return known
        table = Table(Application, ("app", self._names.give(command[0])), host.place, " ".join(command))
        if not host.text("bin-path"):
            table.unusable = f'"bin-path": {_why(host.options["bin-path"], "is not a text")}'
        elif not table.put("command", command, host.text("bin-path")):
            table.unusable = "its program cannot be written down"
        table.add("uri", uri, f"uri {uri}")
        lose_unreadable(host, table)
        socket = host.text("socket")
        if socket:
            self._socket(host, table, socket)
        elif "port" in host.options:
            listen(host, table)
        elif "socket" not in host.options:
            table.note(f"neither socket nor port is written; without one it is {table.name}.sock")
        if self._chroot:
            table.put("chroot", self._chroot)
        describe_program(host, table, may_adapt=self._may_adapt)
        describe(host, table)
        self._by_address[where] = table
        self._found.applications.append(table)
        self._demand_few(host)
        return table

    def _external(self, host: Host, uri: str, balanced: dict[tuple[object, ...], Table]) -> Table:
        """Return the table of *host*, which is started elsewhere; hosts that differ in nothing else share one."""
        alike = tuple(sorted((key, _comparable(value)) for key, value in host.options.items() if key not in _ADDRESS))
        table = balanced.get(alike)
        if table is not None and not host.text("socket"):
            table.add("host", address(host), address(host))
            return table
        label = "" if _PLAIN_LABEL.fullmatch(host.label) else host.label
        table = Table(External, ("external", self._names.give(label or uri)), host.place, uri)
        table.add("uri", uri, f"uri {uri}")
        lose_unreadable(host, table)
        socket = host.text("socket")
        if socket:
            self._socket(host, table, socket)
        elif host.text("host"):
            table.add("host", address(host), address(host))
        if table.get("socket") is None and table.get("host") is None:
            table.unusable = 'where it listens is not known; write host = "name:port", or socket'
        elif not socket:
            balanced[alike] = table
        lose_program(host, table)
        describe(host, table)
        self._found.externals.append(table)
        self._demand_few(host)
        return table

    def _demand_few(self, host: Host) -> None:
        if len(self._found.applications) + len(self._found.externals) > MOST_APPLICATIONS:
            raise Unreadable(host.place, f"more than {MOST_APPLICATIONS} applications")

    def _socket(self, host: Host, table: Table, socket: str) -> None:
        path = joined("/", f"{self._chroot}/{socket}") if self._chroot else socket
        if not path.startswith("/"):
            table.lose(f'"socket" => "{socket}"', "is relative to where lighttpd is started; write the whole path")
        else:
            table.put("socket", path, f'"socket" => "{socket}"')
        if host.text("host") or host.text("port"):
            table.lose(f"host {address(host)}", "lighttpd does not take it together with socket")

    def _surroundings(self, scope: Scope, uri: str, table: Table) -> None:
        """Say what *scope* says for all its applications."""
        conditions = scope.conditions()
        if conditions:
            table.note(f"{uri} only where {' and '.join(conditions)}; put its snippet there")
        root = scope.find("server.document-root")
        if uri.startswith(".") and table.get("document-root") is None:
            if isinstance(root, str) and root:
                table.put("document-root", root, "server.document-root")
            else:
                table.note("no server.document-root is seen; write document-root = the directory of the scripts")
        debug = scope.find("fastcgi.debug")
        if isinstance(debug, int) and debug:
            table.put("fastcgi.debug", debug, "fastcgi.debug")
        mapped = scope.find("fastcgi.map-extensions")
        if isinstance(mapped, Array):
            pairs = {item.key: item.value for item in mapped.items if item.key is not None and item.value == uri}
            if pairs:
                table.put("fastcgi.map-extensions", pairs | (table.get("fastcgi.map-extensions") or {}))


_ADDRESS: Final = frozenset({"host", "port", "socket"})


def _comparable(value: Value) -> str:
    return str(id(value)) if isinstance(value, (Array, Unknown)) else f"{type(value).__name__} {value}"


def _text(value: Value | None) -> str:
    return str(value) if isinstance(value, (str, int)) else ""


def _why(value: Value, otherwise: str) -> str:
    return value.why if isinstance(value, Unknown) else otherwise
