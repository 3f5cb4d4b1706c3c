"""Write values, tables and whole configurations as TOML that can be loaded again, or as plain data for JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from fcgipm.config.option import Kind, Option, options
from fcgipm.config.quantities import UNLIMITED, duration_text, octal_text, signal_name, size_text
from fcgipm.config.schema import SECOND, Application, Config, Daemon, Dynamic, External, Probe, Root

Table: TypeAlias = Daemon | Application | Dynamic | External | Root | Probe

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_TO_ESCAPE = re.compile(r'[\x00-\x1f\x7f"\\]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def render_config(config: Config) -> Iterator[str]:
    """Yield the lines of *config* as a file, every key written out."""
    yield "[fcgipm]"
    yield from _lines(config.daemon, ("fcgipm",))
    for name, app in config.applications.items():
        yield from ("", f"[{_dotted('app', name)}]")
        yield from _lines(app, ("app", name))
    if config.dynamic is not None:
        yield from ("", "[dynamic]")
        yield from _lines(config.dynamic, ("dynamic",))
    for name, external in config.externals.items():
        yield from ("", f"[{_dotted('external', name)}]")
        yield from _lines(external, ("external", name))


def render_value(option: Option, value: Any) -> str:
    """Return *value*, a field's, as *option* is written in the file."""
    return value_text(plain_value(option, value, in_seconds=False))


def plain_config(config: Config) -> dict[str, Any]:
    """Return *config* as data for JSON: keys as in the file, durations in seconds."""
    return {
        "fcgipm": _plain(config.daemon),
        "app": {name: _plain(app) for name, app in config.applications.items()},
        "dynamic": None if config.dynamic is None else _plain(config.dynamic),
        "external": {name: _plain(external) for name, external in config.externals.items()},
    }


def plain_value(option: Option, value: Any, *, in_seconds: bool) -> Any:
    """Return *value*, a field's, as the data that the file could hold.

    Durations and sizes are texts, unless *in_seconds* wants numbers of seconds and bytes.
    """
    if value is None:
        return None
    if option.kind is Kind.DURATION and in_seconds:
        return value // SECOND if value % SECOND == 0 else value / SECOND
    if option.kind is Kind.SIZE and in_seconds:
        return value
    return _PLAIN.get(option.kind, lambda item: item)(value)


def _plain(table: Table) -> dict[str, Any]:
    return {
        key: plain_value(option, getattr(table, item.name), in_seconds=True)
        for key, option, item in options(type(table))
    }


def _lines(table: Table, keys: tuple[str, ...]) -> Iterator[str]:
    behind: list[str] = []
    for key, option, item in options(type(table)):
        value = getattr(table, item.name)
        if _is_left_out(table, item.name, value):
            continue
        if option.kind is Kind.ENVIRONMENT:
            if value:
                behind += ["", f"[{_dotted(*keys, key)}]"]
                behind += [f"{key_text(name)} = {value_text(text)}" for name, text in value.items()]
        else:
            yield from _pair(key, option, value)
    yield from behind


def _pair(key: str, option: Option, value: Any) -> Iterator[str]:
    if option.kind is Kind.ROOTS and value:
        yield f"{key} = ["
        yield from (f"    {value_text(root)}," for root in plain_value(option, value, in_seconds=False))
        yield "]"
    else:
        yield f"{key} = {render_value(option, value)}"


def _roots(roots: tuple[Root, ...]) -> list[dict[str, Any]]:
    return [{key: item for key, item in _plain(root).items() if item is not None} for root in roots]


def _is_left_out(table: Table, name: str, value: Any) -> bool:
    """Whether the file cannot say *value*, which then is what it means to say nothing."""
    if value is None or (name == "host" and not value):
        return True
    return name == "address" and isinstance(table, Application) and table.port is None


def _limits(value: Mapping[str, int]) -> dict[str, int | str]:
    return {name: "unlimited" if limit == UNLIMITED else limit for name, limit in value.items()}


_PLAIN: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.DURATION: duration_text,
    Kind.SIZE: size_text,
    Kind.ROOTS: _roots,
    Kind.PROBE: _plain,
    Kind.GLOBS: list,
    Kind.OCTAL: octal_text,
    Kind.SIGNAL: signal_name,
    Kind.LIMITS: _limits,
    Kind.ENVIRONMENT: dict,
    Kind.EXTENSIONS: dict,
    Kind.TEXTS: list,
    Kind.COMMAND: list,
    Kind.IDENTITIES: list,
    Kind.URIS: list,
    Kind.HOSTS: list,
}


def value_text(value: Any) -> str:
    """Return *value*, plain data, as TOML writes it on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{_TO_ESCAPE.sub(_escaped, value)}"'
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key_text(name)} = {value_text(item)}" for name, item in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list):
        return f"[{', '.join(value_text(item) for item in value)}]"
    return str(value)


def _escaped(found: re.Match[str]) -> str:
    return _SHORT.get(found.group(), f"\\u{ord(found.group()):04x}")


def key_text(name: str) -> str:
    """Return the key *name* as TOML writes it: bare if it can be."""
    return name if _BARE_KEY.fullmatch(name) else value_text(name)


def _dotted(*names: str) -> str:
    return ".".join(key_text(name) for name in names)
