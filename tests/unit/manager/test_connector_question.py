"""What comes over the connector socket is one question at a time, or it is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcgipm.manager.connectors.answer import Answer, Ending
from fcgipm.manager.connectors.question import MAX_HEAD, BadRequest, Question, Reader, encode, refuse

START = b"GET /v1/ensure HTTP/1.1\r\nHost: fcgipm\r\n"
GOOD = START + b"X-Fcgipm-App: blog\r\n\r\n"


def read(data: bytes) -> Question | None:
    """Give *data* to a reader at once, and byte by byte to another: both must say the same."""
    at_once = _result([data])
    assert _result([bytes((byte,)) for byte in data]) == at_once
    if isinstance(at_once, BadRequest):
        raise at_once
    return at_once


def _result(pieces: list[bytes]) -> Question | BadRequest | None:
    reader = Reader()
    try:
        found = [reader.feed(piece) for piece in pieces]
    except BadRequest as error:
        return _Same(str(error), error.status)
    return next((one for one in found if one is not None), None)


class _Same(BadRequest):
    """Equal where it says the same about the same kind of fault."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BadRequest) and self.status == other.status

    __hash__ = BadRequest.__hash__


def test_an_application_is_asked_for_by_its_name() -> None:
    assert read(GOOD) == Question("blog", keep=True)


def test_a_script_is_asked_for_by_its_path_as_it_is() -> None:
    path = "/srv/a b/%41?x=1&y#z\\\u00e4\udcff.fcgi".encode("utf-8", "surrogateescape")

    assert read(START + b"x-FCGIPM-path:  " + path + b" \r\n\r\n") == Question(
        "/srv/a b/%41?x=1&y#z\\\u00e4\udcff.fcgi", keep=True
    )


@pytest.mark.parametrize(
    ("head", "keep"),
    [
        (b"GET /v1/ensure HTTP/1.0\r\n", False),  # as nginx asks unless it is told otherwise
        (b"GET /v1/ensure HTTP/1.0\r\nConnection: keep-alive\r\n", True),
        (b"GET /v1/ensure HTTP/1.1\r\nConnection: close\r\n", False),
    ],
)
def test_the_connection_stays_as_http_has_it(head: bytes, keep: bool) -> None:
    assert read(head + b"X-Fcgipm-App: blog\r\n\r\n") == Question("blog", keep=keep)


def test_one_question_follows_the_other() -> None:
    reader = Reader()

    assert reader.feed(GOOD) == Question("blog", keep=True)
    assert reader.feed(GOOD[:20]) is None
    assert reader.feed(GOOD[20:].replace(b"blog", b"shop")) == Question("shop", keep=True)


@pytest.mark.parametrize(("data", "idle"), [(b"", True), (GOOD[:1], False), (GOOD, True)])
def test_it_is_idle_between_questions(data: bytes, idle: bool) -> None:
    reader = Reader()
    reader.feed(data)

    assert reader.idle is idle


def test_headers_of_a_visitor_do_no_harm() -> None:
    assert read(START + b"Cookie: a=b\r\nContent-Length: 0\r\nX-Fcgipm-App: blog\r\n\r\n") == Question(
        "blog", keep=True
    )


