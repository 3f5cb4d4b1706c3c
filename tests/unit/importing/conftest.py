"""Configurations in memory, and the examples."""

from __future__ import annotations

import fnmatch
import posixpath
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fcgipm.importing.apache import from_apache
from fcgipm.importing.found import Found
from fcgipm.importing.lighttpd import from_lighttpd
from fcgipm.importing.spawnfcgi import from_spawn_fcgi
from fcgipm.importing.writer import render

EXAMPLES = Path(__file__).parent / "examples"


@dataclass(frozen=True)
class Texts:
    """Files by path; as `fcgipm.importing.files.Files`."""

    texts: Mapping[str, str] = field(default_factory=dict)

    def read(self, path: str) -> str:
        """Return the text of *path*."""
        if path not in self.texts:
            raise FileNotFoundError(2, "No such file or directory")
        return self.texts[path]

    def expand(self, pattern: str) -> list[str]:
        """Return what *pattern* matches; a file's name ends a path, a directory begins one."""
        return sorted(
            path
            for path in self.texts
            if path.startswith(f"{pattern}/")
            or (fnmatch.fnmatch(path, pattern) and posixpath.dirname(path) == posixpath.dirname(pattern))
        )


def apache(text: str, environ: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None) -> Found:
    """Import *text* as /etc/apache2/apache2.conf; *files* are beside it."""
    others = {f"/etc/apache2/{name}": content for name, content in (files or {}).items()}
    return from_apache("/etc/apache2/apache2.conf", Texts({"/etc/apache2/apache2.conf": text, **others}), environ or {})


def lighttpd(text: str, environ: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None) -> Found:
    """Import *text* as /etc/lighttpd/lighttpd.conf; *files* are beside it."""
    others = {f"/etc/lighttpd/{name}": content for name, content in (files or {}).items()}
    return from_lighttpd(
        "/etc/lighttpd/lighttpd.conf", Texts({"/etc/lighttpd/lighttpd.conf": text, **others}), environ or {}
    )


def spawn_fcgi(line: str) -> Found:
    """Import the command *line*, which has no quotes; every program is in /usr/bin."""
    return from_spawn_fcgi(line.split(" "), lambda name: f"/usr/bin/{name}")


def document(found: Found) -> dict[str, Any]:
    """Return what TOML makes of the output."""
    return tomllib.loads("\n".join(render(found)))


def only(found: Found) -> dict[str, Any]:
    """Return the one application's table."""
    ((_name, table),) = document(found)["app"].items()
    assert isinstance(table, dict)
    return table


def said(found: Found) -> list[str]:
    """Return all remarks."""
    return [remark.text for remark in found.all_remarks()]


def lost(found: Found) -> list[str]:
    """Return what is not carried over."""
    return [remark.text for remark in found.all_remarks() if remark.lost]
