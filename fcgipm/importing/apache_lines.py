"""Lines and words of an Apache configuration, as Apache's own reader takes them apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

LONGEST_VALUES: Final = 1024 * 1024
"""Of all variables of one line together."""

_SPACE: Final = " \t\n\v\f\r"
_VARIABLE: Final = re.compile(r"\$\{([^}]*)\}")
_WORD: Final = re.compile(
    r"""
    "((?:\\["\\]|[^"])*)"?      # in quotes, which may be open at the end of the line
    | '((?:\\['\\]|[^'])*)'?
    | ([^ \t\n\v\f\r]+)
    """,
    re.VERBOSE,
)
_ESCAPED: Final = {'"': re.compile(r'\\(["\\])'), "'": re.compile(r"\\(['\\])"), "": re.compile(r"\\(\\)")}


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number, line) of all that is neither empty nor a comment.

    A backslash at the end of a line, also of a comment, joins it with the next one; the number is that of the first.
    """
    first, parts = 0, list[str]()
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.removesuffix("\r")
        first = first if parts else number
        if line.endswith("\\"):
            parts.append(line[:-1])
            continue
        whole = "".join([*parts, line]).strip(_SPACE)
        parts.clear()
        if whole and not whole.startswith("#"):
            yield first, whole
    whole = "".join(parts).strip(_SPACE)
    if whole and not whole.startswith("#"):
        yield first, whole


def first_word(line: str) -> tuple[str, str]:
    """Return the first word of *line*, without quotes, and what is behind it."""
    found = _WORD.match(line)
    if found is None:
        return "", ""
    return _plain(found), line[found.end() :].lstrip(_SPACE)


def words(line: str) -> list[str]:
    """Return the words of *line*, without their quotes."""
    result = []
    position = 0
    while (found := _WORD.match(line, position)) is not None:
        result.append(_plain(found))
        position = found.end()
        while position < len(line) and line[position] in _SPACE:
            position += 1
    return result


def resolved(line: str, variables: Mapping[str, str], missing: Callable[[str], None]) -> str:
    """Return *line* with ``${NAME}`` and ``${NAME?=default}`` replaced; names without a value go to *missing*.

    Raises `ValueError` where that gets too long.
    """
    length = 0

    def value(found: re.Match[str]) -> str:
        nonlocal length
        name, separator, default = found[1].partition("?=")
        if name in variables:
            length += len(variables[name])
            if length > LONGEST_VALUES:
                raise ValueError(f"with its variables the line gets longer than {LONGEST_VALUES} characters")
            return variables[name]
        if separator:
            return default
        if ":" not in name:  # else it belongs to mod_rewrite
            missing(name)
        return found[0]

    return _VARIABLE.sub(value, line)


def _plain(found: re.Match[str]) -> str:
    for group, quote in ((1, '"'), (2, "'")):
        if found[group] is not None:
            return _ESCAPED[quote].sub(r"\1", found[group])
    return _ESCAPED[""].sub(r"\1", found[3])
