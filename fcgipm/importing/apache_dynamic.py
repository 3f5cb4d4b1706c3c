"""Applications that an Apache configuration does not declare: FastCgiConfig, and the directories of scripts."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from fcgipm.config.schema import Dynamic, Root
from fcgipm.importing.apache_options import DYNAMIC, take
from fcgipm.importing.apache_sites import FASTCGI, Binding, Host, Sites, host_of, is_pattern, upwards
from fcgipm.importing.apache_tree import Directive, Tree, sections
from fcgipm.importing.found import Found, Table
from fcgipm.importing.naming import Names

TOTALS: Final = ("max-processes", "max-class-processes", "min-processes", "process-slack")

_MOST_ROOTS: Final = 1000
_NO_EXEC: Final = "no Options ExecCGI is seen for it, without which Apache starts no script there"


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A directory whose scripts get the handler, and which of them."""

    path: str
    match: str
    directive: Directive


def read_dynamic(
    found: Found,
    tree: Tree,
    sites: Sites,
    programs: Mapping[str, Table],
    user_of: Callable[[Host], dict[str, str]],
) -> None:
    """Make the table [dynamic] and its roots; *programs* are declared, *user_of* says as whom a wrapper starts."""
    for directive in tree.directives:
        if directive.key == "fastcgiconfig":
            _configure(found, directive)
    reader = _Roots(found, tree, sites, programs)
    candidates = [candidate for binding in sites.bindings(FASTCGI) for candidate in reader.candidates(binding)]
    for candidate in sorted(candidates, key=lambda item: (item.match != "*", item.path.count("/"))):
        reader.take(candidate, user_of(host_of(candidate.directive)))
    if found.dynamic is None:
        return
    _bound(found.dynamic)
    if not found.roots:
        empty = Table(Root, ("dynamic", "roots"))
        empty.put("path", "/var/www/fcgi-bin")
        empty.unusable = "no directory of scripts is seen; write here where they are"
        found.roots.append(empty)


def _configure(found: Found, directive: Directive) -> None:
    if found.dynamic is None:
        found.dynamic = Table(Dynamic, ("dynamic",), directive.place, str(directive))
    else:
        found.dynamic.note(f"{directive.place}: {directive} is here, too")
        if found.dynamic.environment or found.dynamic.get("pass-env"):
            found.dynamic.note("mod_fastcgi forgets -initial-env at the next FastCgiConfig; here all are kept")
    take(directive.words, DYNAMIC, found.dynamic)


def _bound(table: Table) -> None:
    """Keep what is written below max-processes, which mod_fastcgi does not look at."""
    most = table.get("max-processes")
    for key in TOTALS[1:]:
        value = table.get(key)
        if most is not None and value is not None and value > most:
            table.put(key, most)
            table.note(f"{key} was {value}, more than max-processes")


