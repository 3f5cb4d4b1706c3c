"""The words of a lighttpd configuration."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fcgipm.importing.found import Place, Unreadable


class Sort(enum.Enum):
    """What a token is."""

    LINE_END = enum.auto()
    TEXT = enum.auto()
    NUMBER = enum.auto()
    NAME = enum.auto()
    SIGN = enum.auto()
    END = enum.auto()


@dataclass(frozen=True, slots=True)
class Token:
    """One word: of a text what is between its quotes."""

    sort: Sort
    text: str
    place: Place

    def __str__(self) -> str:
        if self.sort is Sort.LINE_END:
            return "the end of the line"
        if self.sort is Sort.END:
            return "the end of the file"
        return f'"{self.text[:40]}"' if self.sort is Sort.TEXT else repr(self.text[:40])


_TOKEN: Final = re.compile(
    r"""
      (?P<blank>[ \t\u00a0]+|\#[^\r\n]*)
    | (?P<line>\r\n|\r|\n)
    | "(?P<text>(?:\\"|[^"\\]|\\(?!"))*)"
    | (?P<number>[0-9]+)
    | (?P<name>[A-Za-z0-9._-]+)
    | (?P<sign>=>|==|=~|=\^|=\$|!=|!~|\+=|:=|[=+$(){}\[\],])
    """,
    re.VERBOSE,
)


def tokens(file: str, text: str) -> Iterator[Token]:
    """Yield the tokens of *text*, the content of *file*, and one for its end; raise `Unreadable` at what is none."""
    position, line, depth = 0, 1, 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        place = Place(file, line)
        if found is None:
            raise Unreadable(place, _why(text, position))
        position = found.end()
        match found.lastgroup:
            case "line":
                line += 1
                if depth == 0:  # within parentheses lines do not matter
                    yield Token(Sort.LINE_END, "", place)
            case "text":
                line += _lines(found["text"])
                yield Token(Sort.TEXT, found["text"].replace('\\"', '"'), place)
            case "number":
                yield Token(Sort.NUMBER, found["number"], place)
            case "name":
                yield Token(Sort.NAME, found["name"], place)
            case "sign":
                depth = max(0, depth + {"(": 1, ")": -1}.get(found["sign"], 0))
                yield Token(Sort.SIGN, found["sign"], place)
            case _:
                pass  # blanks and comments
    yield Token(Sort.END, "", Place(file, line))


def _lines(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def _why(text: str, position: int) -> str:
    if text[position] == '"':
        return "a text begins here and does not end"
    return f"{text[position]!r} is not expected here"
