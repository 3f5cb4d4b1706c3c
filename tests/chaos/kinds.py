"""The kinds of applications that faults are tried on, and how a configuration names them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from harness.components import need

SOURCES: Final = Path(__file__).parent / "programs"
KINDS: Final = ("deaf", "mortal", "libfcgi", "threaded", "php", "php-children")
WORK: Final = "1000" if os.environ.get("CHAOS") == "full" else "3000"
"""Microseconds that a request takes at least; more of them leave more of a small machine to what is tried."""
_WORDS: Final = MappingProxyType(
    {
        "deaf": ("plain", "deaf"),
        "mortal": ("plain",),
        "libfcgi": ("library",),
        "threaded": ("library", "threaded"),
    }
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of application, ready to be run in a directory."""

    name: str
    command: tuple[str, ...]
    """Names a file of the directory: so instances are found from outside."""
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    script: str = "/"
    """What SCRIPT_FILENAME is to be."""
    at_once: int = 1
    """How many requests one instance serves at a time."""

    def table(
        self, name: str = "app", *, version: int = 1, environment: Mapping[str, str] | None = None, **keys: object
    ) -> str:
        """Return its table: *keys* are those of the table (_ for -), *environment* is added to its own."""
        settings: dict[str, object] = {
            "processes": 3,
            "listen-queue-depth": 511,
            "min-server-life": 0,
            "restart-delay": 0,
        }
        settings |= {key.replace("_", "-"): value for key, value in keys.items()}
        variables = {"VERSION": str(version), "WORK": WORK, **self.environment, **(environment or {})}
        command = settings.pop("command", self.command)
        lines = [f"[app.{name}]", f"command = {json.dumps(command)}"]
        lines += [f"{key} = {_toml(value)}" for key, value in settings.items() if value is not None]
        lines += [f"[app.{name}.initial-env]", *(f"{key} = {_toml(value)}" for key, value in variables.items()), ""]
        return "\n".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)


def kind_of(name: str, place: Path) -> Kind:
    """Return the kind *name*, its program compiled and in *place*."""
    if name.startswith("php"):
        page = _brought(SOURCES / "page.php", place)
        children = {"PHP_FCGI_CHILDREN": "4"} if name == "php-children" else {}
        return Kind(
            name,
            (need("php-cgi"), "-n", "-d", f"include_path={place}/"),
            {**children, "PHP_FCGI_MAX_REQUESTS": "0"},
            str(page),
            at_once=4 if children else 1,
        )
    source, *words = _WORDS[name]
    program = _brought(_compiled(source, place.parent), place)
    return Kind(name, (str(program), *words), at_once=4 if words == ["threaded"] else 1)


def visitors_program(place: Path) -> Path:
    """Return the compiled visitors."""
    return _compiled("visitors", place.parent)


@cache
def _compiled(name: str, place: Path) -> Path:
    program = place / f"{name}.program"
    libraries = ["-lfcgi", "-pthread"] if name == "library" else []
    compiler = need("libfcgi" if libraries else "gcc")
    subprocess.run([compiler, "-O2", "-o", program, SOURCES / f"{name}.c", *libraries], check=True, timeout=60)
    program.chmod(0o755)
    return program


def _brought(file: Path, place: Path) -> Path:
    copy = place / file.name
    if not copy.exists():
        copy.write_bytes(file.read_bytes())
        copy.chmod(0o755)
    return copy


def leaders(place: Path) -> list[int]:
    """Return the instances that run in *place*: leaders of sessions that name it, whoever is their parent."""
    mark = f"{place}/".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes()
            if _is_program(words, mark) and os.getsid(int(name)) == int(name):
                found.append(int(name))
        except OSError:
            continue
    return sorted(found)


def _is_program(words: bytes, mark: bytes) -> bool:
    first = words.partition(b"\0")[0]
    return first.startswith(mark) or (first.endswith(b"php-cgi") and b"include_path=" + mark in words)


def frozen(place: Path) -> list[str]:
    """Return the processes of *place* that stand still: nobody is there to let them go on."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if _is_program(Path(f"/proc/{name}/cmdline").read_bytes(), f"{place}/".encode()):
                state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
                found += [f"{name} {state}"] if state in "Tt" else []
        except OSError:
            continue
    return found
