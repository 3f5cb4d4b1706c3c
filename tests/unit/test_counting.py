"""Numbers with their nouns."""

from __future__ import annotations

from fcgipm.counting import counted


def test_a_noun_follows_its_number() -> None:
    assert counted(1, "problem") == "1 problem"
    assert counted(0, "request") == "0 requests"
    assert counted(2, "process", "processes") == "2 processes"
