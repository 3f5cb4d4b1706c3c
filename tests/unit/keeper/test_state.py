"""What a keeper leaves to the next one, as text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from fcgipm.config.identity import Identity
from fcgipm.keeper.instances.recipe import Recipe
from fcgipm.keeper.keeping.state import (
    FORMAT,
    KeptInstance,
    KeptListener,
    KeptNote,
    KeptProcess,
    KeptScript,
    KeptStray,
    State,
    StateError,
    decode,
    digest_of,
    encode,
)
from fcgipm.keeper.listening.listener import Reach

WHOLE = State(
    boot_id="b",
    name_space=4026531836,
    program="0.1",
    pid=1,
    started_at=5,
    started_unix=1.5,
    highest=7,
    ending=0,
    manager=KeptProcess(pid=2, start_time=3),
    listeners=(
        KeptListener(
            app="one", generation=2, inode=9, reach=Reach.PUBLIC, public="/a/one.sock", private="/a/p/1"
        ),
    ),
    instances=(
        KeptInstance(
            number=7, app="one", generation=2, pid=11, start_time=12, listener=9, executed=True, started_at=4,
            ready="accepting", ready_at=5,
        ),
    ),
    strays=(KeptStray(pid=13, start_time=14, listener=9, name="one/6", cut_at=99),),
    notes={"one": KeptNote(text="{}", wish="{}", resting=True, definition="d")},
    scripts=(KeptScript(root="r", path="a/b.fcgi"),),
    generations={"one": 2},
)  # fmt: skip


def test_it_comes_back_as_it_was() -> None:
    assert decode(encode(WHOLE)) == WHOLE


@pytest.mark.parametrize("length", range(0, len(encode(WHOLE)), 7))
def test_a_part_of_it_is_not_believed(length: int) -> None:
    with pytest.raises(StateError, match="damaged"):
        decode(encode(WHOLE)[:length])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": FORMAT + 1}, f"a newer fcgipm has written it: format {FORMAT + 1}"),
        ({"format": -1}, "too old"),
        ({"format": "1"}, "damaged"),
        ({"format": True}, "damaged"),
        ({"instances": [{"pid": 1}]}, "damaged"),
        ({"surprise": 1}, "damaged"),
    ],
)
def test_what_this_program_does_not_understand_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(StateError, match=says):
        decode(json.dumps({**json.loads(encode(WHOLE)), **change}).encode())


@pytest.mark.parametrize("text", [b"", b"\0" * 100, b"[]", b"{}", b"3", b"[" * 100_000, b"\xff\xfe"])
def test_what_is_no_state_at_all_is_refused(text: bytes) -> None:
    with pytest.raises(StateError, match="damaged"):
        decode(text)


def test_a_digest_says_that_something_differs_and_not_what() -> None:
    become = Identity(user="#1", group="#1", uid=1, gid=1, groups=(), home=None)
    fields: dict[str, Any] = dict.fromkeys(("umask", "priority", "oom_score_adjust", "owner"), 0)
    fields |= {"program": "/p", "arguments": ("p",), "become": become, "directory": "/", "directory_first": False}
    fields |= {"chroot": None, "limits": (), "no_new_privs": False}

    digests = {digest_of(Recipe(environment={"PASSWORD": word}, **fields)) for word in ("swordfish", "swordfisj")}

    assert len(digests) == 2
    assert all("swordfis" not in digest for digest in digests)


def test_a_field_that_a_later_version_adds_makes_no_other_digest() -> None:
    @dataclass(frozen=True)
    class Before:
        program: str

    @dataclass(frozen=True)
    class After:
        program: str
        scheduler: str = "other"

    assert digest_of(Before("cat")) == digest_of(After("cat"))
    assert digest_of(After("cat")) != digest_of(After("cat", "idle"))
    assert digest_of(After("cat")) != digest_of(After("dog"))
