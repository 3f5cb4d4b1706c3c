"""The definitions as the manager gets them: everything but the values of the environment, which may be secrets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fcgipm.codec import from_json, to_json
from fcgipm.config.schema import Application, Daemon, Dynamic, External


def to_definition(table: Application | External | Daemon | Dynamic) -> dict[str, Any]:
    """Return *table* as JSON; the names of its environment stay, the values are empty."""
    if isinstance(table, Application | Dynamic):
        table = replace(table, initial_env=dict.fromkeys(table.initial_env, ""))
    definition: dict[str, Any] = to_json(table)
    return definition


def application(definition: Any) -> Application:
    """Return the application that *definition*, which came from JSON, describes; raise `CodecError`."""
    return from_json(Application, definition)


def external(definition: Any) -> External:
    """Return the external application that *definition*, which came from JSON, describes; raise `CodecError`."""
    return from_json(External, definition)


def daemon(definition: Any) -> Daemon:
    """Return the daemon's table that *definition*, which came from JSON, describes; raise `CodecError`."""
    return from_json(Daemon, definition)


def dynamic(definition: Any) -> Dynamic:
    """Return the table [dynamic] that *definition*, which came from JSON, describes; raise `CodecError`."""
    return from_json(Dynamic, definition)
