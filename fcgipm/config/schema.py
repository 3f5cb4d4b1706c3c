"""Every option of the configuration file, once.

A field of a dataclass is an option: its key, kind, default, bounds, one-line meaning, and what `apply` does when it
changes.  The parser, ``fcgipm show``, the tables of apps.toml(5) and the change plan of ``apply`` are all made from
these fields; nothing about an option is written down a second time.  Those of [fcgipm], of web servers and of
instances in general lie in modules of their own, and are imported from here by everybody else.

Times are integer nanoseconds (`Duration`), sizes bytes.  Instances of these classes are complete: defaults are
filled in, names are checked, paths absolute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fcgipm.config.daemon_options import Daemon
from fcgipm.config.instance_options import InstanceOptions
from fcgipm.config.option import (
    MILLISECOND,
    SECOND,
    Change,
    Duration,
    Kind,
    instance_option,
    root_option,
    server_option,
)
from fcgipm.config.probe_options import Probe
from fcgipm.config.server_options import ServerOptions

__all__ = [
    "LATER_KEYS", "MILLISECOND", "RESERVED_NAMES", "SECOND", "Application", "Change", "Config", "Daemon", "Duration",
    "Dynamic", "External", "InstanceOptions", "Probe", "Root", "ServerOptions",
]  # fmt: skip
"""Spans of time and what a change leads to belong to the words of the schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Application(InstanceOptions):
    """A table [app.NAME]: a declared application.  A dynamic one has the same shape, and a slash in its name."""

    name: str
    command: tuple[str, ...] = instance_option(
        Kind.COMMAND,
        "program (an absolute path) and its arguments; no shell",
        inherits=False,
        fcgi="filename",
        lighttpd="bin-path",
    )
    socket: str | None = instance_option(
        Kind.SOCKET_PATH,
        "path of the Unix socket; excludes port",
        default=None,
        default_text="NAME.sock",
        change=Change.LISTENER,
        inherits=False,
        fcgi="-socket",
        lighttpd="socket, -s",
    )
    port: int | None = instance_option(
        Kind.INTEGER,
        "TCP port",
        default=None,
        minimum=1,
        maximum=65535,
        change=Change.LISTENER,
        inherits=False,
        default_text="none",
        fcgi="-port",
        lighttpd="port, -p",
    )
    address: str = instance_option(
        Kind.ADDRESS,
        "address of the TCP port",
        default="127.0.0.1",
        change=Change.LISTENER,
        inherits=False,
        lighttpd="host, -a",
    )
    processes: int | None = instance_option(
        Kind.INTEGER,
        "instances kept; not beside min-processes and max-processes",
        default=1,
        minimum=1,
        maximum=10_000,
        change=Change.IN_PLACE,
        inherits=False,
        fcgi="-processes",
        lighttpd="max-procs, -F",
    )
    min_processes: int | None = instance_option(
        Kind.INTEGER,
        "instances that are kept whatever the demand; not beside processes",
        default=None,
        default_text="processes; 1 beside max-processes",
        minimum=0,
        maximum=10_000,
        change=Change.IN_PLACE,
        inherits=False,
        lighttpd="min-procs",
    )
    max_processes: int | None = instance_option(
        Kind.INTEGER,
        "instances at most; the number follows the demand between min-processes and this",
        default=None,
        default_text="processes; the greater of 1 and min-processes beside that",
        minimum=1,
        maximum=10_000,
        change=Change.IN_PLACE,
        inherits=False,
        lighttpd="max-procs",
    )
    probe: Probe | None = instance_option(
        Kind.PROBE,
        "a request that a new generation must answer before visitors meet it: { uri, status, timeout }",
        default=None,
        change=Change.IN_PLACE,
        inherits=False,
    )
    autostart: bool = instance_option(
        Kind.BOOLEAN,
        "start with the daemon; false: stopped until `fcgipmctl start`",
        default=True,
        change=Change.IN_PLACE,
    )
    on_failure: str = instance_option(
        Kind.ENUM,
        "exit: the daemon ends with status 1 when this application fails",
        default="retry",
        choices=("retry", "exit"),
        change=Change.IN_PLACE,
    )

    given_socket: bool = False
    """Whether systemd has opened its socket; no option: it is known when the daemon is started."""

    @property
    def shares_socket(self) -> bool:
        """Whether all its generations have one socket: a TCP port, or what systemd has opened."""
        return self.port is not None or self.given_socket

    @property
    def is_dynamic(self) -> bool:
        """Whether nobody declared it: it is a script below one of the roots of [dynamic]."""
        return "/" in self.name

    @property
    def least(self) -> int:
        """How many instances it has whatever the demand."""
        return self.processes if self.processes is not None else self.min_processes or 0

    @property
    def most(self) -> int:
        """How many instances it has at most; of a dynamic one the totals of [dynamic] are a limit, too."""
        return self.processes if self.processes is not None else max(self.max_processes or 1, self.least)

    @property
    def is_flexible(self) -> bool:
        """Whether the number of its instances follows the demand."""
        return self.least < self.most


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """One of the roots of [dynamic]: a directory where scripts may lie."""

    path: str = root_option(Kind.PATH, "the directory; required, and no symbolic link may lead to it")
    name: str = root_option(
        Kind.NAME,
        "begins the names of its applications: NAME/path/of/script",
        default="",
        default_text="the last component of path",
    )
    match: str = root_option(
        Kind.PATTERN,
        "which files are scripts: a pattern with *, ? and [...] for their names",
        default="*",
    )
    listen: bool = root_option(
        Kind.BOOLEAN,
        "every script has its socket from the start on, not only when it is first asked for",
        default=False,
    )
    uri: str = root_option(
        Kind.PREFIX,
        "what begins the requests for its scripts",
        default="",
        default_text="/NAME/",
    )
    user: str | None = root_option(
        Kind.IDENTITY,
        "user of its scripts",
        default=None,
        default_text="the user of [dynamic]; with a wrapper the owner of the script",
    )
    group: str | None = root_option(
        Kind.IDENTITY,
        "group of its scripts",
        default=None,
        default_text="the user's primary group; with a wrapper and no user here the group of the script",
    )
    owners: tuple[str, ...] = root_option(
        Kind.IDENTITIES,
        "users, beside root and who a script runs as, to whom directories and scripts may belong",
        default=(),
    )
    recursive: bool = root_option(
        Kind.BOOLEAN,
        "scripts may also lie in directories below",
        default=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dynamic(InstanceOptions):
    """The table [dynamic]: applications that nobody declared, and the limits for all of them together.

    Fields without an option cannot be written for all scripts: each root has its uri, each script its own directory
    and a Unix socket.
    """

    uri: tuple[str, ...] = ()
    directory: str | None = None
    allowed_clients: tuple[str, ...] = ()

    roots: tuple[Root, ...] = instance_option(
        Kind.ROOTS,
        "where scripts may lie: { path, name, match, listen, uri, user, group, owners, recursive }",
        default=(),
        change=Change.IN_PLACE,
        inherits=False,
    )
    max_processes: int = instance_option(
        Kind.INTEGER,
        "dynamic instances in all, whatever the way of starting",
        default=50,
        minimum=1,
        maximum=10_000,
        change=Change.IN_PLACE,
        inherits=False,
        fcgi="-maxProcesses",
    )
    max_class_processes: int = instance_option(
        Kind.INTEGER,
        "instances of any one dynamic application",
        default=10,
        minimum=1,
        maximum=10_000,
        change=Change.IN_PLACE,
        inherits=False,
        fcgi="-maxClassProcesses",
    )
    min_processes: int = instance_option(
        Kind.INTEGER,
        "the policy removes none while there are so many in all, or fewer",
        default=5,
        minimum=0,
        maximum=10_000,
        change=Change.IN_PLACE,
        inherits=False,
        fcgi="-minProcesses",
    )
    process_slack: int = instance_option(
        Kind.INTEGER,
        "room that is kept below max-processes: with less of it the policy looks at once for instances that can go",
        default=5,
        minimum=0,
        maximum=10_000,
        change=Change.IN_PLACE,
        inherits=False,
        fcgi="-processSlack",
    )
    restart: bool = instance_option(
        Kind.BOOLEAN,
        "start an instance again that has failed, as of declared applications",
        default=False,
        change=Change.IN_PLACE,
        inherits=False,
        fcgi="-restart",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class External(ServerOptions):
    """A table [external.NAME]: an application that is managed elsewhere."""

    name: str
    host: tuple[str, ...] = server_option(
        Kind.HOSTS,
        "where it listens; several are balanced over",
        default=(),
        inherits=False,
        fcgi="-host",
        lighttpd="host, port",
    )
    socket: str | None = server_option(
        Kind.PATH,
        "its Unix socket; excludes host",
        default=None,
        inherits=False,
        fcgi="-socket",
        lighttpd="socket",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration, checked."""

    daemon: Daemon
    applications: Mapping[str, Application]
    externals: Mapping[str, External]
    dynamic: Dynamic | None = None
    """None where no scripts are started that nobody declared."""


LATER_KEYS = frozenset(
    {
        "request-timeout", "spare", "standby", "spawn-burst", "spawn-rate", "scale-down-window",
    }
)  # fmt: skip
"""Keys that the documentation names and this version does not have yet."""

RESERVED_NAMES = frozenset({"control", "connector", "report", "metrics", "dynamic", "state"})
"""What no application may be called: fcgipm's own sockets and files."""
