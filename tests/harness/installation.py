"""fcgipm installed by itself, in several versions of which one is in place: what an upgrade goes from and to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from harness.daemon import SCRIPTS

PACKAGE = Path(__file__).parents[2] / "fcgipm"


class Installation:
    """A virtual environment below *directory*, which everybody may read; nothing is fetched from anywhere.

    ``make`` a version, then ``use`` it.
    """

    def __init__(self, directory: Path) -> None:
        self._copies = directory / "versions"
        self._copies.mkdir()
        home = directory / "venv"
        python = os.path.realpath(sys.executable)
        subprocess.run([python, "-m", "venv", "--without-pip", str(home)], check=True, timeout=60)
        (self._site,) = home.glob("lib/python*/site-packages")
        # What fcgipm needs comes from where these tests have it; fcgipm itself does not, as it is found here before.
        places = [path for path in sys.path if path.endswith("-packages")]
        (self._site / "needed.pth").write_text("\n".join(places) + "\n")
        for name in ("fcgipm", "fcgipmctl"):
            text = (SCRIPTS / name).read_text()
            script = home / "bin" / name
            script.write_text(re.sub(r"\A#!.*", f"#!{home}/bin/python3", text))
            script.chmod(0o755)
        self.program = str(home / "bin" / "fcgipm")
        self.control = str(home / "bin" / "fcgipmctl")

    def make(self, version: str, edits: Mapping[str, tuple[str, str]] | None = None) -> None:
        """Make a copy of fcgipm that calls itself *version*; *edits* replace a text by another in files of it."""
        copy = self._copies / version / "fcgipm"
        shutil.copytree(PACKAGE, copy, ignore=_unreadable)  # times too, so that what is compiled there is good here
        changes = {"__init__.py": (r'__version__ = "', f'__version__ = "{version}" or "'), **(edits or {})}
        for name, (before, after) in changes.items():
            path = copy / name
            text = path.read_text()
            assert before in text, f"{name} has no {before!r}"
            path.write_text(text.replace(before, after))

    def use(self, version: str) -> None:
        """Put *version* in place, at once and whole."""
        passing = self._site / "fcgipm.new"
        passing.symlink_to(self._copies / version / "fcgipm")
        passing.rename(self._site / "fcgipm")

    def remove(self) -> None:
        """Take away what is in place."""
        (self._site / "fcgipm").unlink()

    def file(self, version: str, name: str) -> Path:
        """Return the file *name* of *version*."""
        return self._copies / version / "fcgipm" / name


def _unreadable(directory: str, names: list[str]) -> list[str]:
    """Return what another user has compiled for himself alone."""
    return [name for name in names if not os.access(os.path.join(directory, name), os.R_OK)]
