"""FastCGI records: what is understood, and what is refused with which words."""

from __future__ import annotations

import pytest

from fcgipm.fastcgi import (
    FastCGIError,
    Kind,
    ProtocolStatus,
    Record,
    RecordReader,
    Refused,
    Request,
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
    parse_cgi,
)

PAGE = b"Content-Type: text/plain\r\n\r\nhello"


def answer(stdout: bytes) -> Response:
    response = ResponseParser().feed(encode_response(1, stdout))
    assert response is not None
    return response


def requests(data: bytes) -> list[Request]:
    return RequestParser().feed(data)


# ── records and pairs ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_record_is_eight_bytes_of_header_then_content_then_padding() -> None:
    assert encode_record(Record(Kind.STDOUT, 0x0102, b"abc")) == b"\x01\x06\x01\x02\x00\x03\x05\x00abc\0\0\0\0\0"


def test_a_stream_longer_than_a_record_is_cut_and_ends_with_an_empty_record() -> None:
    records = list(RecordReader().feed(encode_stream(Kind.STDIN, 1, b"x" * 70_000, end=True)))

    assert [len(record.content) for record in records] == [65_528, 4_472, 0]


@pytest.mark.parametrize(("length", "begins"), [(127, b"\x01\x7f"), (128, b"\x01\x80\x00\x00\x80")])
def test_lengths_below_128_take_one_byte_and_others_four(length: int, begins: bytes) -> None:
    raw = encode_pairs({"N": "v" * length})

    assert raw.startswith(begins)
    assert decode_pairs(raw) == {"N": "v" * length}


@pytest.mark.parametrize("raw", [b"\x01", b"\x01\x80\x00", b"\x01\x05Nab", b"\xff\xff\xff\xff\x01N"])
def test_a_pair_that_is_cut_off_is_refused(raw: bytes) -> None:
    with pytest.raises(FastCGIError, match="pair"):
        decode_pairs(raw)


def test_another_protocol_is_told_from_its_first_record() -> None:
    with pytest.raises(FastCGIError, match="version 72"):
        ResponseParser().feed(b"HTTP/1.1 400 Bad Request\r\n\r\n")


# ── the web server's side ────────────────────────────────────────────────────────────────────────────────────────────


def test_an_answer_has_status_headers_body_errors_and_the_exit_status() -> None:
    stdout = b"Status: 404 Not Here\r\nContent-Type: text/plain\r\nX-A: 1\r\n\r\ngone"
    response = ResponseParser().feed(encode_response(1, stdout, stderr=b"oh\n", app_status=3))

    assert response == Response(
        status=404,
        reason="Not Here",
        headers=(("Content-Type", "text/plain"), ("X-A", "1")),
        body=b"gone",
        stderr=b"oh\n",
        app_status=3,
    )
    assert response.header("content-TYPE") == "text/plain"
    assert response.header("X-B") is None


def test_a_location_without_a_status_is_a_redirection() -> None:
    assert answer(b"Location: /elsewhere\n\n").status == 302


def test_an_answer_without_a_status_is_200() -> None:
    assert answer(PAGE).status == 200


def test_a_status_beside_a_location_wins() -> None:
    assert answer(b"Location: /new\nStatus: 201 Created\n\n").status == 201


def test_the_first_line_of_an_nph_program_is_its_status() -> None:
    response = answer(b"HTTP/1.1 418 Teapot\r\nX: y\r\n\r\n")

    assert (response.status, response.reason, response.headers) == (418, "Teapot", (("X", "y"),))


@pytest.mark.parametrize(
    ("stdout", "words"),
    [
        (b"", "empty"),
        (b"Content-Type: text/plain\n", "no empty line"),
        (b"no header\n\n", "not a header line"),
        (b": value\n\n", "not a header line"),
        (b" folded: value\n\n", "not a header line"),
        (b"Status: soon\n\n", "not a status"),
        (b"Status: 999\n\n", "not a status"),
        (b"X: " + b"y" * 70_000 + b"\n\n", "no empty line"),
    ],
)
def test_what_is_no_cgi_answer_is_refused(stdout: bytes, words: str) -> None:
    with pytest.raises(FastCGIError, match=words):
        parse_cgi(stdout)


def test_the_records_of_unknown_types_and_of_the_connection_are_passed_over() -> None:
    strange = encode_record(Record(99, 1, b"?")) + encode_record(Record(Kind.GET_VALUES_RESULT, 0, b"?"))

    response = ResponseParser().feed(strange + encode_response(1, PAGE))

    assert response is not None
    assert response.body == b"hello"


