"""Reports: what web servers write into them is understood, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcgipm.reporting import (
    LONGEST,
    MAX_DATAGRAM,
    REASONS,
    Lost,
    Malformed,
    Report,
    encode,
    parse,
    unescape,
    without_syslog,
)

TIMES = st.none() | st.integers(0, 86_400_000_000).map(lambda microseconds: microseconds / 1e6)
REPORTS = st.builds(
    Report,
    target=st.binary(min_size=1, max_size=80).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    status=st.integers(100, 599),
    connect=TIMES,
    header=TIMES,
    response=TIMES,
)


def read(line: bytes) -> Report:
    """Return the report that *line* is."""
    found = parse(line)
    assert isinstance(found, Report)
    return found


def test_every_field_is_read() -> None:
    assert parse(b"v1|404|0.001|0.250|1.5|blog") == Report(
        target="blog", status=404, connect=0.001, header=0.25, response=1.5
    )


def test_times_may_be_in_milliseconds_and_microseconds() -> None:
    report = read(b"v1|200|2us|3ms|1500000us|blog")

    assert (report.connect, report.header, report.response) == (2e-06, 0.003, 1.5)


@pytest.mark.parametrize("many", [b"0.001, 0.020", b"0.05 : 0.020", b"-, 0.020", b"- : -, 0.020", b"1.000,0.020"])
def test_of_a_list_the_last_time_counts(many: bytes) -> None:
    report = read(b"v1|200|%s|%s|%s|blog" % (many, many, many))

    assert (report.connect, report.header, report.response, report.reached) == (0.02, 0.02, 0.02, True)


@pytest.mark.parametrize("connect", [b"-", b"0.001, -", b"0.001 : -"])
def test_without_a_connect_time_the_application_was_not_reached(connect: bytes) -> None:
    report = read(b"v1|502|%s|-|0.000|blog" % connect)

    assert (report.connect, report.header, report.response, report.reached) == (None, None, 0.0, False)


def test_what_a_web_server_does_not_know_it_leaves_empty() -> None:
    assert parse(b"v1|200|||12us|blog") == Report(target="blog", status=200, response=1.2e-05)


def test_a_target_may_hold_everything_else() -> None:
    assert read(b"v1|200||||/srv/a|b c/%41?x").target == "/srv/a|b c/%41?x"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (rb"/a\x22b\x5Cc\x0A", b'/a"b\\c\n'),  # nginx
        (rb"/a\"b\\c\n\t\xe4", b'/a"b\\c\n\t\xe4'),  # Apache, lighttpd
        (rb"\\x41", rb"\x41"),
    ],
)
def test_escapes_are_undone_once(written: bytes, meant: bytes) -> None:
    assert unescape(written) == meant


@pytest.mark.parametrize("written", [b"\\", b"a\\", b"\\x4", b"\\xG0", b"\\q", b"\\\xe4"])
def test_other_backslashes_are_refused(written: bytes) -> None:
    with pytest.raises(Malformed, match="stands for nothing"):
        unescape(written)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "version"),
        (b"200|||1|blog", "version"),
        (b"v2|200||||blog", "version"),
        (b"v1", "format"),
        (b"v1|200|||0.1", "format"),
        (b"v1|200||||", "format"),
        (b"v1|lost|", "format"),
        (b"v1|lost|-1", "format"),
        (b"v1|lost|1|", "format"),
        (b"v1|lost|1000000000", "format"),
        (b"v1|099||||blog", "status"),
        (b"v1|600||||blog", "status"),
        (b"v1|-200||||blog", "status"),
        (b"v1|2e2||||blog", "status"),
        (b"v1|||||blog", "status"),
        (b"v1|200|||-0.001|blog", "time"),
        (b"v1|200|||-1|blog", "time"),
        (b"v1|200|||nan|blog", "time"),
        (b"v1|200|||inf|blog", "time"),
        (b"v1|200|||1e3|blog", "time"),
        (b"v1|200|||0x10|blog", "time"),
        (b"v1|200|||1_000|blog", "time"),
        (b"v1|200|||1 000|blog", "time"),
        (b"v1|200|||86400.001|blog", "time"),
        (b"v1|200|||18446744073709551615us|blog", "time"),  # a clock that was set back, unsigned
        (b"v1|200|0.1, |||blog", None),
        (b"v1|200|0.1, x|||blog", "time"),
        (b"v1|200|x-|||blog", "time"),
        (b"v1|200||||caf\xc3\xa9", "encoding"),
        (b"v1|200||||\xff\xfe", "encoding"),
        (b"v1|200||||a\0b", "encoding"),
        (b"v1|200||||a\nv1|200||||b", "encoding"),
        (b"v1|200||||a\\z", "encoding"),
        (b"v1|200||||" + b"a" * MAX_DATAGRAM, "length"),
    ],
)
def test_what_is_no_report_is_told_by_its_reason(line: bytes, reason: str | None) -> None:
    if reason is None:
        assert read(line).connect is None
        return
    with pytest.raises(Malformed) as caught:
        parse(line)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"<190>Nov 20 10:33:19 fcgipm: ",
        b"<6>Feb  3 00:00:00 fcgipm: ",
        b"<190>Nov 20 10:33:19 web.example nginx: ",
    ],
)
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_the_head_of_syslog_is_taken_off(head: bytes, end: bytes) -> None:
    assert without_syslog(head + b"v1|200||||a: b" + end) == b"v1|200||||a: b"


@pytest.mark.parametrize("head", [b"<190>", b"<1900>Nov 20 10:33:19 f: ", b"<190>Nov 20 f: ", b"<>x: ", b"<" * 40_000])
def test_what_only_looks_like_one_stays_and_is_no_report(head: bytes) -> None:
    with pytest.raises(Malformed):
        parse(without_syslog(head + b"v1|200||||blog"))


@given(REPORTS)
def test_what_is_encoded_can_be_read(report: Report) -> None:
    assert parse(encode(report)) == report


@pytest.mark.parametrize("count", [0, 1, 999_999_999])
def test_what_was_lost_is_told_as_a_number(count: int) -> None:
    assert parse(encode(Lost(count))) == Lost(count)
    assert parse(encode(Lost(count + 10**9))) == Lost(999_999_999)


def test_one_that_was_not_reached_stays_so() -> None:
    report = Report(target="blog", status=502, response=0.0, reached=False)

    assert parse(encode(report)) == report


PIECES = st.lists(st.binary(max_size=20) | st.sampled_from([b"200", b"0.1", b"-", b"blog", b"\\x41"]), max_size=8)


@given(st.binary(max_size=200) | PIECES.map(lambda pieces: b"v1|" + b"|".join(pieces)))
def test_whatever_arrives_it_is_a_report_or_malformed(data: bytes) -> None:
    found = _report(data)

    if isinstance(found, Malformed):
        assert found.reason in REASONS
    elif isinstance(found, Report):
        assert 100 <= found.status <= 599
        assert all(value is None or 0 <= value <= LONGEST for value in (found.connect, found.header, found.response))


def _report(data: bytes) -> Report | Lost | Malformed:
    try:
        return parse(without_syslog(data))
    except Malformed as error:
        return error
