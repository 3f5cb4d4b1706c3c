"""Read a lighttpd configuration with all that it includes: variables, sums, conditions."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Final

from fcgipm.importing.files import Files, joined, read_main, reason
from fcgipm.importing.found import Found, Place, Unreadable
from fcgipm.importing.lighttpd_tokens import Sort, Token, tokens
from fcgipm.importing.lighttpd_values import Array, Item, Scope, Unknown, Value, full_name, shown, total

_DEEPEST: Final = 20
_MOST_FILES: Final = 2000
_MOST_NESTED: Final = 100
_LONGEST_CONDITION: Final = 300
_MOST_DIGITS: Final = 18
_ELSE: Final = frozenset({"else", "elif", "elsif", "elseif"})
_COMPARISONS: Final = frozenset({"==", "!=", "=~", "!~", "=^", "=$"})


def read_tree(main: str, files: Files, environ: Mapping[str, str], found: Found) -> list[Scope]:
    """Return the scopes of the configuration *main*, the whole server first; *environ* is for ``env.NAME``.

    Raises `Unreadable` where *main* cannot be read, at what lighttpd would not take, or where it is too much; what
    cannot be followed goes to *found*.
    """
    reader = _Reader(main, files, environ, found)
    reader.file(main, read_main(files, main), 0)
    return reader.scopes


class _Reader:
    def __init__(self, main: str, files: Files, environ: Mapping[str, str], found: Found) -> None:
        self._directory = posixpath.dirname(joined("/", main)) if main.startswith("/") else posixpath.dirname(main)
        self._files = files
        self._environ = environ
        self._found = found
        self._read = 0
        self._known: dict[tuple[int, str], Scope] = {}
        self.scopes = [Scope("", None)]
        self.scope = self.scopes[0]

    def file(self, path: str, text: str, depth: int) -> None:
        self._read += 1
        if depth > _DEEPEST:
            raise Unreadable(Place(path), f"files include each other more than {_DEEPEST} deep")
        if self._read > _MOST_FILES:
            raise Unreadable(Place(path), f"more than {_MOST_FILES} files are included")
        _File(self, path, text, depth).lines(Sort.END, 0)

    def include(self, pattern: str, place: Place, depth: int) -> None:
        path = posixpath.join(self._directory, pattern)
        try:
            names = self._files.expand(path)
        except (OSError, ValueError) as error:
            self._found.lose(place, f"include {pattern}", f"cannot be followed: {reason(error)}")
            return
        if not names and not set("*?[{") & set(pattern):
            self._found.lose(
                place, f"include {pattern}", "no such file" if path == pattern else f"{path}: no such file"
            )
        for name in names:
            try:
                text = self._files.read(name)
            except (OSError, ValueError) as error:
                self._found.lose(place, f"include {name}", f"cannot be read: {reason(error)}")
            else:
                self.file(name, text, depth + 1)

    def lose(self, place: Place, what: str, why: str) -> None:
        self._found.lose(place, what, why)

    def variable(self, name: str) -> Value:
        if name.lower().startswith("env."):
            value = self._environ.get(name[4:])
            return Unknown(f"{name} is not in the environment") if value is None else value
        key = full_name(name)
        found = self.scope.find(key)
        return Unknown(f"{key} is not known here") if found is None else found

    def begin(self, condition: str, *, otherwise: bool) -> Scope:
        """Enter the scope of *condition*: the same one where that was written before, but for what is *otherwise*.

        Returns the scope to come back to.
        """
        key = (id(self.scope), condition)
        inner = self.scopes[0] if not condition else None if otherwise else self._known.get(key)
        if inner is None:
            inner = self._known[key] = Scope(_short(condition), self.scope)
            self.scopes.append(inner)
        outer, self.scope = self.scope, inner
        return outer


class _File:
    """The tokens of one file, and what they mean."""

    def __init__(self, reader: _Reader, path: str, text: str, depth: int) -> None:
        self._reader = reader
        self._depth = depth
        self._tokens = tokens(path, text)
        self._next = next(self._tokens)

    def lines(self, end: Sort, nested: int) -> None:
        """Read up to *end*: of the file, or of a block, whose ``}`` is a sign."""
        while True:
            token = self._take()
            if token.sort is end and (end is Sort.END or token.text == "}"):
                return
            if token.sort is Sort.LINE_END or token.text == ",":
                continue
            if token.sort is Sort.END:
                raise Unreadable(token.place, "a block is not closed in this file")
            self._line(token, nested)

    def _line(self, token: Token, nested: int) -> None:
        if nested > _MOST_NESTED:
            raise Unreadable(token.place, f"blocks are nested more than {_MOST_NESTED} deep")
        if token.sort is Sort.SIGN and token.text == "$":
            self._condition(token, nested)
        elif token.sort is not Sort.NAME:
            raise Unreadable(token.place, f"{token} is not expected here")
        elif token.text == "if" and self._next.text == "$":
            self._condition(self._take(), nested)
        elif token.text == "include":
            pattern = self._expression(0)
            if isinstance(pattern, str):
                self._reader.include(pattern, token.place, self._depth)
            else:
                self._reader.lose(token.place, "include", _said(pattern))
        elif token.text == "include_shell":
            command = self._expression(0)
            what = f"include_shell {command}" if isinstance(command, str) else "include_shell"
            self._reader.lose(token.place, what, "programs are not run; what it prints is missing here")
        elif token.text == "global" and self._next.text == "{":
            self._block("", nested)
        elif token.text in _ELSE:
            raise Unreadable(token.place, f"{token.text} has no condition before it")
        else:
            self._assignment(token)

    def _assignment(self, name: Token) -> None:
        operator = self._take()
        if operator.text not in ("=", ":=", "+=") or operator.sort is not Sort.SIGN:
            raise Unreadable(operator.place, f"{operator} where = should be")
        key = full_name(name.text)
        value = self._expression(0)
        before = self._reader.scope.find(key) if operator.text == "+=" else None
        if before is not None:
            value = total(before, value, name.place)
        self._reader.scope.values[key] = (value, name.place)
        after = self._next
        if after.sort not in (Sort.LINE_END, Sort.END) and after.text != "}":
            raise Unreadable(after.place, f"{after} is not expected here")

    def _condition(self, dollar: Token, nested: int) -> None:
        """Read ``$HTTP["host"] == "x" { … }`` and what is to be done ``else``."""
        first = self._comparison(dollar)
        self._block(first, nested)
        otherwise = f"else of {_short(first)}"
        while self._takes_else():
            if self._next.sort is Sort.NAME and self._next.text == "if":
                self._take()
            more = f"{self._comparison(self._take())}, {otherwise}" if self._is("$") else otherwise
            self._block(more, nested, otherwise=True)

    def _takes_else(self) -> bool:
        """Take the word else, if that comes next, on whatever line."""
        while self._next.sort is Sort.LINE_END:
            self._take()
        found = self._next.sort is Sort.NAME and self._next.text in _ELSE
        if found:
            self._take()
        return found

    def _comparison(self, dollar: Token) -> str:
        name = self._take()
        self._demand("[")
        field_name = self._expression(0)
        self._demand("]")
        operator = self._take()
        if name.sort is not Sort.NAME or operator.text not in _COMPARISONS:
            raise Unreadable(dollar.place, 'a condition such as $HTTP["host"] == "example.org" is expected here')
        value = self._expression(0)
        return f'${name.text}["{shown(field_name)}"] {operator.text} "{shown(value)}"'

    def _block(self, condition: str, nested: int, *, otherwise: bool = False) -> None:
        while self._next.sort is Sort.LINE_END:
            self._take()
        self._demand("{")
        outer = self._reader.begin(condition, otherwise=otherwise)
        self.lines(Sort.SIGN, nested + 1)
        self._reader.scope = outer

    def _expression(self, nested: int) -> Value:
        place = self._next.place
        value = self._value(nested)
        while self._next.sort is Sort.SIGN and self._next.text == "+":
            self._take()
            value = total(value, self._value(nested), place)
        return value

    def _value(self, nested: int) -> Value:
        token = self._take()
        if token.sort is Sort.TEXT:
            return token.text
        if token.sort is Sort.NUMBER:
            if len(token.text) > _MOST_DIGITS:
                raise Unreadable(token.place, f"{token} is too large a number")
            return int(token.text)
        if token.sort is Sort.NAME:
            return self._reader.variable(token.text)
        if token.sort is Sort.SIGN and token.text == "(":
            if nested >= _MOST_NESTED:
                raise Unreadable(token.place, f"parentheses are nested more than {_MOST_NESTED} deep")
            return Array(tuple(self._items(nested + 1)))
        raise Unreadable(token.place, f"{token} where a value should be")

    def _items(self, nested: int) -> Iterator[Item]:
        while not self._is(")"):
            place = self._next.place
            value = self._expression(nested)
            key = None
            if self._is("=>"):
                self._take()
                key = shown(value)
                value = self._expression(nested)
            yield Item(key, value, place)
            if not self._is(")"):
                self._demand(",")
            while self._is(","):
                self._take()
        self._take()

    def _is(self, sign: str) -> bool:
        return self._next.sort is Sort.SIGN and self._next.text == sign

    def _demand(self, sign: str) -> None:
        token = self._take()
        if token.sort is not Sort.SIGN or token.text != sign:
            raise Unreadable(token.place, f"{token} where {sign} should be")

    def _take(self) -> Token:
        token = self._next
        if token.sort is not Sort.END:
            self._next = next(self._tokens)
        return token


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_CONDITION else f"{text[:_LONGEST_CONDITION]}…"


def _said(value: Value) -> str:
    return value.why if isinstance(value, Unknown) else "its name should be a text"
