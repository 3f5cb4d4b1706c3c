"""Every option of the table [fcgipm]; a part of `fcgipm.config.schema`."""

from __future__ import annotations

from dataclasses import dataclass

from fcgipm.config.option import Change, Kind, daemon_option


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
