"""What nginx needs for the scripts below the roots of [dynamic]: each has a socket whose name follows from its path.

The socket's name is made from the path as nginx has decoded it, letter by letter: what has others than those that
fcgipm allows in a name is nobody's, and 404.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from fcgipm.webserver.nginx_demand import MISSING, NAME, in_location, variable
from fcgipm.webserver.nginx_language import block, quote, regex
from fcgipm.webserver.target import Scripts

DEEPEST: Final = 5
"""How many directories below the root nginx looks for a script."""
_COMPONENT: Final = r"/(?!\.\.?(?:/|\z))[A-Za-z0-9._-]+"
_DOCUMENT_ROOT: Final = "$fcgipm_document_root"


def maps(found: Sequence[Scripts]) -> Iterator[str]:
    """Yield the maps of the http context."""
    if not found:
        return
    patterns = [
        quote(rf"~^{regex(one.name)} (?=.{{1,{one.longest}}}\z)(?<fcgipm_safe>(?:{_COMPONENT})+)\z", variables=False)
        for one in found
    ]
    yield from variable(
        '"$fcgipm_root $uri"', "script", [*(f"{pattern} $fcgipm_safe;" for pattern in patterns), 'default "";'],
        "The script's path below its root, if a script can be called so.",
    )  # fmt: skip
    yield from variable(
        '"$fcgipm_script $fcgipm_rest"', "more",
        [r'"~(?s)^(?<fcgipm_safe>\S+) \k<fcgipm_safe>(?<fcgipm_safe_more>.*)\z" $fcgipm_safe_more;', 'default "";'],
        "What follows it in the request's path.",
    )  # fmt: skip


def remarks(scripts: Scripts) -> Iterator[str]:
    """Yield comments about what nginx cannot do."""
    if scripts.root.recursive:
        yield (
            f"a script is the first file on a path, at most {DEEPEST} directories deep; what follows it is its "
            "PATH_INFO. nginx looks for that, so its user has to reach these directories"
        )
    else:
        yield "a script's name is what follows the prefix, up to the next slash; what follows that is its PATH_INFO"


def before_locations(found: Sequence[Scripts]) -> Iterator[str]:
    """Yield what the server context needs before the first location."""
    if any(one.root.recursive for one in found):
        yield ""
        yield f"set {_DOCUMENT_ROOT} $document_root;  # the server's; locations below have roots of their own"


def location(prefix: str, scripts: Scripts, delivery: Iterable[str]) -> Iterator[str]:
    """Yield the inside of the location of *prefix*; *delivery* is what concerns the connection."""
    path = f"(?<fcgipm_1>{_COMPONENT})"
    path += "".join(f"(?<fcgipm_{number}>(?&fcgipm_1))?" for number in range(2, _components(scripts) + 1))
    pattern = quote(rf"(?s)^{regex(prefix)}(?<fcgipm_rest>{path}(?:/.*)?)\z", variables=False)
    yield "return 404;  # what no script can be called"
    components = [f"$fcgipm_{number}" for number in range(1, _components(scripts) + 1)]
    yield from block(f"location ~ {pattern}", [*_body(scripts, components), *delivery])


def exact_location(path: str, scripts: Scripts, delivery: Iterable[str]) -> Iterator[str]:
    """Yield the inside of a location for exactly *path* below the root; nginx allows no location within that."""
    if not re.fullmatch(f"(?:{_COMPONENT})+".replace(r"\z", r"\Z"), path):
        yield "return 404;  # what no script can be called"
        return
    yield f"set $fcgipm_rest {path};"
    components = [f"/{component}" for component in path.split("/")[1:]]
    yield from [*_body(scripts, components[: _components(scripts)]), *delivery]


def parameters(prefix: str, scripts: Scripts) -> Mapping[str, str]:
    """Return what a script is told of itself."""
    options = scripts.options
    directory = scripts.directory
    if options.chroot is not None:
        directory = ("/" + posixpath.relpath(directory, options.chroot)).removesuffix("/.")
    root = options.docroot or options.document_root
    document_root = _DOCUMENT_ROOT if scripts.root.recursive else "$document_root"
    more = "$fcgipm_more" if options.broken_scriptfilename else ""
    return {
        "DOCUMENT_URI": "$fcgipm_uri",
        "DOCUMENT_ROOT": document_root if root is None else quote(root),
        "SCRIPT_NAME": quote(prefix, "$fcgipm_script"),
        "SCRIPT_FILENAME": quote(directory, f"$fcgipm_script{more}"),
        "PATH_INFO": "$fcgipm_more",
    }


def address(scripts: Scripts) -> str:
    """Return where a script listens."""
    return quote(f"unix:{posixpath.dirname(scripts.sockets)}/", f"{NAME}.sock")


def _components(scripts: Scripts) -> int:
    return DEEPEST + 1 if scripts.root.recursive else 1


def _body(scripts: Scripts, components: Sequence[str]) -> Iterator[str]:
    """Yield what finds the script among *components* of the path, each with the slash before it."""
    yield f"set $fcgipm_root {quote(scripts.name)};"
    yield from in_location(None)
    if not scripts.root.recursive:
        yield f'rewrite "(?s)^" {components[0]} break;  # $uri is the script now'
        return
    yield f"root {quote(scripts.directory)};"
    tried = " ".join(accumulate(components))
    yield f"try_files {tried} {MISSING};  # the first that is a file is the script: $uri now"
