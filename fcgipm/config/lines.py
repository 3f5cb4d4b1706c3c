"""Say on which line of a TOML text each key is written.

The TOML parser tells values but not places, and an error message without a line is half a message.  This scanner
reads a text that the parser has already accepted, so it need not find mistakes, only keys.
"""

from __future__ import annotations

import re
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys from the top of the file downwards, literally as TOML reads them; a number is an index in an array."""

_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]*")
_LITERAL = re.compile(r"'([^'\n]*)'")
_BASIC = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
# A multi-line string may end in up to five quotes, of which two belong to the text.
_LONG_LITERAL = re.compile(r"'''.*?'''('{0,2})", re.DOTALL)
_LONG_BASIC = re.compile(r'"""(?:[^\\]|\\.)*?"""("{0,2})', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_SHORT_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}


def line_numbers(text: str) -> dict[KeyPath, int]:
    """Return the line (from 1) of the first mention of every key and table in *text*, which must be valid TOML."""
    scanner = _Scanner(text)
    scanner.scan()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.arrays: dict[KeyPath, int] = {}
        self._counted_to = 0
        self._line = 1

    def scan(self) -> None:
        table: KeyPath = ()
        while True:
            self._skip(_SPACE)
            if self.at >= len(self.text):
                return
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> KeyPath:
        line = self._here()
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        keys = self._dotted_key()
        self.at += 2 if is_array else 1
        path: KeyPath = ()
        for key in keys[:-1]:
            self.lines.setdefault((*path, key), line)
            path = self._into((*path, key))
        path = (*path, keys[-1])
        self.lines.setdefault(path, line)
        if is_array:
            self.arrays[path] = self.arrays.get(path, -1) + 1
            path = self._into(path)
        self.lines.setdefault(path, line)
        return path

    def _into(self, path: KeyPath) -> KeyPath:
        """Return *path*, or the path of its last element where it is an array of tables."""
        return (*path, self.arrays[path]) if path in self.arrays else path

    def _pair(self, table: KeyPath) -> None:
        line = self._here()
        path = table
        for key in self._dotted_key():
            path = (*path, key)
            self.lines.setdefault(path, line)
        self.at += 1  # the "="
        self._skip(_BLANK)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        start = self.text[self.at]
        if start in "\"'":
            self._string()
        elif start == "[":
            self._array(path)
        elif start == "{":
            self._inline_table(path)
        else:
            self._skip(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        while not self._closed("]"):
            self.lines.setdefault((*path, index), self._here())
            self._value((*path, index))
            index += 1

    def _inline_table(self, path: KeyPath) -> None:
        self.at += 1
        while not self._closed("}"):
            self._pair(path)

    def _closed(self, end: str) -> bool:
        """Skip to the next element, or behind *end*."""
        self._skip(_SPACE)
        if self.text[self.at] == ",":
            self.at += 1
            self._skip(_SPACE)
        if self.text[self.at] != end:
            return False
        self.at += 1
        return True

    def _string(self) -> None:
        for quote, long, short in (('"', _LONG_BASIC, _BASIC), ("'", _LONG_LITERAL, _LITERAL)):
            if self.text[self.at] == quote:
                self._skip(long if self.text.startswith(quote * 3, self.at) else short)
                return

    def _dotted_key(self) -> list[str]:
        keys = []
        while True:
            self._skip(_BLANK)
            keys.append(self._key())
            self._skip(_BLANK)
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def _key(self) -> str:
        start = self.text[self.at]
        if start == '"':
            return _ESCAPE.sub(_unescaped, self._skip(_BASIC)[1:-1])
        if start == "'":
            return self._skip(_LITERAL)[1:-1]
        return self._skip(_BARE_KEY)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            message = f"line {self._here()} is not TOML"
            raise ValueError(message)
        self.at = found.end()
        return found.group()

    def _here(self) -> int:
        self._line += self.text.count("\n", self._counted_to, self.at)
        self._counted_to = self.at
        return self._line


def _unescaped(found: re.Match[str]) -> str:
    short, long, byte, letter = found.groups()
    if letter is not None:
        return _SHORT_ESCAPES.get(letter, letter)
    return chr(int(short or long or byte, 16))
