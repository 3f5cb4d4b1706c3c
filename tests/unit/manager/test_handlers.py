from __future__ import annotations

import pytest

from fcgipm.manager.serving import arguments, handlers
from fcgipm.manager.serving.refusal import Refused
from fcgipm.verbs import VERBS


def test_every_verb_has_one_handler() -> None:
    assert list(handlers.HANDLERS) == list(VERBS)


def test_the_fields_of_a_verb_are_those_of_the_table() -> None:
    assert arguments.fields_of(VERBS["status"]) == ("app",)
    assert arguments.fields_of(VERBS["logs"]) == ("app", "follow")
    assert arguments.fields_of(VERBS["scale"]) == ("apps", "processes", "wait", "timeout")
    assert arguments.fields_of(VERBS["apply"]) == ("wait", "timeout")


@pytest.mark.parametrize(("word", "number"), [("auto", None), ("3", 3), (3, 3), (10_000, 10_000)])
def test_processes_are_a_number_or_auto(word: str | int, number: int | None) -> None:
    assert arguments.processes(word) == number


@pytest.mark.parametrize("word", [None, "", "0", 0, -1, 10_001, "3.5", "٣x", "AUTO"])
def test_other_words_are_refused(word: str | int | None) -> None:
    with pytest.raises(Refused, match="a number from 1 to 10000 or auto"):
        arguments.processes(word)
