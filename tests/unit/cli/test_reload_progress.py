"""What `fcgipmctl reload` says when nobody tells it any more how far the applications are."""

from __future__ import annotations

from argparse import Namespace

import pytest

from fcgipm.cli.reload import Progress


def progress(*outcomes: tuple[str, str, str | None]) -> Progress:
    """Return what is known after *outcomes*: name, state, phase."""
    found = Progress(Namespace(json=True), lambda _text: None)
    for name, state, phase in outcomes:
        found.take({"name": name, "state": state, "text": "", "phase": phase})
    return found


@pytest.mark.parametrize("phase", [None, "gathering", "proving"])
def test_what_nobody_has_met_yet_is_to_be_asked_for_again(phase: str | None) -> None:
    text = "not reloaded, the old generation serves on; reload again: shop"

    assert progress(("shop", "pending", phase)).so_far() == text


def test_what_is_being_replaced_one_by_one_is_not() -> None:
    found = progress(("shop", "pending", "proving"), ("shop", "pending", "rolling"), ("blog", "pending", None))

    assert found.so_far() == (
        "replaced one by one, and the next manager goes on (`fcgipmctl status` says how far): shop; "
        "not reloaded, the old generation serves on; reload again: blog"
    )


def test_nor_is_what_visitors_meet_already() -> None:
    text = "reloaded, while old instances still finish or new ones start: shop"

    assert progress(("shop", "pending", "rolling"), ("shop", "pending", "complete")).so_far() == text


def test_what_was_done_and_what_has_failed_is_said_first() -> None:
    found = progress(("a", "done", None), ("b", "failed", None), ("c", "pending", "rolling"))
    words = [part.split(":")[0] for part in found.so_far().split("; ")]

    assert words[:2] == ["reloaded", "failed, the old generation serves on"]


def test_where_nothing_was_told_nothing_is_known() -> None:
    assert progress().so_far().startswith("nobody knows whether anything was reloaded")
