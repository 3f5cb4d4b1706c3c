"""The kernel's answers over netlink: whole, or an error."""

from __future__ import annotations

import errno
import struct

import pytest

from fcgipm.linux.netlink import DiagError, take_apart

KIND, DONE, ERROR, INTERRUPTED = 20, 3, 2, 0x10


def message(kind: int = KIND, body: bytes = b"12345678", *, flags: int = 2, sequence: int = 1) -> bytes:
    length = 16 + len(body)
    return struct.pack("=IHHII", length, kind, flags, sequence, 0) + body + bytes(-length % 4)


def code(number: int) -> bytes:
    return struct.pack("=i", number)


def test_answers_are_found_one_behind_the_other_and_then_the_end() -> None:
    piece = message() + message(body=b"12345") + message()
    assert take_apart(piece, 1, KIND, 0) == ([0, 24, 48], False, False)
    assert take_apart(piece + message(DONE, code(0)), 1, KIND, 0) == ([0, 24, 48], True, False)


def test_short_answers_are_left_out_where_they_say_nothing() -> None:
    assert take_apart(message() + message(body=b"12345") + message(), 1, KIND, 24) == ([0, 48], False, False)


def test_answers_to_an_earlier_question_are_passed_over() -> None:
    late = message(sequence=1, flags=INTERRUPTED) + message(DONE, code(-5), sequence=1)
    assert take_apart(late + message(sequence=2), 2, KIND, 0) == ([48 - 4], False, False)


@pytest.mark.parametrize("marked", [KIND, DONE])
def test_an_interrupted_dump_is_in_doubt_wherever_that_is_said(marked: int) -> None:
    flags = {KIND: 2, DONE: 2} | {marked: INTERRUPTED}
    piece = message(flags=flags[KIND]) + message(DONE, code(0), flags=flags[DONE])
    assert take_apart(piece, 1, KIND, 0) == ([0], True, True)


@pytest.mark.parametrize("kind", [DONE, ERROR])
def test_an_error_is_raised(kind: int) -> None:
    with pytest.raises(PermissionError):
        take_apart(message() + message(kind, code(-errno.EPERM)), 1, KIND, 0)


def test_an_answer_that_cannot_be_is_no_endless_loop() -> None:
    with pytest.raises(DiagError, match="malformed"):
        take_apart(bytes(64), 1, KIND, 0)


def test_a_piece_that_was_cut_short_has_what_it_has() -> None:
    assert take_apart((message() + message())[:30], 1, KIND, 0) == ([0], False, False)
