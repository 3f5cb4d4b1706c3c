from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcgipm.config.option import Kind, Option, options
from fcgipm.config.quantities import (
    LONGEST,
    duration_text,
    octal_text,
    read_duration,
    read_octal,
    read_signal,
    read_size,
    signal_name,
    size_text,
)
from fcgipm.config.schema import MILLISECOND, SECOND, Application, Daemon, Dynamic, External, Probe, Root
from fcgipm.config.values import _READERS, bounds, read

TABLES = (Daemon, Application, Dynamic, Root, External, Probe)
OPTIONS = {(table.__name__, key): option for table in TABLES for key, option, _field in options(table)}


def option(key: str, table: str = "Application") -> Option:
    return OPTIONS[table, key]


ACCEPTED: list[tuple[str, Any, Any]] = [
    ("restart-delay", 5, 5 * SECOND),
    ("restart-delay", 0.25, 250 * MILLISECOND),
    ("restart-delay", "250ms", 250 * MILLISECOND),
    ("restart-delay", "1.5h", 5400 * SECOND),
    ("restart-delay", "5 m", 300 * SECOND),
    ("restart-delay", "7", 7 * SECOND),
    ("ready-timeout", "0.000000001s", 1),
    ("priority", -20, -20),
    ("flush", True, True),
    ("socket-mode", "0660", 0o660),
    ("socket-mode", "0o600", 0o600),
    ("role", "authorizer", "authorizer"),
    ("document-root", "/srv//blog/./", "/srv/blog"),
    ("document-root", "/srv/../blog", "/srv/../blog"),
    ("document-root", "/", "/"),
    ("socket", "./sub//x.sock", "sub/x.sock"),
    ("socket", "/tmp/x.sock", "/tmp/x.sock"),
    ("command", ["/bin/x", "", "a b"], ("/bin/x", "", "a b")),
    ("pass-env", ["LANG", "é"], ("LANG", "é")),
    ("initial-env", {"A": 1, "B": True, "C": False, "D.E": "x=\n"}, {"A": "1", "B": "1", "C": "0", "D.E": "x=\n"}),
    ("rlimits", {"nofile": 4096, "core": "unlimited", "as": "256M"}, {"nofile": 4096, "core": -1, "as": 256 << 20}),
    ("rlimits", {"nofile": -1, "stack": "8 MiB"}, {"nofile": -1, "stack": 8 << 20}),
    ("user", "www-data", "www-data"),
    ("user", "#0", "#0"),
    ("groups", ["a", "#1"], ("a", "#1")),
    ("groups", [], ()),
    ("stop-signal", "TERM", 15),
    ("stop-signal", "sigusr1", 10),
    ("stop-signal", 15, 15),
    ("stop-signal", "34", 34),
    ("uri", ["/blog/", ".php", "/blog/"], ("/blog/", ".php")),
    ("uri", "/", ("/",)),
    ("fastcgi.map-extensions", {".php5": ".php"}, {".php5": ".php"}),
    ("wrapper", "off", "off"),
    ("wrapper", "/usr/lib/apache2/suexec", "/usr/lib/apache2/suexec"),
    ("address", "::1", "::1"),
    ("port", 65535, 65535),
    ("max-memory", "256M", 256 << 20),
    ("max-memory", 4096, 4096),
    ("max-memory", "2 GiB", 2 << 30),
    ("max-memory", "10k", 10 << 10),
    ("gain-value", 0, 0.0),
    ("gain-value", 0.3, 0.3),
    ("gain-value", 1, 1.0),
    ("overload-response", 503, "503"),
    ("overload-response", "503", "503"),
    ("overload-response", "none", "none"),
    ("policy", "classic", "classic"),
    ("multi-threshold", 100, 100),
    ("watch", ["/srv//a/*.py", "/srv/**/[a-c]?", "/srv/a/*.py"], ("/srv/a/*.py", "/srv/**/[a-c]?")),
    ("watch", [], ()),
    ("probe", {"uri": 3}, {"uri": 3}),
]

