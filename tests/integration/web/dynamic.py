"""Scripts below a root, and how a configuration names them."""

from __future__ import annotations

from pathlib import Path

from harness.daemon import Daemon
from integration.web.applications import Records

BEHIND = (
    (b"//", b"//x", "/x"), (b"/./", b"/x", "/x"), (b"/deep/../", b"/x", "/x"),
    (b"/", b"/a%20b%26c%3fd", "/a b&c?d"), (b"/", b"/%C3%A4", "/\u00e4"),
    (b"/", b"/b.fcgi/%7Cfcgi:x", "/b.fcgi/|fcgi:x"),
)  # fmt: skip
"""What comes before and after a script's name in a request, and what the script sees of it."""


def dynamic(scripts: Path, *lines: str, root: str = "", records: Records | None = None) -> str:
    """Return the table [dynamic] with one root, called ``scripts``; *root* is more of it, *lines* more of the table."""
    table = f'[dynamic]\nroots = [{{ path = "{scripts}", match = "*.fcgi"{root} }}]\n'
    environment = "" if records is None else f'\n[dynamic.initial-env]\nRECORDS = "{records.directory}"\n'
    return table + "\n".join(lines) + environment


def listening(daemon: Daemon) -> set[str]:
    """Return the names of the scripts that have a socket."""
    found = daemon.runtime / "dynamic"
    return {str(path.relative_to(found)) for path in found.rglob("*") if path.is_socket()}
