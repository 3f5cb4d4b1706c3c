"""The options of FastCgiServer, FastCgiConfig and FastCgiExternalServer, and what they are called in apps.toml."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from fcgipm.importing.found import Table

Put: TypeAlias = Callable[[Table, str, str, str], None]
"""Puts into a table, as a key, a value, which was said so."""

_NUMBER: Final = re.compile(r"\s*([+-]?)0*(\d{1,15})", re.ASCII)
_FRACTION: Final = re.compile(r"[+-]?(?:\d{1,9}(?:\.\d{0,15})?|\.\d{1,15})", re.ASCII)


def _number(table: Table, key: str, value: str, said: str) -> None:
    number = read_number(value)
    if number is None:
        table.lose(said, "is not a number")
    else:
        table.put(key, number, said)


def _bounded(most: int, why: str) -> Put:
    """Put a number, or *most* where it is more, which does the same: *why*."""

    def put(table: Table, key: str, value: str, said: str) -> None:
        number = read_number(value)
        if number is not None and number > most:
            table.note(f"{said}: {most} is written, {why}")
            number = most
        _number(table, key, value if number is None else str(number), said)

    return put


def _seconds(table: Table, key: str, value: str, said: str) -> None:
    number = read_number(value)
    if number is None:
        table.lose(said, "is not a number of seconds")
    else:
        table.put(key, f"{number}s" if number >= 0 else number, said)


def _fraction(table: Table, key: str, value: str, said: str) -> None:
    if not _FRACTION.fullmatch(value):
        table.lose(said, "is not a number")
    else:
        table.put(key, float(value), said)


def _flag(table: Table, key: str, _value: str, said: str) -> None:
    table.put(key, True, said)


def _text(table: Table, key: str, value: str, said: str) -> None:
    table.put(key, value, said)


def _item(table: Table, key: str, value: str, said: str) -> None:
    table.add(key, value, said)


def _variable(table: Table, key: str, value: str, said: str) -> None:
    name, separator, text = value.partition("=")
    if separator:
        table.put(key, {name: text}, said)
    else:
        table.add("pass-env", name, said)


def _host(table: Table, key: str, value: str, said: str) -> None:
    if not _is_taken(table, "socket", said):
        table.put(key, [value], said)


def _port(table: Table, key: str, value: str, said: str) -> None:
    if not _is_taken(table, "socket", said):
        _number(table, key, value, said)


def _socket(table: Table, key: str, value: str, said: str) -> None:
    if not _is_taken(table, "host", said) and not _is_taken(table, "port", said):
        table.put(key, value, said)


def _is_taken(table: Table, other: str, said: str) -> bool:
    if table.get(other) is None:
        return False
    table.lose(said, f"mod_fastcgi does not take it together with -{other}")
    return True


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of one option."""

    key: str
    put: Put
    takes_value: bool = True


_SERVER: Final[dict[str, Rule]] = {
    "appconntimeout": Rule("app-conn-timeout", _seconds),
    "idle-timeout": Rule("idle-timeout", _seconds),
    "flush": Rule("flush", _flag, takes_value=False),
    "pass-header": Rule("pass-header", _item),
}
_INSTANCE: Final[dict[str, Rule]] = _SERVER | {
    "initial-env": Rule("initial-env", _variable),
    "init-start-delay": Rule("init-start-delay", _seconds),
    "listen-queue-depth": Rule("listen-queue-depth", _number),
    "min-server-life": Rule("min-server-life", _seconds),
    "priority": Rule("priority", _bounded(19, "the kernel takes no more")),
    "restart-delay": Rule("restart-delay", _seconds),
    "autoupdate": Rule("auto-update", _flag, takes_value=False),
}
_IDENTITY: Final[dict[str, Rule]] = {"user": Rule("user", _text), "group": Rule("group", _text)}
_LOAD: Final = _bounded(100, "a load is no more than that in fcgipm")

STATIC: Final[Mapping[str, Rule]] = MappingProxyType(
    _INSTANCE
    | _IDENTITY
    | {
        "processes": Rule("processes", _number),
        "port": Rule("port", _port),
        "socket": Rule("socket", _socket),
        "nph": Rule("nph", _flag, takes_value=False),
    }
)
EXTERNAL: Final[Mapping[str, Rule]] = MappingProxyType(
    _SERVER
    | _IDENTITY
    | {
        "host": Rule("host", _host),
        "socket": Rule("socket", _socket),
        "nph": Rule("nph", _flag, takes_value=False),
    }
)
DYNAMIC: Final[Mapping[str, Rule]] = MappingProxyType(
    _INSTANCE
    | {
        "maxprocesses": Rule("max-processes", _number),
        "maxclassprocesses": Rule("max-class-processes", _number),
        "minprocesses": Rule("min-processes", _number),
        "processslack": Rule("process-slack", _number),
        "gainvalue": Rule("gain-value", _fraction),
        "killinterval": Rule("kill-interval", _seconds),
        "updateinterval": Rule("update-interval", _seconds),
        "singlethreshold": Rule("single-threshold", _LOAD),
        "singlethreshhold": Rule("single-threshold", _LOAD),
        "multithreshold": Rule("multi-threshold", _LOAD),
        "multithreshhold": Rule("multi-threshold", _LOAD),
        "startdelay": Rule("start-delay", _seconds),
        "restart": Rule("restart", _flag, takes_value=False),
    }
)


def read_number(text: str) -> int | None:
    """Return the whole number that *text* is; None where it is none."""
    found = _NUMBER.fullmatch(text)
    return None if found is None else int(found[1] + found[2])


def take(words: list[str], rules: Mapping[str, Rule], table: Table, change: Mapping[str, Put] | None = None) -> None:
    """Put the options in *words* into *table*, those in *change* otherwise than *rules* say; lose what is unknown."""
    left = iter(words)
    unknown: list[str] = []
    for word in left:
        rule = _rule(word, rules)
        if rule is None or (unknown and not word.startswith("-")):  # the value of an unknown option
            unknown.append(word)
            continue
        _lose(unknown, table)
        value = next(left, None) if rule.takes_value else ""
        if value is None or (rule.takes_value and not value):
            table.lose(word, "has no value")
            continue
        put = (change or {}).get(rule.key, rule.put)
        put(table, rule.key, value, f"{word} {value}".rstrip())
    _lose(unknown, table)


def _rule(word: str, rules: Mapping[str, Rule]) -> Rule | None:
    return rules.get(word.removeprefix("-").lower())  # IBM's manual has them without the dash


def _lose(unknown: list[str], table: Table) -> None:
    if unknown:
        table.lose(" ".join(unknown), "mod_fastcgi has no such option here")
        unknown.clear()
