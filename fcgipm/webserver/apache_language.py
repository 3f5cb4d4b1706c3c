"""How Apache's configuration is written: words, regular expressions, sections."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from fcgipm.webserver.target import SnippetError

_INDENT: Final = "    "


def block(head: str, body: Iterable[str]) -> Iterator[str]:
    """Yield a section, from ``<Head …>`` to ``</Head>``."""
    yield head
    for line in body:
        yield f"{_INDENT}{line}"
    yield f"</{head[1:].split(maxsplit=1)[0]}>"


def regex(text: str) -> str:
    """Return the regular expression that matches *text* alone."""
    return re.sub(r"[^\w/-]", lambda match: "\\" + match[0], text)


def literal(text: str) -> str:
    """Return *text* for a string of Apache's expressions and substitutions."""
    return re.sub(r"[\\$%]", lambda match: "\\" + match[0], text)


def quote(text: str) -> str:
    """Return *text* as one word of Apache's language, in which a backslash stands for itself but before these two."""
    if "${" in text:
        raise SnippetError(f"Apache would replace a variable here: {text}")
    if any(ord(character) < 32 for character in text):
        raise SnippetError(f"a control character cannot be written for Apache: {text!r}")
    escaped = re.sub(r'\\(?=[\\"]|$)|"', lambda match: "\\" + match[0], text)
    return f'"{escaped}"'


def host(name: str) -> str:
    """Return how *name* is written among hosts: Apache ignores case there, names of applications do not."""
    return "fcgipm-" + re.sub("[A-Z_]", lambda match: "_" + match[0].lower(), name)