@pytest.mark.parametrize(
    "status", [ProtocolStatus.CANT_MPX_CONN, ProtocolStatus.OVERLOADED, ProtocolStatus.UNKNOWN_ROLE]
)
def test_a_refusal_says_why(status: ProtocolStatus) -> None:
    with pytest.raises(Refused) as caught:
        ResponseParser().feed(encode_end(1, 0, status))

    assert caught.value.status is status


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encode_record(Record(Kind.END_REQUEST, 1, b"short")), "END_REQUEST of 5 bytes"),
        (encode_record(Record(Kind.END_REQUEST, 1, b"\0\0\0\0\x09\0\0\0")), "protocol status 9"),
        (encode_response(2, PAGE), "request 2, which was not sent"),
        (encode_response(1, PAGE) + encode_end(1), "follows the end"),
        (encode_response(1, PAGE) + b"\x01", "follows the end"),
    ],
)
def test_an_answer_that_breaks_the_protocol_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(FastCGIError, match=words):
        ResponseParser().feed(data)


def test_an_answer_longer_than_allowed_is_refused() -> None:
    with pytest.raises(FastCGIError, match="longer than 100 bytes"):
        ResponseParser(limit=100).feed(
            encode_stream(Kind.STDOUT, 1, b"x" * 60) + encode_stream(Kind.STDERR, 1, b"y" * 60)
        )


@pytest.mark.parametrize(
    ("data", "words"), [(b"", "without an answer"), (encode_stream(Kind.STDOUT, 1, PAGE), "after 33 bytes")]
)
def test_a_connection_that_ends_too_early_is_told(data: bytes, words: str) -> None:
    parser = ResponseParser()
    assert parser.feed(data) is None

    with pytest.raises(FastCGIError, match=words):
        parser.close()


# ── the application's side ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_arrives_whole() -> None:
    data = encode_request({"A": "1"}, b"body", keep_conn=True, request_id=7)

    assert requests(data) == [Request(request_id=7, role=1, keep_conn=True, params={"A": "1"}, body=b"body")]


def test_a_request_to_an_authorizer_is_whole_without_a_body() -> None:
    data = encode_request({"A": "1"}, role=Role.AUTHORIZER)
    parser = RequestParser()

    assert len(parser.feed(data[:-8])) == 1
    assert parser.feed(data[-8:] + encode_request({})) != []


def test_two_requests_follow_each_other_on_one_connection() -> None:
    first, second = requests(encode_request({"A": "1"}) + encode_request({"A": "2"}))

    assert (first.params["A"], second.params["A"]) == ("1", "2")


def test_a_request_beside_another_is_refused_and_the_first_goes_on() -> None:
    parser = RequestParser()
    whole = encode_request({"A": "1"}, request_id=1)

    assert parser.feed(whole[:16] + encode_request({}, request_id=2) + whole[16:])[0].request_id == 1
    assert parser.replies() == encode_end(2, 0, ProtocolStatus.CANT_MPX_CONN)
    assert parser.replies() == b""


def test_an_unknown_role_is_refused() -> None:
    parser = RequestParser()

    assert parser.feed(encode_record(Record(Kind.BEGIN_REQUEST, 1, b"\0\x09" + bytes(6)))) == []
    assert parser.replies() == encode_end(1, 0, ProtocolStatus.UNKNOWN_ROLE)


def test_an_aborted_request_is_ended_and_forgotten() -> None:
    parser = RequestParser()
    whole = encode_request({"A": "1"}, b"x")

    assert parser.feed(whole[:-32] + encode_record(Record(Kind.ABORT_REQUEST, 1, b"")) + whole[-32:]) == []
    assert parser.replies() == encode_end(1)


def test_questions_about_the_connection_are_answered() -> None:
    parser = RequestParser()
    parser.feed(encode_record(Record(Kind.GET_VALUES, 0, encode_pairs({"FCGI_MPXS_CONNS": "", "OTHER": ""}))))
    parser.feed(encode_record(Record(42, 0, b"")))

    values, unknown = RecordReader().feed(parser.replies())

    assert decode_pairs(values.content) == {"FCGI_MPXS_CONNS": "0"}
    assert (unknown.kind, unknown.content[0]) == (Kind.UNKNOWN_TYPE, 42)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([Record(Kind.BEGIN_REQUEST, 1, b"short")], "BEGIN_REQUEST of 5 bytes"),
        ([Record(Kind.BEGIN_REQUEST, 1, b"\0\x01" + bytes(6)), Record(Kind.STDIN, 1, b"x")], "before the end"),
        (
            [
                Record(Kind.BEGIN_REQUEST, 1, b"\0\x01" + bytes(6)),
                Record(Kind.PARAMS, 1, b""),
                Record(Kind.PARAMS, 1, b"\x01\x01NV"),
            ],
            "after their end",
        ),
    ],
)
def test_a_request_that_breaks_the_protocol_is_refused(records: list[Record], words: str) -> None:
    with pytest.raises(FastCGIError, match=words):
        requests(b"".join(map(encode_record, records)))


def test_a_request_longer_than_allowed_is_refused() -> None:
    with pytest.raises(FastCGIError, match="body is longer than 10 bytes"):
        RequestParser(limit=10).feed(encode_request({}, b"x" * 11))
    with pytest.raises(FastCGIError, match="parameters are longer"):
        requests(encode_request({"A": "x" * (1 << 20)}))
