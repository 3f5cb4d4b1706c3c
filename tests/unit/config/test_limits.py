"""Numbers that depend on each other: an accepted and a refused example of each rule."""

from __future__ import annotations

import pytest
from unit.config.conftest import Files

from fcgipm.config.concurrency import concurrency_of
from fcgipm.config.schema import SECOND, Application, Dynamic

APP = '[app.a]\ncommand = ["/bin/true"]\n'
DYNAMIC = '[dynamic]\nroots = [{ path = "/usr/bin" }]\n'
CGI = '[app.a]\ncommand = ["/usr/bin/php-cgi8.2"]\n'


def app(files: Files, text: str) -> Application:
    return files.load(text).config.applications["a"]


def dynamic(files: Files, text: str) -> Dynamic:
    table = files.load(text).config.dynamic
    assert table is not None
    return table


@pytest.mark.parametrize(
    ("lines", "least", "most"),
    [
        ("", 1, 1),
        ("processes = 4", 4, 4),
        ("max-processes = 4", 1, 4),
        ("max-processes = 1", 1, 1),
        ("min-processes = 4", 4, 4),
        ("min-processes = 0", 0, 1),
        ("min-processes = 2\nmax-processes = 4", 2, 4),
        ("min-processes = 4\nmax-processes = 4", 4, 4),
        ("min-processes = 0\nmax-processes = 1\nautostart = true\non-failure = 'exit'", 0, 1),
    ],
)
def test_ranges(files: Files, lines: str, least: int, most: int) -> None:
    found = app(files, APP + lines)

    assert (found.least, found.most, found.is_flexible) == (least, most, least < most)
    if "-processes" in lines:
        assert (found.processes, found.min_processes, found.max_processes) == (None, least, most)
    else:
        assert (found.processes, found.min_processes, found.max_processes) == (most, None, None)


TOGETHER = "write a fixed number or a range, not both"
IDLE = "write that, or leave idle-stop out"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            "processes = 4\nmax-processes = 5",
            f"3: app.a.processes: cannot be together with max-processes; {TOGETHER}",
        ),
        (
            "min-processes = 1\nmax-processes = 5\nprocesses = 4",
            f"5: app.a.processes: cannot be together with min-processes and max-processes; {TOGETHER}",
        ),
        (
            "min-processes = 6\nmax-processes = 5",
            "3: app.a.min-processes: 6 is more than max-processes, 5; at most that is allowed",
        ),
        ("min-processes = -1", "3: app.a.min-processes: -1 is out of range; allowed: 0 to 10000"),
        ("max-processes = 0", "3: app.a.max-processes: 0 is out of range; allowed: 1 to 10000"),
        (
            'idle-stop = "9s"',
            f"3: app.a.idle-stop: needs min-processes = 0, and this application keeps 1; {IDLE}",
        ),
        (
            'min-processes = 2\nidle-stop = "9s"',
            f"4: app.a.idle-stop: needs min-processes = 0, and this application keeps 2; {IDLE}",
        ),
        ("min-processes = 0\nidle-stop = 0", "4: app.a.idle-stop: 0 is out of range; allowed: at least 1s"),
        ("concurrency = 0", "3: app.a.concurrency: 0 is out of range; allowed: 1 to 100000"),
        ("kill-interval = 0.5", "3: app.a.kill-interval: 0.5 is out of range; allowed: at least 1s"),
        ("update-interval = 0", "3: app.a.update-interval: 0 is out of range; allowed: at least 1s"),
        ("start-delay = 0", "3: app.a.start-delay: 0 is out of range; allowed: more than 0"),
        ("multiThreshhold = 101", "3: app.a.multiThreshhold: 101 is out of range; allowed: 0 to 100"),
    ],
)
def test_numbers_that_cannot_be(files: Files, lines: str, problem: str) -> None:
    assert files.problems(APP + lines) == [problem]


def test_what_cannot_be_read_is_told_once(files: Files) -> None:
    assert len(files.problems(f"{APP}min-processes = 0\nmax-processes = 'x'\nidle-stop = 5")) == 1
    assert len(files.problems(f"{APP}min-processes = 3\nmax-processes = 'x'")) == 1


def test_idle_stop_of_defaults_is_for_those_who_can_use_it(files: Files) -> None:
    text = f'[defaults]\nidle-stop = 60\n{APP}[app.b]\ncommand = ["/bin/true"]\nmin-processes = 0\n'

    apps = files.load(text).config.applications
    assert (apps["a"].idle_stop, apps["b"].idle_stop) == (None, 60 * SECOND)


def test_the_historic_spellings(files: Files) -> None:
    found = app(files, f"{APP}singleThreshhold = 10\nMULTI_THRESHHOLD = 20")

    assert (found.single_threshold, found.multi_threshold) == (10, 20)


