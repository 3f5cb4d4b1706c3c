"""How nginx's configuration is written: words, regular expressions, times, blocks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from fcgipm.webserver.target import SnippetError

INDENT: Final = "    "


def block(head: str, body: Iterable[str], *remarks: str) -> Iterator[str]:
    """Yield a block with an empty line and the comments *remarks* before it."""
    yield ""
    yield from (f"# {remark}" for remark in remarks)
    yield f"{head} {{"
    for line in body:
        yield f"{INDENT}{line}" if line else ""
    yield "}"


def ends_with(extension: str) -> str:
    """Return the regular expression for a path to a file with *extension*, whatever follows it."""
    return f"{regex(extension)}(/|$)"


def regex(text: str) -> str:
    """Return the regular expression that matches *text* alone."""
    return re.sub(r"[^A-Za-z0-9/_-]", lambda match: "\\" + match[0], text)


def time(duration: int) -> str:
    """Return *duration* (nanoseconds) as nginx writes times; it counts milliseconds."""
    milliseconds = -(-duration // 1_000_000)
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def quote(text: str, then: str = "", *, variables: bool = True) -> str:
    """Return *text* as one word of nginx's language; *variables*: whether a dollar sign would begin one there.

    *then* is what follows in the same word as it stands, with variables.
    """
    if variables and "$" in text:
        raise SnippetError(f"nginx has no way to write a dollar sign here: {text}")
    if any(ord(character) < 32 for character in text):
        raise SnippetError(f"a control character cannot be written for nginx: {text!r}")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}{then}"'
