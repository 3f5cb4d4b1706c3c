"""A configuration of its own for each test."""

from __future__ import annotations

import os
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


@pytest.fixture
def files(place: Path) -> Files:
    """Give the configuration files of this test."""
    return Files(place)
