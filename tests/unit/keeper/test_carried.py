"""What is given to the next program is read by its own version and the one after, and by nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from fcgipm import wire
from fcgipm.keeper.keeping import carried
from fcgipm.keeper.keeping.carried import FORMAT, Carried, decode, encode
from fcgipm.keeper.keeping.state import StateError, in_format

WHOLE = Carried(
    state="{}", path="/etc/apps.toml", foreground=True, daemon={"user": "fcgipm"}, nofile=(1024, 4096),
    made_directory=False, descriptors={"log": 5},
    upgraded=wire.Upgraded(count=1, before="0.1.0", at=1, at_unix=1.0, instances=2, pause=None),
)  # fmt: skip


def altered(**change: object) -> bytes:
    return json.dumps({**json.loads(encode(WHOLE)), **change}).encode()


def test_what_is_given_is_read() -> None:
    assert decode(encode(WHOLE)) == WHOLE


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (altered(format=FORMAT + 1), f"a newer fcgipm has written it: format {FORMAT + 1}, this one knows {FORMAT}"),
        (altered(format=FORMAT - 2), f"it is too old: format {FORMAT - 2}, this fcgipm knows {FORMAT}"),
        (altered(format=None), "it is damaged: it has no format"),
        (altered(format=True), "it is damaged: it has no format"),
        (altered(foreground="yes"), "it is damaged: "),
        (b"[]", "it is damaged: it has no format"),
        (b"{", "it is damaged: "),
        (b"[" * 100_000, "it is damaged: "),
    ],
)  # fmt: skip
def test_nothing_else_is(text: bytes, why: str) -> None:
    with pytest.raises(StateError) as caught:
        decode(text)

    assert str(caught.value).startswith(why)


def test_that_of_the_program_before_is_made_to_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def renamed(found: dict[str, Any]) -> dict[str, Any]:
        return {**{key: value for key, value in found.items() if key != "file"}, "path": found["file"]}

    steps: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {FORMAT: renamed}
    before = {key: value for key, value in json.loads(encode(WHOLE)).items() if key != "path"} | {"file": "/a"}
    monkeypatch.setattr(carried, "FORMAT", FORMAT + 1)
    monkeypatch.setattr(carried, "_NEXT", steps)

    assert decode(json.dumps(before).encode()).path == "/a"
    with pytest.raises(StateError, match="it is too old"):
        in_format(altered(format=FORMAT - 1), FORMAT + 1, steps)