@pytest.mark.parametrize(
    ("data", "status"),
    [
        # not HTTP at all
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00", 400),
        (b"blog\r\n\r\n", 400),
        (b"GET /v1/ensure\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /v1/ensure HTTP/0.9\r\nX-Fcgipm-App: blog\r\n\r\n", 400),
        (b"GET /v1/ensure HTTP/1.2\r\nX-Fcgipm-App: blog\r\n\r\n", 400),
        (b"GET /v1/ensure HTTP/2.0\r\nX-Fcgipm-App: blog\r\n\r\n", 400),
        (b"FETCH /v1/ensure HTTP/1.1\r\nX-Fcgipm-App: blog\r\n\r\n", 400),
        # line ends and characters
        (START + b"X-Fcgipm-App: blog\n\n", 400),
        (START + b"X-Fcgipm-App: blog\r\n\n", 400),
        (START + b"X-Fcgipm-App: bl\rog\r\n\r\n", 400),
        (START + b"X-Fcgipm-App: bl\0og\r\n\r\n", 400),
        (START + b"X-Fcgipm-Path: /srv/a\x01\r\n\r\n", 400),
        (START + b"X-Fcgipm-App : blog\r\n\r\n", 400),
        (START + b"X-Fcgipm-App: blog\r\n folded\r\n\r\n", 400),
        (b"GET /v1/ensure HTTP/1.1\r\n X-Fcgipm-App: blog\r\n\r\n", 400),
        (b"GET /v1/en\0sure HTTP/1.1\r\nX-Fcgipm-App: blog\r\n\r\n", 400),
        # bodies, announced or not, and what hides one
        (START + b"X-Fcgipm-App: blog\r\nContent-Length: 3\r\n\r\nabc", 400),
        (START + b"X-Fcgipm-App: blog\r\nContent-Length: -1\r\n\r\n", 400),
        (START + b"X-Fcgipm-App: blog\r\nContent-Length: 00\r\nContent-Length: 0\r\n\r\n", 400),
        (START + b"X-Fcgipm-App: blog\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (START + b"X-Fcgipm-App: blog\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n", 400),
        (START + b"X-Fcgipm-App: blog\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (START + b"X-Fcgipm-App: blog\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
        (START + b"X-Fcgipm-App: blog\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 400),
        # not what is asked here
        (b"POST /v1/ensure HTTP/1.1\r\nX-Fcgipm-App: blog\r\nContent-Length: 0\r\n\r\n", 405),
        (b"HEAD /v1/ensure HTTP/1.1\r\nX-Fcgipm-App: blog\r\n\r\n", 405),
        (b"GET /v1/status HTTP/1.1\r\nX-Fcgipm-App: blog\r\n\r\n", 404),
        (b"GET /v1/ensure/ HTTP/1.1\r\nX-Fcgipm-App: blog\r\n\r\n", 404),
        (b"GET http://x/v1/ensure HTTP/1.1\r\nX-Fcgipm-App: blog\r\n\r\n", 404),
        (b"GET /v1/ensure?app=blog HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/ensure? HTTP/1.1\r\nX-Fcgipm-App: blog\r\n\r\n", 400),
        # nothing asked, or several things
        (START + b"\r\n", 400),
        (START + b"X-Fcgipm-App:\r\n\r\n", 400),
        (START + b"X-Fcgipm-App: /srv/a\r\n\r\n", 400),
        (START + b"X-Fcgipm-Path: srv/a\r\n\r\n", 400),
        (START + b"X-Fcgipm-Path: ../a\r\n\r\n", 400),
        (START + b"X-Fcgipm-App: blog\r\nX-Fcgipm-App: blog\r\n\r\n", 400),
        (START + b"X-Fcgipm-Path: /srv/a\r\nX-Fcgipm-App: blog\r\n\r\n", 400),  # as %0d%0a in a URL would make it
        # too much
        (START + b"X-Fcgipm-Path: /" + b"a" * MAX_HEAD + b"\r\n\r\n", 431),
        (START + b"Cookie: a\r\n" * 4000 + b"X-Fcgipm-App: blog\r\n\r\n", 431),
    ],
)
def test_what_is_no_question_is_refused(data: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as caught:
        read(data)
    assert caught.value.status == status


@pytest.mark.parametrize("more", [GOOD, b"G", b"\x00", b"0\r\n\r\n"])
def test_nothing_may_follow_a_question_before_its_answer(more: bytes) -> None:
    with pytest.raises(BadRequest):
        Reader().feed(GOOD + more)


def test_what_never_ends_is_refused_before_it_is_large() -> None:
    reader = Reader()
    for _ in range(MAX_HEAD // 1024):
        assert reader.feed(b"\r\n" * 512) is None  # empty lines before a request are no fault by themselves

    with pytest.raises(BadRequest, match="at most"):
        reader.feed(b"\r\n")


@given(st.lists(st.binary(max_size=60) | st.sampled_from([START, GOOD, b"\r\n", b"X-Fcgipm-App: a\r\n"]), max_size=6))
def test_whatever_comes_it_is_a_question_or_refused(pieces: list[bytes]) -> None:
    found = _result(pieces)

    assert found is None or isinstance(found, Question | BadRequest)


def test_the_answer_about_a_ready_application_has_its_address() -> None:
    answer = Answer(ending=Ending.READY, app="scripts/a", address="unix:/run/f/dynamic/scripts/a.sock")

    assert encode(answer, keep=True) == (
        b"HTTP/1.1 200 OK\r\nX-Fcgipm-Address: unix:/run/f/dynamic/scripts/a.sock\r\nX-Fcgipm-App: scripts/a\r\n"
        b"Content-Length: 0\r\nConnection: keep-alive\r\n\r\n"
    )


@pytest.mark.parametrize("ending", [Ending.REFUSED, Ending.BUSY, Ending.LATE])
def test_a_refusal_says_why_and_when_to_ask_again(ending: Ending) -> None:
    head, _, body = encode(
        Answer(ending=ending, app="blog", reason="blog is in back-off: exit\r\nstatus \u2713", retry_after=7),
        keep=False,
    ).partition(b"\r\n\r\n")

    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 503 Service Unavailable"
    assert "Retry-After: 7" in lines
    assert "X-Fcgipm-Reason: blog is in back-off: exit\\x0d\\x0astatus \u2713" in lines
    assert "Connection: close" in lines
    assert body.decode() == "blog is in back-off: exit\\x0d\\x0astatus \u2713\n"
    assert f"Content-Length: {len(body)}" in lines


def test_a_visitor_is_not_told_why_a_script_may_not_run() -> None:
    answer = encode(Answer(ending=Ending.FORBIDDEN, app="s/a", reason="/srv/s/a belongs to joe"), keep=True)

    assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"joe" not in answer
    assert b"Retry-After" not in answer


def test_an_unknown_application_is_404_and_a_long_name_is_cut() -> None:
    answer = encode(Answer(ending=Ending.UNKNOWN, app="x", reason="x" * 40_000), keep=True)

    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert len(answer) < 2000


def test_another_method_is_told_which_one_there_is() -> None:
    assert b"\r\nAllow: GET\r\n" in refuse(405, "no")
