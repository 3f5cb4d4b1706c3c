"""Which requests lead to which file in an Apache configuration: Alias, DocumentRoot, handlers and actions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeVar

from fcgipm.importing.apache_tree import Directive, Section, Tree, sections
from fcgipm.importing.files import LONGEST_PATH, joined

FASTCGI: Final = "fastcgi-script"
"""The handler that mod_fastcgi serves."""

Host: TypeAlias = Section | None
"""A virtual host, or None: the main server."""

_GLOB: Final = frozenset("*?[")
_ENDINGS: Final = re.compile(r"(?:\^?\.[*+])?\\\.([A-Za-z0-9]*)(?:\((?:\?:)?([A-Za-z0-9|]+)\))?\$", re.ASCII)
_ENDING: Final = re.compile(r"\*(\.[A-Za-z0-9]+)", re.ASCII)
_MOST_WAYS: Final = 100
"""To one path; who has more of them has a program that writes them."""

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Binding:
    """Requests that get a handler: those with one of *extensions*, or all in the section where it is set."""

    handler: str
    extensions: tuple[str, ...]
    directive: Directive


@dataclass(slots=True)
class Requests:
    """What the web server sends to an application, as far as it can be seen."""

    uris: dict[str, None] = field(default_factory=dict)
    document_root: str | None = None
    notes: list[str] = field(default_factory=list)


def host_of(directive: Directive) -> Host:
    """Return the virtual host that *directive* is in."""
    return next(sections(directive, "virtualhost"), None)


def is_pattern(section: Section) -> bool:
    """Whether *section* is for everything that matches, not for one directory or one place."""
    return section.kind.endswith("match") or section.words[:1] == ("~",) or not _GLOB.isdisjoint(section.argument)


def extensions_of(section: Section) -> tuple[str, ...]:
    """Return the extensions that *section*, a Files or FilesMatch, is for; none where it is for something else."""
    if section.kind == "filesmatch" or section.words[:1] == ("~",):
        found = _ENDINGS.fullmatch(section.argument)
        if found is None or not (found[1] or found[2]):
            return ()
        return tuple(f".{found[1]}{rest}" for rest in (found[2] or "").split("|"))
    found = _ENDING.fullmatch(section.argument)
    return (found[1],) if found else ()


class Sites:
    """The main server and its virtual hosts."""

    def __init__(self, tree: Tree) -> None:
        self._server_root = tree.server_root
        self.needs_root = False
        """Whether any name was relative to ServerRoot."""
        self._paths: dict[tuple[Host, str], str] = {}
        self._uris: dict[str, list[tuple[Host, str]]] = {}
        self._document_roots: dict[Host, str] = {}
        self._hosts_of_root: dict[str, list[Host]] = {}
        self._actions: list[Directive] = []
        self._bindings: dict[str, dict[Host, list[Binding]]] = {}
        for directive in tree.directives:
            self._learn(directive)
        self._actions_by_path: dict[str, dict[tuple[Host, str], Directive]] = {}
        self._homeless_actions: dict[str, Directive] = {}
        for action in self._actions:
            self._aim(action)

    def absolute(self, path: str) -> str:
        """Return *path*, which may be relative to ServerRoot."""
        self.needs_root |= not path.startswith("/")
        return joined(self._server_root, path)

    def bindings(self, handler: str) -> list[Binding]:
        """Return what gets *handler*."""
        return [binding for found in self._bindings.get(handler, {}).values() for binding in found]

    def document_root(self, host: Host) -> str | None:
        """Return the DocumentRoot of *host*, or that of the main server, or the only one there is."""
        for known in (host, None):
            if known in self._document_roots:
                return self._document_roots[known]
        return next(iter(self._hosts_of_root)) if len(self._hosts_of_root) == 1 else None

    def path(self, uri: str, host: Host) -> str | None:
        """Return the path that *uri* leads to in *host*; None where that cannot be seen."""
        if not uri.startswith("/") or len(uri) > LONGEST_PATH:
            return None
        for scope in dict.fromkeys((host, None)):
            for begin in upwards(uri):
                if (scope, begin) in self._paths:
                    return joined("/", self._paths[scope, begin] + uri[len(begin) :])
        root = self._document_roots.get(host, self._document_roots.get(None))
        return None if root is None else joined("/", f"{root}/{uri}")

    def uris(self, path: str, host: Host) -> list[str]:
        """Return the requests that lead to *path*: those of *host* and the main server, else those of any host."""
        if len(path) > LONGEST_PATH:
            return []
        ways = list(self._ways(path))
        near = [uri for scope, uri in ways if scope in (host, None)]
        found = near if near and host is not None else [uri for _scope, uri in ways]
        return list(dict.fromkeys(found))

    def requests(self, path: str, host: Host) -> Requests:
        """Return what is sent to the application *path*, which is declared in *host*."""
        wanted = Requests()
        for action in self._actions_of(path, wanted):
            scope = host_of(action)
            by_host = self._bindings.get(_handler(action.words[0]), {})
            scopes = by_host if scope is None else {scope: (), None: ()}
            for binding in (binding for known in scopes for binding in by_host.get(known, ())):
                self._follow(binding, scope, wanted)
        if not wanted.uris:
            wanted.uris = dict.fromkeys(self.uris(path, host))
        return wanted

    def _ways(self, path: str) -> Iterator[tuple[Host, str]]:
        """Yield hosts and URIs for *path*: the aliases, or else below a DocumentRoot."""
        is_aliased = False
        for begin in upwards(path):
            for scope, uri in self._uris.get(begin, []):
                is_aliased = True
                yield scope, (uri + path[len(begin) :]) or "/"
        for begin in upwards(path) if not is_aliased else ():
            for scope in self._hosts_of_root.get(begin, []):
                yield scope, path[len(begin) :] or "/"

    def _actions_of(self, path: str, wanted: Requests) -> Iterator[Directive]:
        actions = self._actions_by_path.get(path, {})
        yield from actions.values()
        if actions or len(path) > LONGEST_PATH:
            return
        for begin in upwards(path):
            action = self._homeless_actions.get(path[len(begin) :]) if begin != path else None
            if action is not None:
                wanted.notes.append(f"{action.place}: {action} is taken to mean this program: its name ends alike")
                yield action

    def _follow(self, binding: Binding, scope: Host, wanted: Requests) -> None:
        """Add to *wanted* what *binding* sends to an application, by an action in *scope*."""
        host = host_of(binding.directive) or scope
        root = self.document_root(host)
        section = next(sections(binding.directive, "directory", "location"), None)
        if binding.extensions:
            wanted.uris |= dict.fromkeys(binding.extensions)
            if wanted.document_root not in (None, root):
                wanted.notes.append(f"{binding.directive.place}: another DocumentRoot is {root}")
            wanted.document_root = wanted.document_root or root
            if section is not None:
                wanted.notes.append(f"{binding.directive.place}: only in {section}")
        elif section is None or is_pattern(section):
            wanted.notes.append(f"{binding.directive.place}: {binding.directive} says which requests come here")
        elif section.kind == "location":
            wanted.uris.setdefault(section.argument)
        else:
            found = self.uris(self.absolute(section.argument), host)
            wanted.uris |= dict.fromkeys(f"{uri.rstrip('/')}/" for uri in found)

    def _learn(self, directive: Directive) -> None:
        host = host_of(directive)
        match directive.key, directive.words:
            case "alias" | "scriptalias", [uri, target] if uri.startswith("/"):
                self._alias(host, uri.rstrip("/"), self.absolute(target))
            case "documentroot", [path]:
                root = self._document_roots.setdefault(host, self.absolute(path))
                _append(self._hosts_of_root.setdefault(root.rstrip("/"), []), host)
            case "addhandler" | "addtype", [handler, *endings] if endings:
                self._bind(Binding(_handler(handler), tuple(f".{ending.lstrip('.')}" for ending in endings), directive))
            case "sethandler", [handler]:
                self._bind(Binding(_handler(handler), tuple(_named(directive)), directive))
            case "action", [_trigger, _uri, *_more]:
                self._actions.append(directive)
            case _:
                pass

    def _alias(self, host: Host, begin: str, target: str) -> None:
        self._paths.setdefault((host, begin), target)
        _append(self._uris.setdefault(target.rstrip("/"), []), (host, begin))

    def _bind(self, binding: Binding) -> None:
        by_host = self._bindings.setdefault(binding.handler, {})
        by_host.setdefault(host_of(binding.directive), []).append(binding)

    def _aim(self, action: Directive) -> None:
        """Find the program that *action* names by a URI."""
        trigger, uri, host = _handler(action.words[0]), action.words[1], host_of(action)
        path = self.path(uri, host)
        if path is None:
            self._homeless_actions.setdefault(uri.rstrip("/"), action)
        else:
            self._actions_by_path.setdefault(path, {}).setdefault((host, trigger), action)


def _named(directive: Directive) -> Iterable[str]:
    return (ending for section in sections(directive, "files", "filesmatch") for ending in extensions_of(section))


def _append(items: list[_Item], item: _Item) -> None:
    if len(items) < _MOST_WAYS:
        items.append(item)


def _handler(word: str) -> str:
    return word.strip("<>").lower()


def upwards(path: str) -> Iterator[str]:
    """Yield *path* and what it is in, without slashes at the end; the last is empty."""
    whole = path.rstrip("/")
    yield whole
    position = len(whole) if len(whole) <= LONGEST_PATH else 0
    while (position := whole.rfind("/", 0, position)) >= 0:
        yield whole[:position]
