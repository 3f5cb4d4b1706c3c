"""Whom a web server is to send requests to, and which: what the snippets of all servers are made from."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from fcgipm.config.schema import Application, Dynamic, External, Root, ServerOptions
from fcgipm.config.socketnames import LONGEST_PATH, dynamic_socket

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where to connect when it listens on every address


UNCHECKED_FILES: Final = (
    "its files are not looked for here: PHP behind it needs cgi.fix_pathinfo=0, else any file can be run as a script "
    "by adding a path to its name; check-local = true looks for the file first"
)
"""Said, by whatever web server, of a target whose `runs_unchecked_files` is true."""


class SnippetError(ValueError):
    """There is no configuration that says what was asked for; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a web server is to be told of."""

    applications: Sequence[Application | External]
    """Declared ones, and the dynamic ones of which a socket is there."""
    dynamic: Dynamic | None = None
    """The roots whose scripts are run, with what holds for all of them."""
    runtime_dir: str = "/run/fcgipm"
    reporter: str = "fcgipm-report"
    """The program that a server's log is piped into."""

    @property
    def declared(self) -> list[Application | External]:
        """The applications that somebody declared."""
        return [one for one in self.applications if not (isinstance(one, Application) and one.is_dynamic)]

    @property
    def scripts(self) -> list[Application]:
        """The applications that nobody declared, of which a socket is there now."""
        return [one for one in self.applications if isinstance(one, Application) and one.is_dynamic]

    @property
    def connector(self) -> str:
        """The socket where an instance is asked for."""
        return f"{self.runtime_dir}/connector.sock"

    @property
    def report(self) -> str:
        """The socket where a finished request is reported."""
        return f"{self.runtime_dir}/report.sock"


@dataclass(frozen=True, slots=True)
class Address:
    """Where an application listens: a Unix socket's path (then *port* is None), or host and port."""

    host: str
    port: int | None = None

    def __str__(self) -> str:
        if self.port is None:
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """One application as the web server sees it."""

    name: str
    options: ServerOptions
    addresses: tuple[Address, ...]
    remote: bool
    """Whether it may run on another machine, where its files need not be ours."""

    @property
    def follows_demand(self) -> bool:
        """Whether the number of its instances depends on what the web server asks for and tells of."""
        return isinstance(self.options, Application) and self.options.is_flexible and not self.authorizes

    @property
    def is_script(self) -> bool:
        """Whether it is one of those that nobody declared."""
        return isinstance(self.options, Application) and self.options.is_dynamic

    @property
    def authorizes(self) -> bool:
        """Whether it decides about requests instead of answering them."""
        return self.options.role == "authorizer"

    @property
    def checks_files(self) -> bool:
        """Whether a request for an extension is passed on only if the script's file exists here."""
        return not self.remote or self.options.check_local

    @property
    def runs_unchecked_files(self) -> bool:
        """Whether requests for an extension are passed on although nobody here knows whether there is such a file."""
        return not self.checks_files and any(uri.startswith(".") for uri in self.options.uri)


@dataclass(frozen=True, slots=True)
class Scripts:
    """A root of [dynamic] as the web server sees it: every script below it is an application."""

    root: Root
    options: Dynamic
    runtime_dir: str
    known: tuple[Application, ...] = ()
    """The scripts that have a socket now."""

    @property
    def name(self) -> str:
        """What begins the names of its applications."""
        return self.root.name

    @property
    def directory(self) -> str:
        """Where the scripts are, without a slash at the end."""
        return self.root.path.rstrip("/")

    @property
    def sockets(self) -> str:
        """The directory of their sockets, which are called like the scripts, with ``.sock`` behind."""
        return dynamic_socket(self.runtime_dir, self.root.name, "").removesuffix("/.sock")

    @property
    def name_pattern(self) -> str:
        """The regular expression (Perl's) for a script's own name, without beginning and end."""
        return re.sub(r"\\[Zz]$", "", fnmatch.translate(self.root.match))

    @property
    def longest(self) -> int:
        """How many characters a script's path below the root has at most, the slash before it included."""
        return LONGEST_PATH - len(f"{self.sockets}.sock".encode())


Responder: TypeAlias = Target | Scripts
"""Who answers what begins with a prefix."""

T = TypeVar("T", Target, Scripts, Responder)


