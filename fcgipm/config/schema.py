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
    root_option,
    server_option,
)

__all__ = [
    "LATER_KEYS", "MILLISECOND", "RESERVED_NAMES", "SECOND", "Application", "Change", "Config", "Daemon", "Duration",
    "Dynamic", "External", "InstanceOptions", "Root", "ServerOptions",
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
        "group of the applications' sockets, of connector.sock and of report.sock",
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
class InstanceOptions(ServerOptions):
    """What describes an instance: of [app.NAME] and, for all applications that nobody declared, of [dynamic]."""

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
    concurrency: int | None = instance_option(
        Kind.INTEGER,
        "requests that one instance serves at once; for php-cgi what PHP_FCGI_CHILDREN says",
        default=None,
        default_text="1",
        minimum=1,
        maximum=100_000,
        change=Change.IN_PLACE,
        lighttpd="max-load-per-proc",
    )
    max_requests: int | None = instance_option(
        Kind.INTEGER,
        "an instance is replaced after about so many requests, an estimate from reports or from the connections seen; "
        "exact counts are PHP_FCGI_MAX_REQUESTS' job",
        default=None,
        default_text="none",
        minimum=1,
        maximum=2**53,
        change=Change.IN_PLACE,
    )
    max_lifetime: Duration | None = instance_option(
        Kind.DURATION,
        "an instance is replaced at about this age",
        default=None,
        default_text="none",
        minimum=1 * SECOND,
        change=Change.IN_PLACE,
    )
    max_memory: int | None = instance_option(
        Kind.SIZE,
        "an instance is replaced when the resident memory of its session is larger; looked at every 30 s while busy",
        default=None,
        default_text="none",
        minimum=1,
        change=Change.IN_PLACE,
    )
    overload_response: str = instance_option(
        Kind.ENUM,
        "503: what waiting visitors get when no instance is ready and none may start, or the queue is full",
        default="none",
        choices=("none", "503"),
        change=Change.IN_PLACE,
    )
    policy: str = instance_option(
        Kind.ENUM,
        "how the number of instances follows demand",
        default="classic",
        choices=("classic",),
        later=("adaptive",),
        change=Change.IN_PLACE,
    )
    gain_value: float = instance_option(
        Kind.FRACTION,
        "how much the last window counts in the smoothed connection time, against all before it",
        default=0.5,
        minimum=0,
        maximum=1,
        change=Change.IN_PLACE,
        fcgi="-gainValue",
    )
    update_interval: Duration = instance_option(
        Kind.DURATION,
        "length of the windows over which connection time is smoothed",
        default=300 * SECOND,
        minimum=1 * SECOND,
        change=Change.IN_PLACE,
        fcgi="-updateInterval",
    )
    kill_interval: Duration = instance_option(
        Kind.DURATION,
        "time between two looks for instances that can go",
        default=300 * SECOND,
        minimum=1 * SECOND,
        change=Change.IN_PLACE,
        fcgi="-killInterval",
    )
    single_threshold: int = instance_option(
        Kind.INTEGER,
        "the last instance goes when its load, in percent, is below this; 0 keeps it for ever",
        default=0,
        minimum=0,
        maximum=100,
        change=Change.IN_PLACE,
        fcgi="-singleThreshold",
    )
    multi_threshold: int = instance_option(
        Kind.INTEGER,
        "one of several instances goes when the load that would be left for the others, in percent, is below this",
        default=50,
        minimum=0,
        maximum=100,
        change=Change.IN_PLACE,
        fcgi="-multiThreshold",
    )
    start_delay: Duration = instance_option(
        Kind.DURATION,
        "a visitor who has waited this long gets another instance started",
        default=3 * SECOND,
        minimum=1,
        change=Change.IN_PLACE,
        fcgi="-startDelay",
    )


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
    idle_stop: Duration | None = instance_option(
        Kind.DURATION,
        "after so long without a connection the last instance goes; needs min-processes = 0",
        default=None,
        default_text="none",
        minimum=1 * SECOND,
        change=Change.IN_PLACE,
        lighttpd="idle-timeout of its spawner",
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
        "auto-update", "watch", "probe", "request-timeout", "spare", "standby", "spawn-burst", "spawn-rate",
        "scale-down-window",
    }
)  # fmt: skip
"""Keys that the documentation names and this version does not have yet."""

RESERVED_NAMES = frozenset({"control", "connector", "report", "metrics", "dynamic", "state"})
"""What no application may be called: fcgipm's own sockets and files."""