class _Roots:
    """Finds the directories of scripts."""

    def __init__(self, found: Found, tree: Tree, sites: Sites, programs: Mapping[str, Table]) -> None:
        self._found = found
        self._sites = sites
        self._programs = programs
        self._names = Names()
        self._executable: dict[str, bool] = {}
        self._taken: set[tuple[str, str]] = set()
        self._extensions: set[str] = set()
        self._endings = {path[len(begin) :] for path in programs for begin in upwards(path)}
        for directive in tree.directives:
            self._learn(directive)

    def candidates(self, binding: Binding) -> Iterator[_Candidate]:
        """Yield the directories that *binding*, of mod_fastcgi's handler, is for."""
        directive = binding.directive
        section = next(sections(directive, "directory", "directorymatch", "location", "locationmatch"), None)
        names = next(sections(directive, "files", "filesmatch"), None)
        if names is not None and not binding.extensions:
            self._found.lose(directive.place, f"{directive} in {names}", "write a root of [dynamic] for these scripts")
        elif section is None and not binding.extensions:
            yield from self._everywhere(directive)
        elif section is None:
            yield from self._by_extension(binding)
        elif is_pattern(section):
            self._found.lose(directive.place, f"{directive} in {section}", "write a root for each directory")
        else:
            yield from self._below(binding, section.kind == "location", section.argument)

    def take(self, candidate: _Candidate, identity: Mapping[str, str]) -> None:
        """Make a root of *candidate*, unless it is a program that is declared, or lies in a root that is there."""
        if candidate.path in self._programs:
            return
        for path in upwards(candidate.path):
            if not self._taken.isdisjoint({(path, candidate.match), (path, "*")}):
                return
        if len(self._found.roots) >= _MOST_ROOTS:
            self._found.lose(candidate.directive.place, candidate.path, f"there are {_MOST_ROOTS} roots already")
            return
        self._taken.add((candidate.path, candidate.match))
        directive = candidate.directive
        if self._found.dynamic is None:
            self._found.dynamic = Table(Dynamic, ("dynamic",))
            self._found.dynamic.note("scripts belong to root or to who they run as; owners of a root names others")
        root = Table(Root, ("dynamic", "roots"), directive.place, str(directive))
        self._describe(root, candidate)
        for key, value in identity.items():
            root.put(key, value)
        self._found.roots.append(root)

    def _describe(self, root: Table, candidate: _Candidate) -> None:
        if not root.put("path", candidate.path, candidate.path):
            root.unusable = "its path cannot be written down"
        name = self._names.give(candidate.path)
        if name != posixpath.basename(candidate.path):
            root.put("name", name)
        if candidate.match != "*":
            root.put("match", candidate.match, candidate.match)
        uris = [f"{uri.rstrip('/')}/" for uri in self._sites.uris(candidate.path, host_of(candidate.directive))]
        if uris:
            root.put("uri", uris[0], f"uri {uris[0]}")
            for uri in uris[1:]:
                root.note(f"{uri} leads here, too, and a root has one uri")
        else:
            root.note(f"no Alias or DocumentRoot is seen that leads here; write uri, or it is /{name}/")
        if not self._is_executable(candidate.path) and not root.unusable:
            root.unusable = _NO_EXEC

    def _everywhere(self, directive: Directive) -> Iterator[_Candidate]:
        root = self._sites.document_root(host_of(directive))
        if root is None:
            self._found.lose(directive.place, str(directive), "no DocumentRoot is seen; write the roots of [dynamic]")
        else:
            yield _Candidate(root, "*", directive)

    def _by_extension(self, binding: Binding) -> Iterator[_Candidate]:
        new = [extension for extension in binding.extensions if extension not in self._extensions]
        self._extensions |= set(new)
        directories = [path for path, may in self._executable.items() if may]
        if not directories:
            self._found.lose(
                binding.directive.place,
                str(binding.directive),
                "no directory with Options ExecCGI is seen; write the roots of [dynamic] where such scripts are",
            )
        for path in directories[:_MOST_ROOTS]:
            for extension in new:
                yield _Candidate(path, f"*{extension}", binding.directive)

    def _below(self, binding: Binding, is_location: bool, argument: str) -> Iterator[_Candidate]:
        directive = binding.directive
        host = host_of(directive)
        path = self._sites.path(argument, host) if is_location else self._sites.absolute(argument)
        if path is None:
            if argument.rstrip("/") not in self._endings:  # else it is where a declared program gets its requests
                self._found.lose(directive.place, f"{directive} in {argument}", "where that leads is not seen")
            return
        for extension in binding.extensions or ("",):
            yield _Candidate(path, f"*{extension}", directive)

    def _learn(self, directive: Directive) -> None:
        """Note where scripts may be run."""
        if directive.key == "scriptalias" and len(directive.words) == 2:
            self._executable[self._sites.absolute(directive.words[1])] = True
        elif directive.key == "options":
            section = next(sections(directive, "directory"), None)
            if section is not None and not is_pattern(section):
                path = self._sites.absolute(section.argument)
                self._executable[path] = _allows(directive.words, self._is_executable(path))

    def _is_executable(self, path: str) -> bool:
        nearest = next((begin for begin in upwards(path) if (begin or "/") in self._executable), None)
        return nearest is not None and self._executable[nearest or "/"]


def _allows(words: list[str], before: bool) -> bool:
    """Return whether Options *words* allow scripts where that was so *before*."""
    allowed = before if all(word[:1] in "+-" for word in words) else False
    for word in words:
        match word.lower():
            case "execcgi" | "+execcgi" | "all" | "+all":
                allowed = True
            case "-execcgi" | "none" | "-all":
                allowed = False
            case _:
                pass
    return allowed
