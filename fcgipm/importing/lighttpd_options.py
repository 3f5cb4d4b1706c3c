"""The options of one host of fastcgi.server, and what they are called in apps.toml."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias

from fcgipm.config.addresses import is_address
from fcgipm.config.quantities import signal_name
from fcgipm.importing.apache_options import read_number
from fcgipm.importing.found import Place, Table
from fcgipm.importing.lighttpd_values import Array, Unknown, Value

_ON: Final = frozenset({"enable", "true", "1"})
_OFF: Final = frozenset({"disable", "false", "0"})

_DEFAULT_PORT: Final = 80
_DEFAULT_BACKLOG: Final = 1024
_DEFAULT_PROCESSES: Final = 4
_DEFAULT_IDLE: Final = 60
FOR_EVER: Final = "24h"
"""As near as a time gets to it."""


@dataclass(slots=True)
class Host:
    """One backend, as it is written."""

    label: str
    place: Place
    options: dict[str, Value] = field(default_factory=dict)

    def text(self, key: str) -> str:
        """Return the text that is the value of *key*; empty where there is none."""
        value = self.options.get(key)
        return str(value) if isinstance(value, (str, int)) else ""

    def number(self, key: str, default: int, table: Table) -> int:
        """Return the number that is the value of *key*, *default* where there is none; *table* hears why."""
        value = self.options.get(key)
        if value is None:
            return default
        number = _number(value)
        if number is None:
            table.lose(_said(key, value), _why_not(value, "is not a number"))
            return default
        return number


_Put: TypeAlias = Callable[[Table, str, str, Value], None]
"""Puts into a table, as a key, lighttpd's option with its value."""


def _seconds(table: Table, key: str, option: str, value: Value) -> None:
    number = _number(value)
    if number is None:
        table.lose(_said(option, value), _why_not(value, "is not a number of seconds"))
    else:
        table.put(key, f"{number}s" if number >= 0 else number, _said(option, value))


def _whole(table: Table, key: str, option: str, value: Value) -> None:
    number = _number(value)
    if number is None:
        table.lose(_said(option, value), _why_not(value, "is not a number"))
    else:
        table.put(key, number, _said(option, value))


def _switch(table: Table, key: str, option: str, value: Value) -> None:
    word = str(value).lower() if isinstance(value, (str, int)) else ""
    if word in _ON | _OFF:
        table.put(key, word in _ON, _said(option, value))
    else:
        table.lose(_said(option, value), _why_not(value, 'is neither "enable" nor "disable"'))


def _path(table: Table, key: str, option: str, value: Value) -> None:
    if not isinstance(value, str):
        table.lose(_said(option, value), _why_not(value, "is not a text"))
    elif value:
        table.put(key, value, _said(option, value))


def _role(table: Table, key: str, option: str, value: Value) -> None:
    if value in ("responder", "authorizer"):
        table.put(key, value)
    elif value != "":
        table.lose(_said(option, value), _why_not(value, "lighttpd takes it for a responder"))


def _signal(table: Table, key: str, option: str, value: Value) -> None:
    number = _number(value)
    if number is None:
        table.lose(_said(option, value), _why_not(value, "is not the number of a signal"))
    else:
        table.put(key, signal_name(number) if 1 <= number <= 64 else number, _said(option, value))


def _lost(why: str) -> _Put:
    def lose(table: Table, _key: str, option: str, value: Value) -> None:
        table.lose(_said(option, value), _why_not(value, why))

    return lose


_SERVER: Final[Mapping[str, tuple[str, _Put]]] = MappingProxyType(
    {
        "check-local": ("check-local", _switch),
        "mode": ("role", _role),
        "docroot": ("docroot", _path),
        "broken-scriptfilename": ("broken-scriptfilename", _switch),
        "allow-x-send-file": ("allow-x-send-file", _switch),
        "x-sendfile": ("allow-x-send-file", _switch),
        "disable-time": ("disable-time", _seconds),
        "connect-timeout": ("app-conn-timeout", _seconds),
        "strip-request-uri": ("", _lost("no snippet takes anything off a URI; a rewrite in the web server does")),
        "fix-root-scriptname": ("", _lost('the application of "/" gets the whole path as SCRIPT_NAME, or rewrite it')),
        "x-sendfile-docroot": ("", _lost("allow-x-send-file = true allows every file; lighttpd.conf must bound it")),
        "tcp-fin-propagate": ("", _lost("an application does not learn that the visitor has gone")),
        "upgrade": ("", _lost("the snippet asks for no other protocol; write it into lighttpd.conf")),
        "write-timeout": ("", _lost("idle-timeout is for reading and for writing")),
    }
)
"""Options of every host; those of its address, and of what lighttpd starts, are below."""

_OF_PROGRAMS: Final = frozenset(
    {
        "min-procs", "max-procs", "max-load-per-proc", "idle-timeout", "bin-environment", "bin-copy-environment",
        "kill-signal", "listen-backlog",
    }
)  # fmt: skip
_READ_APART: Final = frozenset({"host", "port", "socket", "bin-path", "read-timeout"})
KNOWN: Final = frozenset(_SERVER) | _OF_PROGRAMS | _READ_APART
"""Every option that lighttpd knows."""