# ── concurrency ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("lines", "concurrency"),
    [
        ("", 1),
        ("initial-env = { PHP_FCGI_CHILDREN = 4 }", 4),
        ("initial-env = { PHP_FCGI_CHILDREN = '4' }\nconcurrency = 2", 2),
        ("initial-env = { PHP_FCGI_CHILDREN = 0 }", 1),
        ("initial-env = { PHP_FCGI_CHILDREN = 'many' }", 1),
        ("initial-env = { PHP_FCGI_CHILDREN = 999999999 }", 100_000),
        ('pass-env = ["PHP_FCGI_CHILDREN"]', 3),
    ],
)
def test_a_php_cgi_serves_as_many_as_it_has_children(files: Files, lines: str, concurrency: int) -> None:
    program = files.write("php-cgi8.2", "#!/bin/sh\n", mode=0o755)
    text = CGI.replace("/usr/bin/php-cgi8.2", program) + lines

    found = files.load(text, environ={"PHP_FCGI_CHILDREN": "3"}).config.applications["a"]
    assert found.concurrency == concurrency
    assert app(files, f"{APP}initial-env = {{ PHP_FCGI_CHILDREN = 4 }}").concurrency == 1


def test_the_children_may_be_in_an_env_file(files: Files) -> None:
    program = files.write("php-cgi", "#!/bin/sh\n", mode=0o755)
    variables = files.write("env", "PHP_FCGI_CHILDREN=7\n", mode=0o644)

    text = f'[app.a]\ncommand = ["{program}"]\nenv-file = "{variables}"'
    assert app(files, text).concurrency == 7


def test_suexec_keeps_the_children_from_php() -> None:
    environment = {"PHP_FCGI_CHILDREN": "4"}

    assert concurrency_of("/usr/bin/php-cgi", environment, "off") == 4
    assert concurrency_of("/usr/bin/php-cgi", environment, "/opt/wrapper") == 4
    assert concurrency_of("/usr/bin/php-cgi", environment, "/usr/lib/apache2/suexec") == 1


# ── [dynamic] ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_default_above_a_written_maximum_becomes_that_maximum(files: Files) -> None:
    small = dynamic(files, f"{DYNAMIC}max-processes = 3\nstart-timeout = 1")
    between = dynamic(files, f"{DYNAMIC}max-processes = 7")

    assert (small.max_class_processes, small.min_processes, small.process_slack) == (3, 3, 3)
    assert (between.max_class_processes, between.min_processes, between.process_slack) == (7, 5, 5)
    assert small.ready_timeout == SECOND


@pytest.mark.parametrize("key", ["max-class-processes", "min-processes", "process-slack"])
def test_a_written_value_above_a_maximum_is_refused(files: Files, key: str) -> None:
    assert files.problems(f"{DYNAMIC}max-processes = 7\n{key} = 8") == [
        f"4: dynamic.{key}: 8 is more than max-processes, 7; at most that is allowed"
    ]
    assert files.problems(f"{DYNAMIC}{key} = 51") == [
        f"3: dynamic.{key}: 51 is more than max-processes, 50; at most that is allowed"
    ]
    assert files.problems(f"{DYNAMIC}max-processes = 7\n{key} = 7") == []


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("max-class-processes = 0", "0 is out of range; allowed: 1 to 10000"),
        ("min-processes = -1", "-1 is out of range; allowed: 0 to 10000"),
        ("process-slack = -1", "-1 is out of range; allowed: 0 to 10000"),
        ("restart = 1", "1 is not allowed; allowed: true or false"),
        ("command = []", "cannot be given here: a script is its own program; roots say where scripts lie"),
        ("socket = 'x'", "cannot be given here: each script has a Unix socket of its own, below runtime-dir"),
        ("port = 1", "cannot be given here: each script has a Unix socket of its own, below runtime-dir"),
        ("allowedClients = []", "cannot be given here: each script has a Unix socket of its own, below runtime-dir"),
        ("uri = []", "cannot be given here: each of the roots has its own"),
        ("processes = 1", "cannot be given here: max-class-processes says how many instances a script may have, max-"),
        ("auto_start = true", "cannot be given here: a script is started when somebody comes"),
        ("on-failure = 'exit'", "cannot be given here: a script that nobody declared does not end the daemon"),
        ("directory = '/'", "cannot be given here: a script is started in its own directory"),
        ("match = '*'", "unknown key here; it belongs into one of the roots: roots = [{ path = … }]"),
        ("log = 'stderr'", "unknown key here; it belongs into [fcgipm]"),
        ("probe = {}", "cannot be given here: no request is answered by all scripts alike"),
        ("ready-timeout = 31", "31s is more than start-timeout, 30s; at most that is allowed"),
    ],
)
def test_what_the_table_cannot_have(files: Files, lines: str, problem: str) -> None:
    (found,) = files.problems(DYNAMIC + lines)
    assert found.startswith(f"3: dynamic.{lines.split(' = ', maxsplit=1)[0]}: {problem}")


@pytest.mark.parametrize("key", ["processes", "min-processes", "max-processes", "socket", "port", "command", "uri"])
def test_defaults_never_give_what_belongs_to_one_application(files: Files, key: str) -> None:
    (found,) = files.problems(f"[defaults]\n{key} = 1")
    assert found == f"2: defaults.{key}: [defaults] cannot give this; it belongs into each [app.NAME]"
