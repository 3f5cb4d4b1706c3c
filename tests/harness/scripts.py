"""A root of scripts below a test's place."""

from __future__ import annotations

from pathlib import Path

from fcgipm.config.schema import Dynamic, Root


def scripts(place: Path) -> Dynamic:
    """Return a table [dynamic] with one root, which is there."""
    root = place / "fcgi"
    root.mkdir()
    root.chmod(0o755)
    return Dynamic(roots=(Root(path=str(root), name="fcgi", match="*.fcgi"),))


def script(place: Path, name: str) -> str:
    """Make a script below the root, and return its path."""
    path = place / "fcgi" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o755)
    return str(path)
