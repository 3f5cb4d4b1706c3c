"""docs/coming-from-mod_fastcgi.md: everything that can be written there is mentioned, and what it names exists."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from fcgipm.config.option import options
from fcgipm.config.schema import LATER_KEYS, Application, Daemon, Dynamic, External, Root
from fcgipm.importing.apache_options import DYNAMIC, EXTERNAL, STATIC

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/coming-from-mod_fastcgi.md").read_text()

default = runpy.run_path(str(ROOT / "docs/generate.py"))["default"]
DIRECTIVES = (
    "FastCgiServer", "FastCgiConfig", "FastCgiExternalServer", "FastCgiIpcDir", "FastCgiWrapper", "FastCgiSuexec",
    "FastCgiAuthenticator", "FastCgiAuthenticatorAuthoritative", "FastCgiAuthorizer", "FastCgiAuthorizerAuthoritative",
    "FastCgiAccessChecker", "FastCgiAccessCheckerAuthoritative", "AppClass", "ExternalAppClass", "FCGIConfig",
)  # fmt: skip
"""Those of the manual, and what they were called before."""
LETTERS = "facdgpbuCFsPUGMnS"
"""The options of spawn-fcgi, but for those that start nothing."""


def keys() -> dict[str, set[str]]:
    """Return each key of the configuration with its defaults, as the file would have them."""
    found: dict[str, set[str]] = {}
    for table in (Daemon, Application, Dynamic, External, Root):
        for key, option, item in options(table):
            found.setdefault(key, set()).add(default(option, item))
    return found


def rows() -> Iterator[tuple[str, list[str], str, str]]:
    """Yield (theirs, keys, default, remark) of each row of a table with a column for keys."""
    for theirs, key, value, remark in re.findall(r"^\|(.*?)\|(.*?)\|(.*?)\|(.*?)\|$", PAGE, re.MULTILINE):
        yield theirs, re.findall(r"`([^`]+)`", key), value.strip(" `"), remark


def test_every_key_that_is_named_exists() -> None:
    named = {key for _, found, _, _ in rows() for key in found}
    assert len(named) > 40
    assert named - keys().keys() <= LATER_KEYS
    for key in named & LATER_KEYS:
        assert [remark for _, found, _, remark in rows() if key in found and "Not in this version" in remark]


def test_every_default_is_the_one_that_holds() -> None:
    told = {key: value for _, found, value, _ in rows() for key in found if value and value != "default"}
    assert len(told) > 20
    assert {key: value for key, value in told.items() if value not in keys()[key]} == {}


@pytest.mark.parametrize("rules", [STATIC, DYNAMIC, EXTERNAL])
def test_every_option_of_mod_fastcgi_has_a_row(rules: dict[str, object]) -> None:
    spelled = {word.lower() for theirs, _, _, _ in rows() for word in re.findall(r"`-([A-Za-z-]+)`", theirs)}
    assert set(rules) - spelled == set()


def test_every_directive_is_mentioned() -> None:
    assert set(DIRECTIVES) - set(re.findall(r"\b[A-Z]\w+", PAGE)) == set()


def test_every_letter_of_spawn_fcgi_has_a_row() -> None:
    spelled = {word for theirs, _, _, _ in rows() for word in re.findall(r"`-([A-Za-z])`", theirs)}
    assert set(LETTERS) - spelled == set()


def test_every_word_of_lighttpd_that_a_key_knows_has_a_row() -> None:
    known = {
        word
        for table in (Application, External)
        for _, option, _ in options(table)
        for word in (option.lighttpd or "").split(", ")
        if re.fullmatch(r"[a-z.-]{3,}", word)
    }
    spelled = {word for theirs, _, _, _ in rows() for word in re.findall(r"`([a-z.-]+)`", theirs)}
    assert known >= {"bin-path", "max-load-per-proc", "fastcgi.debug"}
    assert known - spelled == set()
