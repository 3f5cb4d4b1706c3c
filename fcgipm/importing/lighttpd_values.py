"""What a lighttpd configuration gives its names: texts, numbers, lists; whatever is under a condition in a scope."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from fcgipm.importing.found import Place, Unreadable

_LONGEST_TEXT: Final = 1024 * 1024
_MOST_ITEMS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that cannot be known here, and why."""

    why: str


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One element of an array; equal to itself alone, so that one that was inherited is known again."""

    key: str | None
    value: Value
    place: Place


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """What stands in parentheses."""

    items: tuple[Item, ...] = ()


Value: TypeAlias = str | int | Array | Unknown


@dataclass(slots=True)
class Scope:
    """The whole server, or what holds under a condition."""

    condition: str
    """As it is written; empty for the whole server."""
    outer: Scope | None
    values: dict[str, tuple[Value, Place]] = field(default_factory=dict)

    def find(self, key: str) -> Value | None:
        """Return the value that *key*, as `full_name` has it, has here."""
        scope: Scope | None = self
        while scope is not None:
            if key in scope.values:
                return scope.values[key][0]
            scope = scope.outer
        return None

    def conditions(self) -> list[str]:
        """Return all conditions under which this holds, the outermost first."""
        outer = self.outer.conditions() if self.outer is not None else []
        return [*outer, self.condition] if self.condition else outer


def full_name(name: str) -> str:
    """Return *name* as lighttpd keeps it: case does not matter, and one without a dot is a variable's."""
    small = name.lower()
    return small if "." in small else f"var.{small}"


def total(one: Value, other: Value, place: Place) -> Value:
    """Return *one* + *other*, as lighttpd adds; what is unknown makes all unknown."""
    match one, other:
        case Unknown(), _:
            return one
        case _, Unknown():
            return other
        case int(), int():
            return one + other
        case ((str() | int()), (str() | int())):
            text = f"{one}{other}"
            if len(text) > _LONGEST_TEXT:
                raise Unreadable(place, f"a text gets longer than {_LONGEST_TEXT} characters")
            return text
        case Array(), Array():
            if len(one.items) + len(other.items) > _MOST_ITEMS:
                raise Unreadable(place, f"a list gets more than {_MOST_ITEMS} elements")
            return Array(one.items + other.items)
        case _:
            raise Unreadable(place, "a list and a text cannot be added")


def shown(value: Value) -> str:
    """Return *value* as a text of one line, for a key or a condition."""
    match value:
        case str() | int():
            return str(value)
        case Unknown():
            return "?"
        case Array():
            return "(…)"
