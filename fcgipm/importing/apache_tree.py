"""Read an Apache configuration with all that it includes into one list of directives, each with its sections."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from fcgipm.importing.apache_lines import first_word, logical_lines, resolved, words
from fcgipm.importing.files import Files, joined, read_main, reason
from fcgipm.importing.found import Found, Place, Unreadable

OLD_NAMES: Final[Mapping[str, str]] = {
    "appclass": "fastcgiserver",
    "externalappclass": "fastcgiexternalserver",
    "fcgiconfig": "fastcgiconfig",
    "fastcgisuexec": "fastcgiwrapper",
}
"""What mod_fastcgi also calls its directives."""

_SERVER: Final = frozenset(
    {
        "action", "addhandler", "addtype", "alias", "aliasmatch", "documentroot", "group", "options", "scriptalias",
        "scriptaliasmatch", "servername", "sethandler", "suexecusergroup", "user", "userdir",
    }
)  # fmt: skip
"""Directives of Apache's own that say something about its FastCGI applications."""

_DEEPEST: Final = 20
_MOST_FILES: Final = 2000
_MOST_DIRECTIVES: Final = 200_000


@dataclass(frozen=True, slots=True)
class Section:
    """A section such as ``<Directory /srv>``."""

    kind: str
    """In small letters."""
    words: tuple[str, ...]
    place: Place

    @property
    def argument(self) -> str:
        """Its last word: after ``~``, the pattern."""
        return self.words[-1] if self.words else ""

    def __str__(self) -> str:
        return f"<{' '.join((self.kind, *self.words))}>"


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive that matters here."""

    name: str
    """As it is written."""
    arguments: str
    place: Place
    within: tuple[Section, ...]

    @property
    def key(self) -> str:
        """Its newest name, in small letters."""
        return _key(self.name)

    @property
    def words(self) -> list[str]:
        """Its arguments, without quotes."""
        return words(self.arguments)

    def __str__(self) -> str:
        return f"{self.name} {self.arguments}".rstrip()


@dataclass(slots=True)
class Tree:
    """What a configuration says."""

    directives: list[Directive] = field(default_factory=list)
    server_root: str = ""
    root_is_written: bool = False


def read_tree(main: str, files: Files, environ: Mapping[str, str], found: Found) -> Tree:
    """Return what the file *main* says; *environ* is Apache's environment, for ``${NAME}``.

    Raises `Unreadable` where *main* cannot be read, sections do not match, or it is too much; what cannot be followed
    goes to *found*.
    """
    reader = _Reader(files, environ, found, _root_of(main))
    reader.file(main, read_main(files, main), (), 0)
    return reader.tree


def _root_of(main: str) -> str:
    """Return the ServerRoot of who does not write one: httpd.conf is in its directory conf, apache2.conf in itself."""
    directory = posixpath.dirname(joined("/", main))
    return posixpath.dirname(directory) if posixpath.basename(directory) == "conf" else directory


def _key(name: str) -> str:
    small = name.lower()
    return OLD_NAMES.get(small, small)


def _matters(key: str) -> bool:
    return key.startswith("fastcgi") or key in _SERVER


@dataclass(slots=True)
class _Open:
    """A section that is not closed yet."""

    section: Section
    skipped: str = ""
    """Why what is in it does not hold; empty where it does."""
    assumed: str = ""
    """What was taken for granted so that it holds; empty where nothing was."""


class _Reader:
    def __init__(self, files: Files, environ: Mapping[str, str], found: Found, server_root: str) -> None:
        self.tree = Tree(server_root=server_root)
        self._files = files
        self._found = found
        self._variables = dict(environ)
        self._defined: set[str] = set()
        self._modules = {"mod_fastcgi.c", "fastcgi_module"}
        self._read = 0

    def file(self, path: str, text: str, around: tuple[_Open, ...], depth: int) -> None:
        self._read += 1
        if depth > _DEEPEST:
            raise Unreadable(Place(path), f"files include each other more than {_DEEPEST} deep")
        if self._read > _MOST_FILES:
            raise Unreadable(Place(path), f"more than {_MOST_FILES} files are included")
        here: list[_Open] = []
        for number, line in logical_lines(text):
            self._line(Place(path, number), line, (*around, *here) if here else around, here, depth)
        if here:
            section = here[-1].section
            raise Unreadable(section.place, f"{section} is not closed in this file")

    def _line(self, place: Place, line: str, around: tuple[_Open, ...], here: list[_Open], depth: int) -> None:
        missing: list[str] = []
        try:
            name, arguments = first_word(resolved(line, self._variables, missing.append))
        except ValueError as error:
            raise Unreadable(place, str(error)) from None
        if name.startswith("</"):
            self._close(place, name, here)
            return
        if name.startswith("<"):
            here.append(self._opened(place, name, arguments))
            if len(around) > 100:
                raise Unreadable(place, "sections are nested more than 100 deep")
            return
        key = _key(name)
        skipped = next((item for item in around if item.skipped), None)
        if skipped is None:
            self._settings(key, arguments)
            if key in ("include", "includeoptional"):
                self._include(place, name, arguments, around, depth)
        directive = Directive(name, arguments, place, _real(around))
        if _foreign_module(directive):
            if skipped is None:
                why = f"is {_foreign_module(directive)}'s; only what mod_fastcgi does is imported"
                self._found.lose(place, str(directive), why)
        elif _matters(key):
            self._keep(directive, around, missing)

    def _opened(self, place: Place, name: str, arguments: str) -> _Open:
        inside = name[1:].removesuffix(">")
        whole = arguments.removesuffix(">") if arguments else ""
        section = Section(inside.lower(), tuple(words(whole)), place)
        skipped, assumed = self._condition(section)
        return _Open(section, skipped, assumed)

    def _close(self, place: Place, name: str, here: list[_Open]) -> None:
        kind = name[2:].removesuffix(">").rstrip().lower()
        if not here:
            raise Unreadable(place, f"</{kind}> closes nothing")
        if here[-1].section.kind != kind:
            begun = here[-1].section
            raise Unreadable(place, f"</{kind}> where {begun} of line {begun.place.line} should end")
        here.pop()

    def _condition(self, section: Section) -> tuple[str, str]:
        """Return why what is in *section* does not hold, or what must be assumed so that it does."""
        negated = section.argument.startswith("!")
        what = section.argument.removeprefix("!")
        match section.kind:
            case "ifmodule" if negated and what in self._modules:
                return f"{section} holds only without that module", ""
            case "ifdefine" if negated == (what in self._defined):
                state = "is defined" if negated else "is not defined in these files"
                return f"{section} does not hold: {what} {state}", ""
            case "macro":
                return f"{section} is not followed: write down what Use makes of it", ""
            case "ifversion" | "iffile" | "ifdirective" | "ifsection":
                return "", f"{section} is taken to hold"
            case "ifmodule" if negated:
                return "", f"{section} is taken to hold, for no LoadModule was seen"
        return "", ""

    def _settings(self, key: str, arguments: str) -> None:
        """Follow what changes how the rest is read."""
        if key not in ("define", "undefine", "loadmodule", "serverroot"):
            return
        match key, words(arguments):
            case "define", [name, value]:
                self._variables[name] = value
                self._defined.add(name)
            case "define", [name]:
                self._defined.add(name)
            case "undefine", [name]:
                self._variables.pop(name, None)
                self._defined.discard(name)
            case "loadmodule", [name, *_file]:
                self._modules |= {name, f"mod_{name.removesuffix('_module')}.c"}
            case "serverroot", [path]:
                self.tree.server_root = joined(self.tree.server_root, path)
                self.tree.root_is_written = True
            case _:
                pass

    def _include(self, place: Place, name: str, arguments: str, around: tuple[_Open, ...], depth: int) -> None:
        for pattern in words(arguments)[:1]:
            path = joined(self.tree.server_root, pattern)
            try:
                names = self._files.expand(path)
            except (OSError, ValueError) as error:
                self._found.lose(place, f"{name} {pattern}", f"cannot be followed: {reason(error)}")
                continue
            if not names and name.lower() == "include":
                self._found.lose(
                    place, f"{name} {pattern}", "no such file" if path == pattern else f"{path}: no such file"
                )
            for file in names:
                self._included(place, name, file, around, depth)

    def _included(self, place: Place, name: str, file: str, around: tuple[_Open, ...], depth: int) -> None:
        try:
            text = self._files.read(file)
        except (OSError, ValueError) as error:
            self._found.lose(place, f"{name} {file}", f"cannot be read: {reason(error)}")
        else:
            self.file(file, text, around, depth + 1)

    def _keep(self, directive: Directive, around: tuple[_Open, ...], missing: list[str]) -> None:
        ours = directive.key.startswith("fastcgi")
        skipped = next((item.skipped for item in around if item.skipped), "")
        if skipped:
            if ours:
                self._found.lose(directive.place, str(directive), skipped)
            return
        for item in around if ours else ():
            if item.assumed:
                self._found.note(f"{item.section.place}: {item.assumed}")
        if missing:
            names = ", ".join(dict.fromkeys(missing))
            why = f"{names} is not defined here; define it in the environment, as Debian's /etc/apache2/envvars does"
            self._found.lose(directive.place, str(directive), why)
            if not ours:
                return
        if len(self.tree.directives) >= _MOST_DIRECTIVES:
            raise Unreadable(directive.place, f"more than {_MOST_DIRECTIVES} directives")
        self.tree.directives.append(directive)


def _foreign_module(directive: Directive) -> str:
    """Return which other module *directive* tells of FastCGI applications, or an empty text."""
    if directive.key.startswith("fcgid"):
        return "mod_fcgid"
    return "mod_proxy_fcgi" if "fcgi://" in directive.arguments else ""


def _real(around: tuple[_Open, ...]) -> tuple[Section, ...]:
    """Return the sections that say for what something holds, not whether."""
    conditions = {"ifmodule", "ifdefine", "ifversion", "iffile", "ifdirective", "ifsection"}
    return tuple(item.section for item in around if item.section.kind not in conditions)


def sections(directive: Directive, *kinds: str) -> Iterator[Section]:
    """Yield the sections of *kinds* that *directive* is in, the innermost first."""
    return (section for section in reversed(directive.within) if section.kind in kinds)
