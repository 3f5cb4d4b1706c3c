"""What an option of the configuration file is: a field of a dataclass with all that is known of it beside its type.

`fcgipm.config.schema` has the options themselves.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeAlias

Duration: TypeAlias = int
"""A span of time in nanoseconds."""

MILLISECOND: Duration = 1_000_000
SECOND: Duration = 1_000_000_000


class Kind(enum.Enum):
    """How a value is written; `fcgipm.config.values` reads and prints each."""

    TEXT = "text"
    PATH = "absolute path"
    SOCKET_PATH = "path, relative to runtime-dir or absolute"
    INTEGER = "number"
    BOOLEAN = "true or false"
    DURATION = "seconds, or a text such as 90s, 5m, 250ms, 2h"
    OCTAL = "octal text such as 0660"
    ENUM = "one of a list"
    TEXTS = "list of texts"
    COMMAND = "list: program, then arguments"
    ENVIRONMENT = "table of NAME = value"
    LIMITS = "table of setrlimit names"
    IDENTITY = "user or group name, or #id"
    IDENTITIES = "list of names or #ids"
    SIGNAL = "signal name or number"
    URIS = "list of prefixes (/blog/) or extensions (.php)"
    EXTENSIONS = "table of extension = extension"
    HOSTS = "name:port, or a list of them"
    WRAPPER = '"off", "on" or an absolute path'
    LOG = "stderr, syslog, journal, or an absolute path"
    ENDPOINT = 'address:port, "unix:/path", or ""'
    ADDRESS = "IPv4 or IPv6 address"
    SIZE = "bytes, or a text such as 256M"
    FRACTION = "number from 0 to 1"
    ROOTS = "list of tables, each with a path"
    PREFIX = "prefix such as /fcgi-bin/"
    PATTERN = "pattern of file names, such as *.fcgi"
    NAME = "name as of an application"
    PROBE = "table { uri, status, timeout }"
    REQUEST = "path with or without a query, such as /ping?full=1"
    GLOBS = "list of absolute paths with *, ?, [...] and **"


class Change(enum.Enum):
    """What ``apply`` does when the value of a key has changed."""

    IN_PLACE = "in place"
    GENERATION = "new generation"
    LISTENER = "new listener"
    RESTART = "needs a restart of fcgipm"


class Side(enum.Enum):
    """Whom an option is for: the running instances, or the web server's configuration (`snippet`)."""

    DAEMON = "daemon"
    INSTANCE = "instance"
    SERVER = "server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What is known of one key beside its Python type; found in ``field.metadata["option"]``."""

    kind: Kind
    meaning: str
    change: Change
    side: Side
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    """Choices that the documentation names and this version does not have yet."""
    key: str = ""
    """Only where it is not the field's name in kebab-case."""
    default_text: str = ""
    """How the documentation gives a default that depends on something."""
    inherits: bool = True
    """Whether [defaults] may give it."""
    fcgi: str = ""
    """The word of mod_fastcgi for it."""
    lighttpd: str = ""
    """The word of lighttpd or spawn-fcgi for it."""


def daemon_option(
    kind: Kind, meaning: str, *, default: Any = MISSING, change: Change = Change.RESTART, **more: Any
) -> Any:
    """Return the field of an option of the daemon itself."""
    option = Option(kind=kind, meaning=meaning, change=change, side=Side.DAEMON, **more)
    return field(default=default, metadata={"option": option})


def instance_option(
    kind: Kind,
    meaning: str,
    *,
    default: Any = MISSING,
    factory: Any = MISSING,
    change: Change = Change.GENERATION,
    **more: Any,
) -> Any:
    """Return the field of an option that describes instances; *factory* makes a default that cannot be shared."""
    option = Option(kind=kind, meaning=meaning, change=change, side=Side.INSTANCE, **more)
    metadata = {"option": option}
    if factory is not MISSING:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def root_option(kind: Kind, meaning: str, *, default: Any = MISSING, **more: Any) -> Any:
    """Return the field of an option of one of the roots of [dynamic]."""
    option = Option(kind=kind, meaning=meaning, change=Change.IN_PLACE, side=Side.INSTANCE, **more)
    return field(default=default, metadata={"option": option})


def server_option(kind: Kind, meaning: str, *, default: Any = MISSING, factory: Any = MISSING, **more: Any) -> Any:
    """Return the field of an option that is told to the web server."""
    option = Option(kind=kind, meaning=meaning, change=Change.IN_PLACE, side=Side.SERVER, **more)
    metadata = {"option": option}
    if factory is not MISSING:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def options(table: type) -> Iterator[tuple[str, Option, Field[Any]]]:
    """Yield (key, option, field) for each option of *table*, in the order of the file above."""
    for item in fields(table):
        option: Option | None = item.metadata.get("option")
        if option is not None:
            yield option.key or item.name.replace("_", "-"), option, item
