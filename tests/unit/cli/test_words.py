"""Numbers and texts for people."""

from __future__ import annotations

import io

import pytest

from fcgipm.cli.words import moment, number, printable, size, span, wants_colour


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"), (0, "0s"), (59.9, "59s"), (60, "1m 00s"), (3_599, "59m 59s"), (3_600, "1h 00m"),
        (86_399, "23h 59m"), (3 * 86_400 + 4 * 3_600, "3d 04h"), (-1, "0s"),
    ],
)  # fmt: skip
def test_a_span_has_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0.0s"),
        (0.44, "0.4s"),
        (9.94, "9.9s"),
        (9.96, "9s"),
        (10, "10s"),
        (125, "2m 05s"),
        (-1, "0.0s"),
    ],
)
def test_a_short_span_has_tenths(seconds: float | None, text: str) -> None:
    assert moment(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "-"), (0, "0"), (1023, "1023"), (1024, "1.0K"), (1536, "1.5K"), (118 << 20, "118M"), (5 << 40, "5.0T"),
     (5000 << 40, "5000T")],
)  # fmt: skip
def test_a_size_has_one_unit_and_two_digits_at_least(count: int | None, text: str) -> None:
    assert size(count) == text


def test_what_is_not_known_is_a_dash() -> None:
    assert (number(None), number(0)) == ("-", "0")


def test_nothing_that_a_terminal_obeys_is_printed() -> None:
    assert printable("a\x1b[2Jb\nc\x9b") == "a\\x1b[2Jb\\nc\\x9b"
    assert printable("größer → 10") == "größer → 10"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({}, False), ({"TERM": "xterm", "NO_COLOR": "1"}, False),
     ({"TERM": "xterm", "NO_COLOR": ""}, True)],
)  # fmt: skip
def test_colour_needs_a_terminal_that_has_it_and_nobody_against_it(environ: dict[str, str], wanted: bool) -> None:
    assert wants_colour(_Terminal(), environ) is wanted
    assert not wants_colour(io.StringIO(), environ)