REJECTED: list[tuple[str, Any, str]] = [
    ("restart-delay", -1, "-1 is out of range; allowed: at least 0s"),
    ("restart-delay", True, "true is not allowed; allowed: seconds, or a text such as 90s"),
    ("restart-delay", math.nan, "nan is not allowed"),
    ("restart-delay", math.inf, "inf is not allowed"),
    ("restart-delay", "5d", '"5d" is not allowed; allowed: seconds'),
    ("restart-delay", "-5s", '"-5s" is not allowed'),
    ("restart-delay", "٥s", "is not allowed"),
    ("restart-delay", "8785h", "at most a year"),
    ("restart-delay", 10**30, "at most a year"),
    ("restart-delay", 1e308, "at most a year"),
    ("restart-delay", -1e308, "is out of range"),
    ("ready-timeout", 0, "0 is out of range; allowed: more than 0"),
    ("idle-timeout", "999ms", '"999ms" is out of range; allowed: at least 1s'),
    ("priority", 20, "20 is out of range; allowed: -20 to 19"),
    ("processes", 0, "0 is out of range; allowed: 1 to 10000"),
    ("processes", 1.5, "1.5 is not allowed; allowed: a whole number"),
    ("processes", "4", '"4" is not allowed; allowed: a whole number'),
    ("processes", True, "true is not allowed; allowed: a whole number"),
    ("port", 65536, "65536 is out of range; allowed: 1 to 65535"),
    ("flush", 1, "1 is not allowed; allowed: true or false"),
    ("socket-mode", 660, "660 is not allowed; allowed: octal digits as a text"),
    ("socket-mode", "0680", '"0680" is not allowed'),
    ("socket-mode", "1777", '"1777" is out of range; allowed: 0000 to 0777'),
    ("role", "filter", '"filter" is not allowed; allowed: "responder", "authorizer"'),
    ("document-root", "srv", '"srv" is not allowed; allowed: an absolute path'),
    ("document-root", "/srv\n", "without control characters"),
    ("document-root", "", '"" is not allowed'),
    ("document-root", ["/srv"], "is not allowed"),
    ("socket", "../x.sock", "a path inside runtime-dir"),
    ("socket", ".", "a path inside runtime-dir"),
    ("command", [], "[] is not allowed; allowed: list: program, then arguments"),
    ("command", "/bin/x", '"/bin/x" is not allowed; allowed: list'),
    ("command", ["php"], '"php" is not allowed; allowed: an absolute path'),
    ("command", ["/bin/x", 1], "1 is not allowed"),
    ("command", ["/bin/x", "a\0"], "text without NUL"),
    ("pass-env", ["A=B"], '"A=B" is not allowed'),
    ("pass-env", "LANG", '"LANG" is not allowed; allowed: list of texts'),
    ("pass-header", ["X; Y"], "is not allowed"),
    ("initial-env", {"A=": "x"}, '"A=" cannot name a variable'),
    ("initial-env", {"": "x"}, "cannot name a variable"),
    ("initial-env", {"A": "x\0"}, "a text without NUL"),
    ("initial-env", {"A": 1.5}, "A = 1.5: a text without NUL"),
    ("initial-env", ["A=1"], "is not allowed; allowed: table of NAME = value"),
    ("rlimits", {"files": 1}, '"files" is not a limit; allowed: as, '),
    ("rlimits", {"NOFILE": 1}, '"NOFILE" is not a limit'),
    ("rlimits", {"nofile": -2}, 'nofile = -2: a number from 0 or "unlimited" is allowed'),
    ("rlimits", {"nofile": "4K"}, 'nofile = "4K": a number from 0 or'),
    ("rlimits", {"core": 2**63}, "core = 9223372036854775808: a number from 0, a size"),
    ("rlimits", {"core": True}, "core = true"),
    ("rlimits", 5, "is not allowed; allowed: table of setrlimit names"),
    ("user", "#x", '"#x" is not allowed; allowed: #id'),
    ("user", "#4294967295", "allowed: #id with a number from 0 to 4294967294"),
    ("user", "a b", '"a b" is not allowed'),
    ("user", 33, "33 is not allowed; allowed: user or group name, or #id"),
    ("groups", "a", '"a" is not allowed; allowed: list of names'),
    ("stop-signal", "NOSUCH", '"NOSUCH" is not allowed'),
    ("stop-signal", 65, "65 is not allowed"),
    ("stop-signal", True, "true is not allowed"),
    ("stop-signal", "STOP", "does not ask a process to finish"),
    ("uri", ["blog/"], '"blog/" is not allowed; allowed: a prefix'),
    ("uri", ["/a b/"], "is not allowed"),
    ("uri", ["/a;}"], "is not allowed"),
    ("uri", [], "is not allowed"),
    ("fastcgi.map-extensions", {"php": ".php"}, '"php" is not allowed; allowed: an extension'),
    ("fastcgi.map-extensions", [], "is not allowed"),
    ("wrapper", "suexec", '"suexec" is not allowed; allowed: "off", "on" or an absolute path'),
    ("wrapper", False, "false is not allowed"),
    ("max-memory", 0, "0 is out of range; allowed: at least 1"),
    ("max-memory", -1, "-1 is out of range"),
    ("max-memory", "1.5G", '"1.5G" is not allowed; allowed: bytes, or a text such as 256M'),
    ("max-memory", 1.5, "1.5 is not allowed"),
    ("max-memory", True, "true is not allowed"),
    ("max-memory", "9999999999999999999G", "is out of range; at most 9223372036854775807 bytes"),
    ("gain-value", 1.01, "1.01 is out of range; allowed: 0 to 1"),
    ("gain-value", -0.1, "-0.1 is out of range; allowed: 0 to 1"),
    ("gain-value", 10**400, "is out of range; allowed: 0 to 1"),
    ("gain-value", math.nan, "nan is not allowed; allowed: number from 0 to 1"),
    ("gain-value", "0.5", '"0.5" is not allowed; allowed: number from 0 to 1'),
    ("gain-value", True, "true is not allowed"),
    ("overload-response", 502, '502 is not allowed; allowed: "none", "503"'),
    ("overload-response", True, 'true is not allowed; allowed: "none", "503"'),
    ("policy", "adaptive", '"adaptive" is not in this version; allowed: "classic"'),
    ("policy", "static", '"static" is not allowed; allowed: "classic"'),
    ("single-threshold", 101, "101 is out of range; allowed: 0 to 100"),
    ("address", "localhost", '"localhost" is not allowed; allowed: IPv4 or IPv6 address'),
    ("watch", "/srv/*.py", '"/srv/*.py" is not allowed; allowed: list of absolute paths with *, ?, [...] and **'),
    ("watch", ["lib/*.py"], '"lib/*.py" is not allowed; allowed: an absolute path'),
    ("watch", ["/srv/**"], '"/srv/**" is not allowed; allowed: an absolute path of files, without ".."'),
    ("watch", ["/srv/a**/x"], '"/srv/a**/x" is not allowed'),
    ("watch", ["/srv/../x"], '"/srv/../x" is not allowed'),
    ("watch", ["/"], '"/" is not allowed'),
    ("probe", "/ping", '"/ping" is not allowed; allowed: a table { uri, status, timeout }'),
]

