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
    """A directory where files with an extension, or all, get the handler."""

    path: str
    extension: str
    directive: Directive


def read_dynamic(
    found: Found,
    tree: Tree,
    sites: Sites,
    programs: Mapping[str, Table],
    *,
    names: Names,
    user_of: Callable[[Host], dict[str, str]],
) -> None:
    """Make the table [dynamic] and its roots; *programs* are declared, *user_of* says as whom a wrapper starts."""
    for directive in tree.directives:
        if directive.key == "fastcgiconfig":
            _configure(found, directive)
    reader = _Roots(found, tree, sites, programs, names)
    by_path: dict[str, dict[str, Directive]] = {}
    for binding in sites.bindings(FASTCGI):
        for candidate in reader.candidates(binding):
            by_path.setdefault(candidate.path, {}).setdefault(candidate.extension, candidate.directive)
    for path in sorted(by_path, key=lambda path: path.count("/")):
        directive = next(iter(by_path[path].values()))
        reader.take(path, tuple(by_path[path]), directive, user_of(host_of(directive)))
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

    def __init__(self, found: Found, tree: Tree, sites: Sites, programs: Mapping[str, Table], names: Names) -> None:
        self._found = found
        self._sites = sites
        self._programs = programs
        self._names = names
        self._executable: dict[str, bool] = {}
        self._taken: dict[str, tuple[str, ...]] = {}
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

    def take(self, path: str, extensions: tuple[str, ...], directive: Directive, identity: Mapping[str, str]) -> None:
        """Make a root of *path*, unless it is a program that is declared, or lies in a root for the same files."""
        around = [self._taken[begin] for begin in upwards(path) if begin in self._taken]
        if path in self._programs or any("" in taken or set(extensions) <= set(taken) for taken in around):
            return
        if len(self._found.roots) >= _MOST_ROOTS:
            self._found.lose(directive.place, path, f"there are {_MOST_ROOTS} roots already")
            return
        self._taken[path.rstrip("/")] = extensions
        if self._found.dynamic is None:
            self._found.dynamic = Table(Dynamic, ("dynamic",))
            self._found.dynamic.note("scripts belong to root or to who they run as; owners of a root names others")
        root = Table(Root, ("dynamic", "roots"), directive.place, str(directive))
        if not root.put("path", path, path):
            root.unusable = "its path cannot be written down"
        self._describe(root, path, host_of(directive))
        _match(root, extensions)
        for key, value in identity.items():
            root.put(key, value)
        self._found.roots.append(root)

    def _describe(self, root: Table, path: str, host: Host) -> None:
        name = self._names.give(path)
        if name != posixpath.basename(path):
            root.put("name", name)
        uris = [f"{uri.rstrip('/')}/" for uri in self._sites.uris(path, host)]
        if uris:
            root.put("uri", uris[0], f"uri {uris[0]}")
            for uri in uris[1:]:
                root.note(f"{uri} leads here, too, and a root has one uri")
        else:
            root.note(f"no Alias or DocumentRoot is seen that leads here; write uri, or it is /{name}/")
        if not self._is_executable(path) and not root.unusable:
            root.unusable = _NO_EXEC

    def _everywhere(self, directive: Directive) -> Iterator[_Candidate]:
        root = self._sites.document_root(host_of(directive))
        if root is None:
            self._found.lose(directive.place, str(directive), "no DocumentRoot is seen; write the roots of [dynamic]")
        else:
            yield _Candidate(root, "", directive)

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
                yield _Candidate(path, extension, binding.directive)

    def _below(self, binding: Binding, is_location: bool, argument: str) -> Iterator[_Candidate]:
        directive = binding.directive
        host = host_of(directive)
        path = self._sites.path(argument, host) if is_location else self._sites.absolute(argument)
        if path is None:
            if argument.rstrip("/") not in self._endings:  # else it is where a declared program gets its requests
                self._found.lose(directive.place, f"{directive} in {argument}", "where that leads is not seen")
            return
        for extension in binding.extensions or ("",):
            yield _Candidate(path, extension, directive)

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


def _match(root: Table, extensions: tuple[str, ...]) -> None:
    """Let *root* take the files with *extensions*, as far as one pattern can."""
    if "" in extensions:
        return
    if len(extensions) == 1:
        root.put("match", f"*{extensions[0]}", extensions[0])
    else:
        root.put("match", f"*{posixpath.commonprefix(list(extensions))}*")
        root.note(f"Apache takes {', '.join(extensions)}; a root has one pattern")


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