def describe(host: Host, table: Table) -> None:
    """Put into *table* what the web server does with *host*."""
    for option, value in host.options.items():
        if option in _SERVER:
            key, put = _SERVER[option]
            put(table, key, option, value)
        elif option not in KNOWN:
            table.lose(_said(option, value), "lighttpd has no such option")
    if table.get("check-local") is None:
        table.put("check-local", True)
    seconds = host.number("read-timeout", 0, table)
    table.put("idle-timeout", f"{seconds}s" if seconds > 0 else FOR_EVER, f'"read-timeout" => {seconds}')


def describe_program(host: Host, table: Table, *, may_adapt: bool) -> None:
    """Put into *table* how lighttpd starts the program of *host*."""
    _count(host, table, may_adapt=may_adapt)
    if "max-load-per-proc" in host.options:
        _whole(table, "concurrency", "max-load-per-proc", host.options["max-load-per-proc"])
    table.put("listen-queue-depth", host.number("listen-backlog", _DEFAULT_BACKLOG, table), "listen-backlog")
    if "kill-signal" in host.options:
        _signal(table, "stop-signal", "kill-signal", host.options["kill-signal"])
    _environment(host, table)


def lose_program(host: Host, table: Table) -> None:
    """Say of what *host* has for a program that there is none."""
    for option in _OF_PROGRAMS & host.options.keys():
        table.lose(_said(option, host.options[option]), "lighttpd starts nothing here, for there is no bin-path")


def lose_unreadable(host: Host, table: Table) -> None:
    """Say of the address of *host* what is no text."""
    for option in ("host", "port", "socket"):
        value = host.options.get(option)
        if isinstance(value, (Array, Unknown)):
            table.lose(_said(option, value), _why_not(value, "is not a text"))


def address(host: Host) -> str:
    """Return ``name:port`` of *host*."""
    name, port = host.text("host") or "127.0.0.1", host.text("port") or str(_DEFAULT_PORT)
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def listen(host: Host, table: Table) -> None:
    """Put into *table* the TCP port that the program of *host* listens on."""
    if host.text("port"):
        _whole(table, "port", "port", host.options["port"])
    name = host.text("host")
    if table.get("port") is None or not name:
        return
    if name == "localhost":
        name = "127.0.0.1"
    if is_address(name):
        table.put("address", name, f'"host" => "{name}"')
    else:
        table.lose(f'"host" => "{name}"', "only an address can be listened on; without one it is 127.0.0.1")


def _count(host: Host, table: Table, *, may_adapt: bool) -> None:
    most = host.number("max-procs", _DEFAULT_PROCESSES, table)
    least = min(host.number("min-procs", _DEFAULT_PROCESSES, table), most)
    if least != most and not may_adapt:
        table.note("with server.max-worker lighttpd always has max-procs")
        least = most
    idle = host.number("idle-timeout", _DEFAULT_IDLE, table)
    if least == most:
        table.put("processes", most, "max-procs")
        return
    table.put("min-processes", least, "min-procs")
    table.put("max-processes", most, "max-procs")
    if least == 0:
        table.put("idle-stop", f"{idle}s" if idle >= 0 else idle, '"idle-timeout"')
    elif "idle-timeout" in host.options:
        why = "kill-interval and multi-threshold say when one of several instances goes"
        table.lose(f'"idle-timeout" => {idle}', why)


def _environment(host: Host, table: Table) -> None:
    copied = host.options.get("bin-copy-environment")
    if isinstance(copied, Array) and copied.items:
        for item in copied.items:
            if isinstance(item.value, (str, int)):
                table.add("pass-env", str(item.value), f'"bin-copy-environment" {item.value}')
            else:
                table.lose("bin-copy-environment", _why_not(item.value, "has something that is no name"))
    else:
        if copied is not None and not isinstance(copied, Array):
            table.lose("bin-copy-environment", _why_not(copied, "is not a list"))
        table.note(
            "without bin-copy-environment lighttpd gives its whole environment; fcgipm gives nothing that is not "
            'written. pass-env = ["PATH"] copies what is needed'
        )
    given = host.options.get("bin-environment")
    if isinstance(given, Array):
        for item in given.items:
            if item.key is None or not isinstance(item.value, (str, int)):
                table.lose("bin-environment", _why_not(item.value, 'has something that is not "NAME" => "value"'))
            else:
                table.put("initial-env", {item.key: str(item.value)}, f'"bin-environment" {item.key}')
    elif given is not None:
        table.lose("bin-environment", _why_not(given, "is not a list"))
    if "PHP_FCGI_CHILDREN" not in table.environment and "PHP_FCGI_CHILDREN" not in (table.get("pass-env") or ()):
        table.put("initial-env", {"PHP_FCGI_CHILDREN": "1"})


def _number(value: Value) -> int | None:
    if isinstance(value, int):
        return value
    return read_number(value) if isinstance(value, str) else None


def _said(option: str, value: Value) -> str:
    match value:
        case str():
            return f'"{option}" => "{value}"'
        case int():
            return f'"{option}" => {value}'
        case _:
            return f'"{option}"'


def _why_not(value: Value, otherwise: str) -> str:
    return value.why if isinstance(value, Unknown) else otherwise