ACCEPTED_ELSEWHERE: list[tuple[str, str, Any, Any]] = [
    ("External", "host", "a.example:80", ("a.example:80",)),
    ("External", "host", ["10.0.0.5:9000", "[::1]:9"], ("10.0.0.5:9000", "[::1]:9")),
    ("Daemon", "log", "syslog", "syslog"),
    ("Daemon", "log", "/var/log/x", "/var/log/x"),
    ("Daemon", "metrics-listen", "", ""),
    ("Daemon", "metrics-listen", "unix:/run/m.sock", "unix:/run/m.sock"),
    ("Daemon", "metrics-listen", "[::1]:1", "[::1]:1"),
    ("Dynamic", "roots", [], ()),
    ("Dynamic", "roots", [{"path": "/x"}], ({"path": "/x"},)),
    ("Root", "name", "fcgi-bin", "fcgi-bin"),
    ("Root", "match", "*.f[a-c]gi", "*.f[a-c]gi"),
    ("Root", "uri", "/fcgi-bin/", "/fcgi-bin/"),
    ("Probe", "uri", "/ping?a=%20&b", "/ping?a=%20&b"),
]

REJECTED_ELSEWHERE: list[tuple[str, str, Any, str]] = [
    ("External", "host", "a.example", "is not name:port"),
    ("External", "host", ["a:70000"], "the port must be 1 to 65535"),
    ("External", "host", "[x]:1", "is not name:port"),
    ("External", "host", "[1.2.3]:1", "1.2.3 is not an IPv6 address"),
    ("External", "host", [], "is not allowed"),
    ("Daemon", "log", "file", "allowed: stderr, syslog, journal, or an absolute path"),
    ("Daemon", "metrics-listen", "localhost:80", "is not allowed"),
    ("Daemon", "metrics-listen", "unix:m.sock", "is not allowed"),
    ("Daemon", "metrics-listen", "127.0.0.1:0", "the port must be 1 to 65535"),
    ("Daemon", "log-ring", 100_001, "allowed: 0 to 100000"),
    ("Dynamic", "roots", {"path": "/x"}, "is not allowed; allowed: list of tables, each with a path"),
    ("Dynamic", "roots", ["/x"], "is not allowed; allowed: list of tables, each with a path"),
    ("Root", "name", "a/b", '"a/b" is not allowed; allowed: letters, digits'),
    ("Root", "match", "bin/*", '"bin/*" is not allowed; allowed: a pattern of file names, such as *.fcgi, without "/"'),
    ("Root", "match", "", '"" is not allowed'),
    ("Root", "uri", ".php", '".php" is not allowed; allowed: a prefix such as /fcgi-bin/'),
    ("Root", "uri", ["/x/"], "is not allowed"),
    ("Probe", "uri", "ping", '"ping" is not allowed; allowed: a path with or without a query, such as /ping?full=1'),
    ("Probe", "uri", "/a b", '"/a b" is not allowed'),
    ("Probe", "uri", "/a#b", '"/a#b" is not allowed'),
    ("Probe", "uri", "/a\r\nb", "is not allowed"),
    ("Probe", "status", 99, "99 is out of range; allowed: 100 to 599"),
    ("Probe", "timeout", 0, "0 is out of range; allowed: more than 0"),
]