@dataclass(frozen=True, slots=True)
class Claims:
    """Which target gets which requests.

    A prefix is without its last slash, so that "" is everything; prefixes are sorted longest first, and so are
    extensions: the first that matches is the right one.
    """

    prefixes: Mapping[str, Responder]
    extensions: Mapping[str, Target]
    guarded_prefixes: Mapping[str, Target]
    guarded_extensions: Mapping[str, Target]
    bare: frozenset[str]
    """The prefixes that were written without a slash at their end, which want the path of that name as well."""

    def places(self) -> list[str]:
        """Return every prefix at which something begins, the longest first."""
        return sorted({*self.prefixes, *self.guarded_prefixes}, key=_longest_first)

    def responder(self, place: str) -> tuple[str, Responder] | None:
        """Return the prefix and who answers below *place*; None if only files and extensions are there."""
        return _covering(self.prefixes, place)

    def guard(self, place: str) -> Target | None:
        """Return the authorizer of all that is below *place*, the innermost if there are several."""
        found = _covering(self.guarded_prefixes, place)
        return found[1] if found else None


def targets(applications: Iterable[Application | External]) -> tuple[Target, ...]:
    """Return what the web server has to know of each of *applications*, in their order."""
    return tuple(_target(application) for application in applications)


def _target(application: Application | External) -> Target:
    if isinstance(application, External) and application.host:
        addresses = tuple(_split(host) for host in application.host)
        return Target(application.name, application, addresses, remote=True)
    if application.socket is not None:
        return Target(application.name, application, (Address(application.socket),), remote=False)
    if isinstance(application, Application) and application.port is not None:
        address = Address(_ANY.get(application.address, application.address), application.port)
        return Target(application.name, application, (address,), remote=False)
    raise SnippetError(f"{application.name}: it has neither a socket nor a host")


def _split(host: str) -> Address:
    name, _, port = host.rpartition(":")
    name = name.removeprefix("[").removesuffix("]")
    if not name or not port.isdigit():
        raise SnippetError(f"not a host and a port: {host}")
    return Address(name, int(port))


def roots(site: Site) -> tuple[Scripts, ...]:
    """Return what the web server has to know of each root of [dynamic]."""
    if site.dynamic is None:
        return ()
    if site.dynamic.role == "authorizer":
        raise SnippetError("[dynamic]: scripts answer requests; an application that authorizes them has to be declared")
    return tuple(
        Scripts(
            root,
            site.dynamic,
            site.runtime_dir,
            tuple(one for one in site.scripts if one.name.partition("/")[0] == root.name),
        )
        for root in site.dynamic.roots
    )


def claims(found: Iterable[Target], scripts: Iterable[Scripts] = ()) -> Claims:
    """Sort out who gets which requests; raises `SnippetError` where two want the same ones."""
    prefixes: dict[str, Responder] = {}
    extensions: dict[str, Target] = {}
    guarded_prefixes: dict[str, Target] = {}
    guarded_extensions: dict[str, Target] = {}
    bare = set()
    for target in found:
        for uri in target.options.uri:
            if not uri.startswith("/"):
                _claim(guarded_extensions if target.authorizes else extensions, uri, uri, target)
                continue
            if not uri.endswith("/"):
                bare.add(uri)
            if target.authorizes:
                _claim(guarded_prefixes, uri.rstrip("/"), uri, target)
            else:
                _claim(prefixes, uri.rstrip("/"), uri, target)
    for one in scripts:
        _claim(prefixes, one.root.uri.rstrip("/"), one.root.uri, one)
    return Claims(
        prefixes=_ordered(prefixes),
        extensions=_ordered(extensions),
        guarded_prefixes=_ordered(guarded_prefixes),
        guarded_extensions=_ordered(guarded_extensions),
        bare=frozenset(bare),
    )


def _claim(claimed: dict[str, T], key: str, uri: str, one: T) -> None:
    other = claimed.setdefault(key, one)
    if other is not one:
        raise SnippetError(
            f"{other.name} and {one.name} both want {uri}; name the applications that belong to one server on "
            "the command line"
        )


def _ordered(claimed: Mapping[str, T]) -> dict[str, T]:
    return dict(sorted(claimed.items(), key=lambda item: _longest_first(item[0])))


def _longest_first(text: str) -> tuple[int, str]:
    return -len(text), text


def _covering(found: Mapping[str, T], place: str) -> tuple[str, T] | None:
    return next(((prefix, target) for prefix, target in found.items() if f"{place}/".startswith(f"{prefix}/")), None)


def seconds(duration: int) -> int:
    """Return *duration* (nanoseconds) in whole seconds, rounded up."""
    return -(-duration // 1_000_000_000)
