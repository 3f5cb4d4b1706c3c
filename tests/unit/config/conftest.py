"""A configuration of its own for each test."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from fcgipm.config.load import ConfigError, Loaded, load
from fcgipm.config.schema import Daemon


@dataclass(frozen=True, slots=True)
class Files:
    """The configuration files of a test, in a directory that everybody may read."""

    place: Path

    def write(self, name: str, text: str, mode: int = 0o640) -> str:
        """Write the file *name* and return its path."""
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return str(path)

    def load(
        self, text: str, environ: Mapping[str, str] | None = None, running: Daemon | None = None, *, fore: bool = True
    ) -> Loaded:
        """Load *text* as apps.toml."""
        path = self.write("apps.toml", text)
        around = {"XDG_RUNTIME_DIR": str(self.place), **(environ or {})}
        return load(path, environ=around, euid=os.geteuid(), foreground=fore, running=running)

    def problems(self, text: str) -> list[str]:
        """Return what is wrong with *text* as ``LINE: KEY PATH: TEXT``."""
        try:
            self.load(text)
        except ConfigError as error:
            return [
                str(problem).removeprefix(f"{self.place}/").removeprefix("apps.toml:") for problem in error.problems
            ]
        return []


def list_access(path: str | Path, *, user: int, permission: int) -> None:
    """Give *path* an access control list by which *user* has *permission* (4 read, 2 write, 1 execute), others none."""
    none = 0xFFFFFFFF
    entries = [(0x01, 7, none), (0x02, permission, user), (0x04, 0, none), (0x10, permission, none), (0x20, 0, none)]
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", value)
    except OSError as error:
        pytest.skip(f"this file system has no access lists: {error.strerror}")


@pytest.fixture
def files(place: Path) -> Files:
    """Give the configuration files of this test."""
    return Files(place)