@pytest.mark.parametrize(("key", "value", "expected"), ACCEPTED)
def test_accepted(key: str, value: Any, expected: Any) -> None:
    assert read(option(key), value) == expected


@pytest.mark.parametrize(("key", "value", "text"), REJECTED)
def test_rejected(key: str, value: Any, text: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the text is looked at below
        read(option(key), value)
    assert text in str(caught.value)


@pytest.mark.parametrize(("table", "key", "value", "expected"), ACCEPTED_ELSEWHERE)
def test_accepted_elsewhere(table: str, key: str, value: Any, expected: Any) -> None:
    assert read(option(key, table), value) == expected


@pytest.mark.parametrize(("table", "key", "value", "text"), REJECTED_ELSEWHERE)
def test_rejected_elsewhere(table: str, key: str, value: Any, text: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the text is looked at below
        read(option(key, table), value)
    assert text in str(caught.value)


def test_every_kind_has_a_reader() -> None:
    assert set(_READERS) == set(Kind)


def test_every_kind_has_an_accepted_and_a_rejected_example() -> None:
    accepted = {option(key).kind for key, *_ in ACCEPTED}
    accepted |= {option(key, table).kind for table, key, *_ in ACCEPTED_ELSEWHERE}
    rejected = {option(key).kind for key, *_ in REJECTED}
    rejected |= {option(key, table).kind for table, key, *_ in REJECTED_ELSEWHERE}
    used = {item.kind for item in OPTIONS.values()}

    assert used - accepted == set()
    assert used - rejected == set()


def test_defaults_are_within_their_bounds() -> None:
    for table in TABLES:
        for item in fields(table):
            known: Option | None = item.metadata.get("option")
            if known is not None and isinstance(item.default, (int, float)) and not isinstance(item.default, bool):
                assert known.minimum is None or item.default >= known.minimum, item.name
                assert known.maximum is None or item.default <= known.maximum, item.name


def test_a_long_value_is_shown_short() -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the text is looked at below
        read(option("role"), "\x1b[2J" + "x" * 500)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 150


def test_bounds_in_words() -> None:
    assert bounds(option("processes")) == "1 to 10000"
    assert bounds(option("idle-timeout")) == "at least 1s"
    assert bounds(option("start-timeout")) == "more than 0"
    assert bounds(option("umask")) == "0000 to 0777"
    assert not bounds(option("role"))


@given(st.integers(min_value=0, max_value=LONGEST))
def test_durations_come_back(span: int) -> None:
    assert read_duration(duration_text(span)) == span


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_sizes_come_back(size: int) -> None:
    assert read_size(size_text(size)) == size


@given(st.integers(min_value=0, max_value=0o7777))
def test_permissions_come_back(mode: int) -> None:
    assert read_octal(octal_text(mode)) == mode


@given(st.integers(min_value=1, max_value=64).filter(lambda number: number not in {18, 19, 20, 21, 22}))
def test_signals_come_back(number: int) -> None:
    assert read_signal(signal_name(number)) == number


@given(
    st.sampled_from(sorted(OPTIONS)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    ),
)
def test_any_value_is_read_or_refused(key: tuple[str, str], value: Any) -> None:
    refusals = []
    try:
        read(OPTIONS[key], value)
    except ValueError as error:
        refusals.append(str(error))
    assert all(0 < len(text) < 400 for text in refusals)
