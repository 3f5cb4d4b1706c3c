"""Whom a web server is to send requests to, and which: what the snippets of all servers are made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from fcgipm.config.schema import Application, External, ServerOptions

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where to connect when it listens on every address


UNCHECKED_FILES: Final = (
    "its files are not looked for here: PHP behind it needs cgi.fix_pathinfo=0, else any file can be run as a script "
    "by adding a path to its name; check-local = true looks for the file first"
)
"""Said, by whatever web server, of a target whose `runs_unchecked_files` is true."""


class SnippetError(ValueError):
    """There is no configuration that says what was asked for; the text says why."""


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
class Claims:
    """Which target gets which requests.

    A prefix is without its last slash, so that "" is everything; prefixes are sorted longest first, and so are
    extensions: the first that matches is the right one.
    """

    prefixes: Mapping[str, Target]
    extensions: Mapping[str, Target]
    guarded_prefixes: Mapping[str, Target]
    guarded_extensions: Mapping[str, Target]
    bare: frozenset[str]
    """The prefixes that were written without a slash at their end, which want the path of that name as well."""

    def places(self) -> list[str]:
        """Return every prefix at which something begins, the longest first."""
        return sorted({*self.prefixes, *self.guarded_prefixes}, key=_longest_first)

    def responder(self, place: str) -> tuple[str, Target] | None:
        """Return the prefix and the target that answers below *place*; None if only files and extensions are there."""
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


def claims(found: Iterable[Target]) -> Claims:
    """Sort out which target gets which requests; raises `SnippetError` where two want the same ones."""
    kinds: dict[tuple[bool, bool], dict[str, Target]] = {}
    bare = set()
    for target in found:
        for uri in target.options.uri:
            is_prefix = uri.startswith("/")
            key = uri.rstrip("/") if is_prefix else uri
            if is_prefix and key == uri:
                bare.add(key)
            kind = kinds.setdefault((target.authorizes, is_prefix), {})
            if kind.setdefault(key, target) is not target:
                raise SnippetError(
                    f"{kind[key].name} and {target.name} both want {uri}; name the applications that belong to one "
                    "server on the command line"
                )
    ordered = {
        kind: dict(sorted(found.items(), key=lambda item: _longest_first(item[0]))) for kind, found in kinds.items()
    }
    return Claims(
        prefixes=ordered.get((False, True), {}),
        extensions=ordered.get((False, False), {}),
        guarded_prefixes=ordered.get((True, True), {}),
        guarded_extensions=ordered.get((True, False), {}),
        bare=frozenset(bare),
    )


def _longest_first(text: str) -> tuple[int, str]:
    return -len(text), text


def _covering(found: Mapping[str, Target], place: str) -> tuple[str, Target] | None:
    return next(((prefix, target) for prefix, target in found.items() if f"{place}/".startswith(f"{prefix}/")), None)


def seconds(duration: int) -> int:
    """Return *duration* (nanoseconds) in whole seconds, rounded up."""
    return -(-duration // 1_000_000_000)
