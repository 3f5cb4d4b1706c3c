"""Whatever stands in a file: it is loaded, or refused with reasons, and nothing else happens."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from fcgipm.config.load import ConfigError, load
from fcgipm.config.option import options
from fcgipm.config.rendering import key_text, value_text
from fcgipm.config.schema import LATER_KEYS, Application, Daemon, Dynamic, External, Root

TABLES = (Daemon, Application, Dynamic, Root, External)
KEYS = sorted({key for table in TABLES for key, _option, _item in options(table)})

keys = st.sampled_from([*KEYS, *sorted(LATER_KEYS), "fastcgi"]) | st.text(max_size=5)
plain_texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=5)
known_texts = st.sampled_from(
    [
        "/", "/bin/true", "/etc/passwd", "/proc/self/fd/0", "/dev/zero", "/dev/null", "..", "#0", "root", "off", "on",
        "127.0.0.1:9753", "unix:/x", "0660", "5s", "a\0b", "/\ud7ff", "%root", "KILL", "unlimited", "256M", "::",
        ".php", "/nowhere/at/all", "/tmp/x.sock", "/" + "x" * 300, "/" + "x/" * 3000,
    ]
)  # fmt: skip
scalars = st.booleans() | st.integers(-(2**64), 2**64) | st.integers(-1, 5) | plain_texts | known_texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=4
)
tables = st.dictionaries(keys, values, max_size=6)
root_keys = st.sampled_from([key for key, _option, _item in options(Root)])
roots = st.lists(st.dictionaries(root_keys, values, max_size=4) | values, max_size=3)
rooted = roots.flatmap(lambda items: tables.map(lambda table: {"roots": items, **table}))
commanded = tables.map(lambda table: {"command": ["/bin/true"], **table})
documents = st.fixed_dictionaries(
    {},
    optional={
        "fcgipm": tables,
        "defaults": tables,
        "app": st.dictionaries(plain_texts | st.just("a"), commanded | values, max_size=2),
        "external": st.dictionaries(plain_texts | st.just("a"), tables | values, max_size=2),
        "include": values,
        "dynamic": rooted | values,
        "nonsense": values,
    },
)


@given(documents)
@example({"app": {"a": {"command": ["/bin/true"], "env-file": "/dev/zero"}}})
@example({"dynamic": {"roots": [{"path": "/usr/bin"}, {"path": "/" + "x/" * 3000}, {"path": "/proc/self/fd/0"}]}})
@example({"dynamic": {"roots": [{"path": "/"}, {}, {"path": "a"}], "wrapper": "on", "chroot": "/nowhere"}})
@example({"dynamic": {"roots": [[{"path": "/usr/bin"}]], "user": "#5", "max-processes": 0}})
@example({"app": {"a": {"command": ["/bin/true"], "chroot": "/", "directory": "/" + "x/" * 3000}}})
def test_any_document_is_loaded_or_refused(territory: Path, document: dict[str, Any]) -> None:
    text = "\n".join(f"{key_text(key)} = {value_text(value)}" for key, value in document.items())
    refusals = []
    with tempfile.NamedTemporaryFile("w", dir=territory, suffix=".toml", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        try:
            load(file.name, environ={"XDG_RUNTIME_DIR": str(territory)}, euid=os.geteuid())
        except ConfigError as error:
            refusals = [str(problem) for problem in error.problems]
    assert all("\n" not in problem and "\0" not in problem for problem in refusals)


@given(st.binary(max_size=200))
def test_any_bytes_are_loaded_or_refused(territory: Path, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=territory, suffix=".toml") as file:
        file.write(data)
        file.flush()
        try:
            load(file.name, environ={"XDG_RUNTIME_DIR": str(territory)}, euid=os.geteuid())
        except ConfigError as error:
            assert error.problems  # noqa: PT017  # that it may not be raised is the point
