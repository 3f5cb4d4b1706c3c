"""Frozen dataclasses to JSON and back, with every value checked against its declared type.

Both ends of the wire and the control socket use it, so that what arrives is either exactly the type that was
declared or a `CodecError` that names the field.  Supported: int, str, bool, float, None, Literal, Enum (by value),
unions, tuple[T, ...], Mapping[str, T], nested dataclasses, NewType.  A bool is not an int here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class CodecError(ValueError):
    """A value does not have the declared type; the text names the field."""


def to_json(value: Any) -> Any:
    """Return *value* as what `json.dumps` takes."""
    writer = _writer(type(value))  # type: ignore[arg-type]  # as below
    return value if writer is None else writer(value)


@functools.cache
def _writer(kind: type) -> Callable[[Any], Any] | None:
    """Return what makes JSON of a *kind*; None: it is JSON itself."""
    if issubclass(kind, enum.Enum):
        return lambda value: value.value
    if issubclass(kind, (bool, int, float, str, types.NoneType)):
        return None
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
        return lambda value: {name: to_json(getattr(value, name)) for name in names}
    if issubclass(kind, Mapping):
        return lambda value: {str(key): to_json(item) for key, item in value.items()}
    if issubclass(kind, (tuple, list)):
        return lambda value: [to_json(item) for item in value]
    message = f"cannot encode {kind.__name__}"
    raise TypeError(message)


def to_terse_json(value: Any) -> dict[str, Any]:
    """Return a dataclass as `to_json` does, without what has its default value: `from_json` takes that by itself."""
    plain = _plain(type(value))  # type: ignore[arg-type]  # as below
    return {name: item for name, item in to_json(value).items() if name not in plain or item != plain[name]}


@functools.cache
def _plain(kind: Any) -> Mapping[str, Any]:
    """Return the fields of *kind* that have a default value, with that."""
    found = {}
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            found[field.name] = to_json(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = to_json(field.default_factory())
    return found


def from_json(kind: type[T], value: Any, where: str = "") -> T:
    """Return *value*, which came from JSON, as a *kind*; raise `CodecError` where it is not one."""
    reader: _Reader = _reader(kind)  # type: ignore[arg-type]  # a type is hashable; typeshed says type[T] may not be
    return typing.cast("T", reader(value, where or kind.__name__))


_Reader = Callable[[Any, str], Any]


def _wrong(where: str, wanted: str, value: Any) -> CodecError:
    return CodecError(f"{where}: {wanted} expected, got {type(value).__name__}")


@functools.cache
def _reader(kind: Any) -> _Reader:
    kind = _unwrapped(kind)
    if kind is None or kind is type(None):
        return _read_none
    if kind in (int, float, str, bool):
        return _scalar(kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _enumeration(kind)
    if dataclasses.is_dataclass(kind):
        return _record(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _union(arguments)
    if origin is tuple:
        return _sequence(arguments[0])
    if origin is typing.Literal:
        return _literal(arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(arguments[1])
    if kind is Any:
        return lambda value, _where: value
    message = f"cannot decode into {kind!r}"
    raise TypeError(message)


def _unwrapped(kind: Any) -> Any:
    """Return the type behind a NewType."""
    while hasattr(kind, "__supertype__"):
        kind = kind.__supertype__
    return kind


def _read_none(value: Any, where: str) -> None:
    if value is not None:
        raise _wrong(where, "null", value)


def _scalar(kind: type) -> _Reader:
    def read(value: Any, where: str) -> Any:
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            raise _wrong(where, kind.__name__, value)
        return sys.intern(value) if isinstance(value, str) else value  # names come often: one object for each

    return read


def _enumeration(kind: type[enum.Enum]) -> _Reader:
    def read(value: Any, where: str) -> enum.Enum:
        try:
            return kind(value)
        except ValueError:
            raise _wrong(where, f"one of {', '.join(str(item.value) for item in kind)}", value) from None

    return read


def _literal(allowed: tuple[Any, ...]) -> _Reader:
    def read(value: Any, where: str) -> Any:
        if value not in allowed:
            raise _wrong(where, f"one of {allowed}", value)
        return value

    return read


def _union(kinds: tuple[Any, ...]) -> _Reader:
    readers = [_reader(kind) for kind in kinds]

    def read(value: Any, where: str) -> Any:
        *others, final = readers
        for reader in others:
            with contextlib.suppress(CodecError):
                return reader(value, where)
        return final(value, where)

    return read


def _sequence(kind: Any) -> _Reader:
    reader = _reader(kind)

    def read(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _wrong(where, "list", value)
        return tuple(reader(item, f"{where}[{index}]") for index, item in enumerate(value))

    return read


def _mapping(kind: Any) -> _Reader:
    reader = _reader(kind)

    def read(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _wrong(where, "object", value)
        return {key: reader(item, f"{where}.{key}") for key, item in value.items()}

    return read


def _record(kind: Any) -> _Reader:
    hints = typing.get_type_hints(kind)
    known = {field.name: _reader(hints[field.name]) for field in dataclasses.fields(kind)}
    required = {
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong(where, "object", value)
        if unknown := value.keys() - known.keys():
            raise CodecError(f"{where}: unknown field {min(unknown)!r}")
        if missing := required - value.keys():
            raise CodecError(f"{where}: field {min(missing)!r} is missing")
        return kind(**{name: known[name](item, f"{where}.{name}") for name, item in value.items()})

    return read
