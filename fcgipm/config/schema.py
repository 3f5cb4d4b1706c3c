"""Every option of the configuration file, once.

A field of a dataclass below is an option: its key, kind, default, bounds, one-line meaning, and what `apply` does
when it changes.  The parser, ``fcgipm show``, the tables of apps.toml(5) and the change plan of ``apply`` are all
made from these fields; nothing about an option is written down a second time.

Times are integer nanoseconds (`Duration`), sizes bytes.  Instances of these classes are complete: defaults are
filled in, names are checked, paths absolute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fcgipm.config.option import (
    MILLISECOND,
    SECOND,
    Change,
    Duration,
    Kind,
    daemon_option,
    instance_option,
    server_option,
)

__all__ = [
    "LATER_KEYS", "MILLISECOND", "RESERVED_NAMES", "SECOND", "Application", "Change", "Config", "Daemon", "Duration",
    "External", "ServerOptions",
]  # fmt: skip
"""Spans of time and what a change leads to belong to the words of the schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """The table [fcgipm]: the daemon itself."""

    runtime_dir: str = daemon_option(
        Kind.PATH,
        "directory of the sockets, the pid file and the lock; made if missing, not its parents",
        default="/run/fcgipm",
        default_text="/run/fcgipm as root, else $XDG_RUNTIME_DIR/fcgipm, else /tmp/fcgipm-UID",
        fcgi="FastCgiIpcDir",
    )
    user: str = daemon_option(
        Kind.IDENTITY,
        "the manager's user when fcgipm is started as root; if it does not exist, a uid of its own without an account "
        "(61184-65519); never nobody, and no application may run as it",
        default="fcgipm",
    )
    web_user: str = daemon_option(
        Kind.IDENTITY,
        "who the web server is",
        default="",
        default_text="www-data if it exists, else the daemon's user",
    )
    web_group: str = daemon_option(
        Kind.IDENTITY,
        "group of the applications' sockets",
        default="",
        default_text="www-data if it exists, else the daemon's group",
    )
    wrapper: str = daemon_option(
        Kind.WRAPPER,
        'program that starts the applications as their users: "off", "on" (the system\'s suexec) or a path',
        default="off",
        change=Change.GENERATION,
        fcgi="FastCgiWrapper, FastCgiSuexec",
    )
    log: str = daemon_option(
        Kind.LOG,
        "where log lines go",
        default="",
        default_text="stderr in the foreground, syslog in the background",
        change=Change.RESTART,
    )
    log_level: str = daemon_option(
        Kind.ENUM,
        "least severity that is logged",
        default="info",
        choices=("debug", "info", "warning", "error"),
        change=Change.IN_PLACE,
    )
    log_format: str = daemon_option(
        Kind.ENUM,
        "how a log line is written",
        default="text",
        choices=("text", "json"),
        change=Change.IN_PLACE,
    )
    log_ring: int = daemon_option(
        Kind.INTEGER,
        "how many of its last lines are kept for each application, at most 256 KiB of them",
        default=200,
        minimum=0,
        maximum=100_000,
        change=Change.IN_PLACE,
    )
    metrics_listen: str = daemon_option(
        Kind.ENDPOINT,
        'where /metrics is served; "" switches it off',
        default="127.0.0.1:9753",
    )
    admins: tuple[str, ...] = daemon_option(
        Kind.IDENTITIES,
        "users, or groups written %group, who may use control.sock beside root and the starter",
        default=(),
        change=Change.IN_PLACE,
    )
    readers: tuple[str, ...] = daemon_option(
        Kind.IDENTITIES,
        "users, or groups written %group, who may look but not touch",
        default=(),
        change=Change.IN_PLACE,
    )
    pid_file: str = daemon_option(
        Kind.PATH,
        "file with the daemon's process id",
        default="",
        default_text="fcgipm.pid in runtime-dir",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What the web server is told about an application; carried into `fcgipmctl snippet`."""

    uri: tuple[str, ...] = server_option(
        Kind.URIS,
        "what the web server sends here: a prefix such as /blog/ or an extension such as .php",
        default=(),
        default_text='["/NAME/"]',
        inherits=False,
        fcgi="Alias, AddHandler",
        lighttpd="key of fastcgi.server",
    )
    document_root: str | None = server_option(
        Kind.PATH,
        "directory of the scripts; begins SCRIPT_FILENAME where uri is an extension",
        default=None,
    )
    app_conn_timeout: Duration = server_option(
        Kind.DURATION,
        "how long the web server waits for a connection; 0 is the server's default",
        default=0,
        minimum=0,
        fcgi="-appConnTimeout",
        lighttpd="connect-timeout",
    )
    idle_timeout: Duration = server_option(
        Kind.DURATION,
        "how long the web server waits for the next byte of an answer",
        default=30 * SECOND,
        minimum=1 * SECOND,
        fcgi="-idle-timeout",
        lighttpd="read-timeout",
    )
    flush: bool = server_option(Kind.BOOLEAN, "send every piece of an answer on at once", default=False, fcgi="-flush")
    pass_header: tuple[str, ...] = server_option(
        Kind.TEXTS, "request headers that are passed although they usually are not", default=(), fcgi="-pass-header"
    )
    nph: bool = server_option(Kind.BOOLEAN, "the application writes the whole HTTP answer", default=False, fcgi="-nph")
    role: str = server_option(
        Kind.ENUM,
        "the FastCGI role",
        default="responder",
        choices=("responder", "authorizer"),
        fcgi="FastCgiAuth...",
        lighttpd="mode",
    )
    docroot: str | None = server_option(
        Kind.PATH,
        "document root as the application sees it; required for an authorizer in lighttpd",
        default=None,
        lighttpd="docroot",
    )
    check_local: bool = server_option(
        Kind.BOOLEAN, "ask only for files that exist", default=False, lighttpd="check-local"
    )
    broken_scriptfilename: bool = server_option(
        Kind.BOOLEAN, "work around PHP's mangled SCRIPT_FILENAME", default=False, lighttpd="broken-scriptfilename"
    )
    allow_x_send_file: bool = server_option(
        Kind.BOOLEAN, "let the application name a file to be sent", default=False, lighttpd="allow-x-send-file"
    )
    disable_time: Duration = server_option(
        Kind.DURATION,
        "how long an unreachable host is left alone",
        default=1 * SECOND,
        minimum=0,
        lighttpd="disable-time",
    )
    map_extensions: Mapping[str, str] = server_option(
        Kind.EXTENSIONS,
        "extensions that are handled like another one",
        factory=dict,
        key="fastcgi.map-extensions",
        lighttpd="fastcgi.map-extensions",
    )
    debug: int = server_option(
        Kind.INTEGER,
        "lighttpd's debug level for FastCGI",
        default=0,
        minimum=0,
        maximum=65535,
        key="fastcgi.debug",
        lighttpd="fastcgi.debug",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Application(ServerOptions):
    """A table [app.NAME]: a static application."""

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
    allowed_clients: tuple[str, ...] = instance_option(
        Kind.TEXTS,
        "addresses that may connect over TCP, given to the application as FCGI_WEB_SERVER_ADDRS",
        default=(),
    )
    socket_mode: int = instance_option(
        Kind.OCTAL,
        "permissions of the Unix socket, exactly so, whatever the umask",
        default=0o660,
        change=Change.IN_PLACE,
        maximum=0o777,
        minimum=0,
        lighttpd="-M",
    )
    socket_owner: str | None = instance_option(
        Kind.IDENTITY,
        "owner of the Unix socket",
        default=None,
        default_text="the application's user",
        change=Change.IN_PLACE,
        lighttpd="-U",
    )
    socket_group: str | None = instance_option(
        Kind.IDENTITY,
        "group of the Unix socket",
        default=None,
        default_text="web-group",
        change=Change.IN_PLACE,
        lighttpd="-G",
    )
    listen_queue_depth: int = instance_option(
        Kind.INTEGER,
        "how many connections may wait",
        default=100,
        minimum=1,
        maximum=2**31 - 1,
        change=Change.IN_PLACE,
        fcgi="-listen-queue-depth",
        lighttpd="listen-backlog, -b",
    )
    processes: int = instance_option(
        Kind.INTEGER,
        "instances kept",
        default=1,
        minimum=1,
        maximum=10_000,
        change=Change.IN_PLACE,
        inherits=False,
        fcgi="-processes",
        lighttpd="max-procs, -F",
    )
    initial_env: Mapping[str, str] = instance_option(
        Kind.ENVIRONMENT,
        "the whole environment of an instance, together with pass-env and env-file",
        factory=dict,
        fcgi="-initial-env NAME=VALUE",
        lighttpd="bin-environment",
    )
    pass_env: tuple[str, ...] = instance_option(
        Kind.TEXTS,
        "variables copied from the daemon's environment; empty if absent there",
        default=(),
        fcgi="-initial-env NAME",
        lighttpd="bin-copy-environment",
    )
    env_file: str | None = instance_option(
        Kind.PATH,
        "file of more NAME=VALUE lines; root's, or else read with the rights of the application's user; a value loses "
        "the pair of quotes around it, and nothing else is interpreted",
        default=None,
    )
    priority: int = instance_option(
        Kind.INTEGER,
        "scheduling priority (setpriority)",
        default=0,
        minimum=-20,
        maximum=19,
        fcgi="-priority",
    )
    init_start_delay: Duration = instance_option(
        Kind.DURATION,
        "time between two starts when the daemon or the application is started",
        default=1 * SECOND,
        minimum=0,
        change=Change.IN_PLACE,
        fcgi="-init-start-delay",
    )
    restart_delay: Duration = instance_option(
        Kind.DURATION,
        "least time between a start and the next one in the same slot, when that instance ended unasked; "
        "100 ms are kept in any case",
        default=5 * SECOND,
        minimum=0,
        change=Change.IN_PLACE,
        fcgi="-restart-delay",
    )
    min_server_life: Duration = instance_option(
        Kind.DURATION,
        "three instances in a row that live shorter put the application into back-off: one start every 600 s; 0 is off",
        default=30 * SECOND,
        minimum=0,
        change=Change.IN_PLACE,
        fcgi="-min-server-life",
    )
    user: str | None = instance_option(
        Kind.IDENTITY,
        "user of the instances",
        default=None,
        default_text="web-user if fcgipm was started by root, else the daemon's user",
        fcgi="-user",
        lighttpd="-u",
    )
    group: str | None = instance_option(
        Kind.IDENTITY,
        "group of the instances",
        default=None,
        default_text="the user's primary group",
        fcgi="-group",
        lighttpd="-g",
    )
    groups: tuple[str, ...] | None = instance_option(
        Kind.IDENTITIES,
        "supplementary groups",
        default=None,
        default_text="the user's, from the group database",
    )
    allow_root: bool = instance_option(
        Kind.BOOLEAN,
        "permit instances that run as root",
        default=False,
    )
    wrapper: str | None = instance_option(
        Kind.WRAPPER,
        'program that starts the instances as their user, or "off"',
        default=None,
        default_text="the daemon's",
        fcgi="FastCgiWrapper",
    )
    stop_signal: int = instance_option(
        Kind.SIGNAL,
        "asks an instance to finish; sent only when nothing can be lost by it",
        default=15,
        default_text="TERM",
        change=Change.IN_PLACE,
        minimum=1,
        maximum=64,
        lighttpd="kill-signal",
    )
    stop_timeout: Duration = instance_option(
        Kind.DURATION,
        "how long a stop waits for requests",
        default=30 * SECOND,
        minimum=0,
        change=Change.IN_PLACE,
    )
    chroot: str | None = instance_option(
        Kind.PATH,
        "root directory of the instances; the socket stays outside",
        default=None,
        lighttpd="-c -S",
    )
    directory: str | None = instance_option(
        Kind.PATH,
        "working directory",
        default=None,
        default_text="the program's own",
        lighttpd="-d",
    )
    umask: int = instance_option(Kind.OCTAL, "file mode creation mask", default=0o022, minimum=0, maximum=0o777)
    rlimits: Mapping[str, int] = instance_option(
        Kind.LIMITS,
        "resource limits, soft and hard, by their names in setrlimit(2); -1 is unlimited",
        factory=dict,
        default_text="inherited",
    )
    oom_score_adjust: int = instance_option(
        Kind.INTEGER,
        "added to the kernel's out-of-memory score",
        default=0,
        minimum=-1000,
        maximum=1000,
    )
    no_new_privs: bool = instance_option(
        Kind.BOOLEAN,
        "instances cannot gain rights by exec (setuid programs)",
        default=False,
    )
    ready_timeout: Duration = instance_option(
        Kind.DURATION,
        "an instance that sleeps in anything for so long counts as ready",
        default=2 * SECOND,
        minimum=1,
        change=Change.IN_PLACE,
    )
    start_timeout: Duration = instance_option(
        Kind.DURATION,
        "an instance not ready by then is a failed start",
        default=30 * SECOND,
        minimum=1,
        change=Change.IN_PLACE,
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


LATER_KEYS = frozenset(
    {
        "min-processes", "max-processes", "concurrency", "auto-update", "watch", "probe", "max-requests",
        "max-lifetime", "max-memory", "policy", "idle-stop", "overload-response", "request-timeout",
        "spare", "standby", "spawn-burst", "spawn-rate", "scale-down-window", "gain-value", "update-interval",
        "kill-interval", "single-threshold", "multi-threshold", "process-slack", "start-delay",
        "max-class-processes", "restart",
    }
)  # fmt: skip
"""Keys that the documentation names and this version does not have yet."""

RESERVED_NAMES = frozenset({"control", "connector", "report", "metrics", "dynamic", "state"})
"""What no application may be called: fcgipm's own sockets and files."""
