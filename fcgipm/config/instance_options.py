"""Every option that describes instances, of declared and dynamic applications; a part of `fcgipm.config.schema`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fcgipm.config.option import SECOND, Change, Duration, Kind, instance_option
from fcgipm.config.server_options import ServerOptions


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
    auto_update: bool = instance_option(
        Kind.BOOLEAN,
        "a reload as soon as its files have changed and rest for 500 ms: the program, files among its arguments that "
        "are written with their whole path, and what watch names",
        default=False,
        change=Change.IN_PLACE,
        fcgi="-autoUpdate",
    )
    watch: tuple[str, ...] = instance_option(
        Kind.GLOBS,
        "more files for auto-update; ** stands for any number of directories; on file systems that answer: while a "
        "look hangs, as at a dead NFS server, nothing is started or reaped",
        default=(),
        change=Change.IN_PLACE,
    )
    concurrency: int | None = instance_option(
        Kind.INTEGER,
        "requests that one instance serves at once",
        default=None,
        default_text="1; for php-cgi what PHP_FCGI_CHILDREN in its environment says",
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
    idle_stop: Duration | None = instance_option(
        Kind.DURATION,
        "after so long without a connection all instances go; needs min-processes = 0",
        default=None,
        default_text="none",
        minimum=1 * SECOND,
        change=Change.IN_PLACE,
        lighttpd="idle-timeout of its spawner",
    )
    overload_response: str = instance_option(
        Kind.ENUM,
        "503: what waiting visitors get when none is ready and none may start, or the queue is full (down to half)",
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
