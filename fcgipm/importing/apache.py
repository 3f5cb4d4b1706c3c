"""What an Apache configuration says to mod_fastcgi, as tables of apps.toml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fcgipm.config.schema import Application, External
from fcgipm.importing.apache_dynamic import read_dynamic
from fcgipm.importing.apache_guards import GUARDS, read_guards
from fcgipm.importing.apache_options import EXTERNAL, STATIC, take
from fcgipm.importing.apache_sites import Host, Sites, host_of
from fcgipm.importing.apache_tree import Directive, read_tree
from fcgipm.importing.files import Files, joined
from fcgipm.importing.found import Found, Table, Unreadable
from fcgipm.importing.naming import Names
from fcgipm.importing.settling import settle

MOST_APPLICATIONS: Final = 10_000

_READ_ELSEWHERE: Final = GUARDS | {f"{name}authoritative" for name in GUARDS} | {"fastcgiconfig"}


def from_apache(main: str, files: Files, environ: Mapping[str, str]) -> Found:
    """Return what the configuration *main* has for apps.toml; *environ* is the environment Apache is started with.

    Raises `Unreadable` where it cannot be read or understood.
    """
    found = Found(main)
    tree = read_tree(main, files, environ, found)
    importer = _Importer(found, Sites(tree))
    for directive in tree.directives:
        importer.daemon(directive)
    for directive in tree.directives:
        importer.application(directive)
    read_dynamic(found, tree, importer.sites, importer.programs, names=importer.names, user_of=importer.user_of)
    read_guards(found, tree, importer.sites, importer.programs, importer.names)
    if importer.sites.needs_root and not (tree.root_is_written or found.is_empty):
        found.note(f"no ServerRoot is written; names that do not begin with a slash are taken from {tree.server_root}")
    settle(found)
    return found


class _Importer:
    def __init__(self, found: Found, sites: Sites) -> None:
        self.sites = sites
        self.names = Names()
        self.programs: dict[str, Table] = {}
        """The first application of each path."""
        self._found = found
        self._identities: set[tuple[str, str | None, str | None]] = set()
        self._users: dict[tuple[Host, str], str] = {}
        self._ipc_dir = ""

    def daemon(self, directive: Directive) -> None:
        """Read *directive* if it is for everything, or says who somebody is."""
        said = f"{directive.place}: {directive}"
        match directive.key, directive.words:
            case ("user" | "group") as key, [name]:
                self._user(host_of(directive), key, name, said)
            case "suexecusergroup", [user, group]:
                self._users |= {(host_of(directive), "user"): user, (host_of(directive), "group"): group}
            case "fastcgiipcdir", [path]:
                self._runtime_dir(path, said)
            case "fastcgiwrapper", [word]:
                small = word.lower()
                value = small if small in ("on", "off") else self.sites.absolute(word)
                self._found.daemon.put("wrapper", value, said)
            case "fastcgiipcdir" | "fastcgiwrapper", _:
                self._found.lose(directive.place, str(directive), "mod_fastcgi wants one word here")
            case _:
                pass

    def application(self, directive: Directive) -> None:
        """Read *directive* if it declares an application."""
        match directive.key:
            case "fastcgiserver" | "fastcgiexternalserver" if not directive.words:
                self._found.lose(directive.place, str(directive), "names no program")
            case "fastcgiserver":
                self._static(directive)
            case "fastcgiexternalserver":
                self._external(directive)
            case "fastcgiipcdir" | "fastcgiwrapper":
                pass  # read beforehand, for it holds for all
            case key if key.startswith("fastcgi") and key not in _READ_ELSEWHERE:
                self._found.lose(directive.place, str(directive), "mod_fastcgi has no such directive")
        if len(self._identities) > MOST_APPLICATIONS:
            raise Unreadable(directive.place, f"more than {MOST_APPLICATIONS} applications")

    def user_of(self, host: Host) -> dict[str, str]:
        """Return as whom, user and group, a wrapper starts what *host* does not say it of; empty for Apache's own."""
        if self._found.daemon.get("wrapper") in (None, "off") or host is None:
            return {}
        return {key: self._users[host, key] for key in ("user", "group") if (host, key) in self._users}

    def _user(self, host: Host, key: str, name: str, said: str) -> None:
        self._users[host, key] = name
        if host is None:
            self._found.daemon.put(f"web-{key}", name, said)
        if host is None and key == "group":
            text = "instances get the primary group of their user; if that is another, write group in [defaults]"
            self._found.daemon.note(f"{said}: {text}")

    def _runtime_dir(self, path: str, said: str) -> None:
        daemon = self._found.daemon
        if path.startswith("\\"):
            daemon.lose(said, "named pipes are Windows'")
        elif daemon.put("runtime-dir", self.sites.absolute(path), said):
            self._ipc_dir = self.sites.absolute(path)
            daemon.note(
                f"{said}: the directory that Apache made is its user's, and fcgipm wants one of its own; where "
                "`fcgipm check` says so, write another, or none for /run/fcgipm"
            )

    def _static(self, directive: Directive) -> None:
        path, *options = directive.words
        path = self.sites.absolute(path)
        table = Table(Application, ("app", self.names.give(path)), directive.place, str(directive))
        if not table.put("command", [path], path):
            table.unusable = "its program cannot be written down"
        self._requests(table, path, directive)
        take(options, STATIC, table, {"user": self._identity, "group": self._identity})
        for key, value in self.user_of(host_of(directive)).items():
            if table.get(key) is None:
                table.put(key, value)
        if table.get("port") is not None:
            table.put("address", "0.0.0.0")
            table.note("mod_fastcgi listens on every address; 127.0.0.1 is enough for a web server on this machine")
        self._register(table, path)
        self._found.applications.append(table)

    def _external(self, directive: Directive) -> None:
        path, *options = directive.words
        path = self.sites.absolute(path)
        table = Table(External, ("external", self.names.give(path)), directive.place, str(directive))
        self._requests(table, path, directive)
        take(options, EXTERNAL, table, {"user": _nobodys, "group": _nobodys, "socket": self._external_socket})
        if table.get("host") is None and table.get("socket") is None:
            table.unusable = 'where it listens is not known; write host = "name:port", or socket'
        self._register(table, path)
        self._found.externals.append(table)

    def _requests(self, table: Table, path: str, directive: Directive) -> None:
        wanted = self.sites.requests(path, host_of(directive))
        for uri in wanted.uris:
            table.add("uri", uri, f"uri {uri}")
        if wanted.document_root is not None:
            table.put("document-root", wanted.document_root, f"DocumentRoot {wanted.document_root}")
        elif any(uri.startswith(".") for uri in wanted.uris):
            table.note("no DocumentRoot is seen; write document-root = the directory of the scripts")
        for note in wanted.notes:
            table.note(note)
        if table.get("uri") is None:
            table.note(f"no Alias, DocumentRoot or Action leads to {path}; write uri, or it is /{table.name}/")

    def _register(self, table: Table, path: str) -> None:
        """Note that *table* is the application of *path*; mod_fastcgi takes each once for a user."""
        identity = (path, table.get("user"), table.get("group"))
        if identity in self._identities:
            table.unusable = f"mod_fastcgi takes {path} once, and it is there already"
        self._identities.add(identity)
        if not table.unusable:
            self.programs.setdefault(path, table)

    def _identity(self, table: Table, key: str, value: str, said: str) -> None:
        if self._found.daemon.get("wrapper") in (None, "off"):
            table.lose(said, f"mod_fastcgi ignores it without FastCgiWrapper; in fcgipm it would be its {key}")
        else:
            table.put(key, value, said)

    def _external_socket(self, table: Table, key: str, value: str, said: str) -> None:
        if table.get("host") is not None:
            table.lose(said, "mod_fastcgi does not take it together with -host")
        elif value.startswith("/") or self._ipc_dir:
            table.put(key, joined(self._ipc_dir, value), said)
        else:
            table.lose(said, "is in the directory that Apache's build has as FastCgiIpcDir; write the whole path")


def _nobodys(table: Table, _key: str, _value: str, said: str) -> None:
    table.lose(said, "who starts an external application says as whom it runs")
