"""FastCGI whatever the bytes are and however they are cut."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fcgipm.fastcgi import (
    FastCGIError,
    Kind,
    Record,
    RequestParser,
    Response,
    ResponseParser,
    Role,
    decode_pairs,
    encode_end,
    encode_pairs,
    encode_record,
    encode_request,
    encode_response,
    encode_stream,
)

TEXT = st.text(st.characters(max_codepoint=255), max_size=300)
PAIRS = st.dictionaries(TEXT, TEXT, max_size=8)
RECORDS = st.builds(
    Record, st.sampled_from([*range(1, 13), 255]), st.sampled_from([0, 1, 2, 65535]), st.binary(max_size=40)
)
ANSWERS = st.one_of(
    st.builds(encode_response, st.just(1), st.binary(max_size=60), stderr=st.binary(max_size=9)),
    st.binary(max_size=20_000).map(lambda body: encode_response(1, b"Status: 201 Made\n\n" + body)),
    st.lists(RECORDS, max_size=5).map(lambda found: b"".join(map(encode_record, found)) + encode_end(1)),
    st.binary(max_size=100),
)


@st.composite
def cuts(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> list[bytes]:
    """Return the pieces of one text of bytes, in order; some may be empty."""
    data = draw(whole)
    marks = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[start:end] for start, end in zip([0, *marks], [*marks, len(data)], strict=True)]


def outcome(pieces: list[bytes]) -> Any:
    """Return the response, or the text of the error."""
    parser = ResponseParser(limit=10_000)
    try:
        for piece in pieces:
            parser.feed(piece)
        return parser.close()
    except FastCGIError as error:
        return str(error)


def request_outcome(pieces: list[bytes]) -> Any:
    """Return all that came out of a request parser: requests, replies, and how it ended."""
    parser = RequestParser(limit=10_000)
    found: list[object] = []
    replies = b""
    try:
        for piece in pieces:
            found += parser.feed(piece)
            replies += parser.replies()
    except FastCGIError as error:
        return str(error)
    return found, replies


@given(PAIRS)
def test_pairs_come_back(pairs: dict[str, str]) -> None:
    assert decode_pairs(encode_pairs(pairs)) == pairs


@given(PAIRS, st.binary(max_size=200_000), st.sampled_from(Role), st.booleans(), st.integers(1, 65535))
def test_a_request_comes_back(pairs: dict[str, str], body: bytes, role: Role, keep_conn: bool, number: int) -> None:
    (request,) = RequestParser().feed(encode_request(pairs, body, role=role, keep_conn=keep_conn, request_id=number))

    assert (request.params, request.body) == (pairs, b"" if role is Role.AUTHORIZER else body)
    assert (request.role, request.keep_conn, request.request_id) == (role, keep_conn, number)


@given(st.integers(100, 599), st.binary(max_size=200_000), st.binary(max_size=100_000), st.integers(0, 2**32 - 1))
def test_an_answer_comes_back(status: int, body: bytes, stderr: bytes, app_status: int) -> None:
    data = encode_response(
        1, f"Status: {status} So\r\nX-Y: z\r\n\r\n".encode() + body, stderr=stderr, app_status=app_status
    )

    assert ResponseParser().feed(data) == Response(
        status=status, reason="So", headers=(("X-Y", "z"),), body=body, stderr=stderr, app_status=app_status
    )


@given(cuts(ANSWERS))
def test_it_does_not_matter_how_an_answer_is_cut(pieces: list[bytes]) -> None:
    assert outcome(pieces) == outcome([b"".join(pieces)])


@given(cuts(st.lists(st.one_of(RECORDS.map(encode_record), PAIRS.map(encode_request)), max_size=6).map(b"".join)))
def test_it_does_not_matter_how_requests_are_cut(pieces: list[bytes]) -> None:
    assert request_outcome(pieces) == request_outcome([b"".join(pieces)])


@given(st.binary(max_size=300).map(lambda data: b"\x01" + data))
def test_garbage_is_refused_or_ignored_and_never_more(data: bytes) -> None:
    outcome([data])
    request_outcome([data])


@given(st.binary(max_size=200))
def test_a_garbled_head_is_refused_or_understood(stdout: bytes) -> None:
    outcome([encode_stream(Kind.STDOUT, 1, stdout, end=True) + encode_end(1)])


@given(st.binary(max_size=120), PAIRS)
def test_a_garbled_request_is_refused_or_understood(noise: bytes, pairs: dict[str, str]) -> None:
    whole = bytearray(encode_request(pairs, b"body"))
    for index, byte in enumerate(noise):
        whole[(byte * 7 + index * 13) % len(whole)] ^= byte
    request_outcome([bytes(whole)])
