from __future__ import annotations

import tomllib

from fcgipm.config.schema import Application, External
from fcgipm.importing.found import Found, Place, Table
from fcgipm.importing.writer import render, summary


def written(*tables: Table) -> str:
    found = Found("httpd.conf", applications=list(tables))
    return "\n".join(render(found))


def table(name: str = "x", **values: object) -> Table:
    made = Table(Application, ("app", name), Place("httpd.conf", 3), "FastCgiServer  /srv/x\n")
    made.put("command", ["/srv/x"])
    for key, value in values.items():
        assert made.put(key.replace("_", "-"), value)
    return made


def test_keys_and_remarks_keep_their_order_and_tables_come_last() -> None:
    made = table(processes=2)
    made.put("initial-env", {"B": 'x"\n', "A C": ""})
    made.note("said in between")
    made.put("port", 9)
    made.put("processes", 3)
    made.put("fastcgi.debug", 1)

    assert written(made).split("\n")[2:] == [
        "",
        "# httpd.conf:3: FastCgiServer /srv/x",
        "[app.x]",
        'command = ["/srv/x"]',
        "processes = 3",
        "# NOTE: said in between",
        "port = 9",
        "fastcgi.debug = 1",
        "[app.x.initial-env]",
        'B = "x\\"\\n"',
        '"A C" = ""',
    ]


def test_what_cannot_be_a_table_is_a_comment_down_to_its_last_line() -> None:
    made = table()
    made.put("initial-env", {"A": "1"})
    made.unusable = "too good to be true"

    text = written(made)

    assert tomllib.loads(text) == {}
    assert "# NOT CARRIED OVER: too good to be true\n#[app.x]\n" in text
    assert '#[app.x.initial-env]\n#A = "1"' in text


def test_a_comment_is_a_comment_whatever_is_in_it() -> None:
    made = table()
    made.lose("odd\n[app.evil]\r\x1b[31m\x85\udcff", "word " * 60)

    text = written(made)

    assert tomllib.loads(text) == {"app": {"x": {"command": ["/srv/x"]}}}
    assert all(line.isprintable() and len(line) <= 120 for line in text.split("\n"))
    assert "odd\\x0a[app.evil]\\x0d\\x1b[31m" in text


def test_what_is_too_long_to_be_read_is_cut() -> None:
    made = table()
    made.note("x" * 10_000)

    assert max(len(line) for line in written(made).split("\n")) < 2100


def test_a_value_that_the_reader_would_not_take_becomes_a_remark() -> None:
    made = table()

    assert not made.put("port", 0, "-port 0")
    assert not made.add("uri", "no uri")
    assert not made.put("watch", ["x"])
    assert made.get("port") is None
    assert [remark.text.partition(":")[0] for remark in made.remarks()] == ["-port 0", "uri", "watch"]


def test_the_same_is_said_once() -> None:
    made = table()
    made.note("once")
    made.note("once")

    assert len(list(made.remarks())) == 1


def test_the_summary_counts_what_can_be_used() -> None:
    lost, good = table("y"), table()
    lost.unusable = "no"
    good.note("look")
    external = Table(External, ("external", "e"))

    assert summary(Found("f", applications=[good, lost], externals=[external])) == (
        "f: 1 application, 1 external application; 2 remarks, written as comments; 1 thing not carried over"
    )
    assert summary(Found("f", applications=[table()])) == "f: 1 application; 0 remarks"
