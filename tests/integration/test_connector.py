"""The connector socket: who asks for an application gets its address when it is ready, or why not."""

from __future__ import annotations

import array
import fcntl
import os
import re
import resource
import shutil
import socket
import sys
import termios
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import psutil
import pytest
from harness.daemon import Daemon
from harness.scripts import script, scripts
from harness.stage import Stage, app, staged
from harness.waiting import until

from fcgipm import wire
from fcgipm.config import schema
from fcgipm.config.schema import SECOND, Application, Root
from fcgipm.manager.connectors.connector import IN_ALL, PER_USER, SLOWEST
from fcgipm.manager.connectors.question import MAX_HEAD
from fcgipm.reporting import APACHE, LIGHTTPD, MAX_DATAGRAM, NGINX


@dataclass(frozen=True)
class Reply:
    """An answer of the connector socket."""

    status: int
    headers: dict[str, str]
    body: str


class Asker:
    """One connection to the connector socket."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX)  # blocking while it connects: else a full queue is an error
        self.sock.connect(str(path))
        self.sock.settimeout(30)
        self._file = self.sock.makefile("rb")

    def ask(self, target: str) -> Reply:
        """Ask for an application or a script, and wait for the answer."""
        self.send(target)
        return self.reply()

    def send(self, target: str) -> None:
        """Ask, and do not wait."""
        name = "Path" if target.startswith("/") else "App"
        question = f"GET /v1/ensure HTTP/1.1\r\nHost: f\r\nX-Fcgipm-{name}: {target}\r\n\r\n"
        self.sock.sendall(os.fsencode(question))

    def reply(self) -> Reply:
        """Return the next answer; EOFError where the connection was closed."""
        first = self._file.readline()
        if not first:
            raise EOFError
        headers = {}
        while (line := self._file.readline().decode("utf-8", "surrogateescape").rstrip("\r\n")) != "":
            name, _, value = line.partition(": ")
            headers[name] = value
        body = self._file.read(int(headers["Content-Length"])).decode()
        return Reply(int(first.split()[1]), headers, body)

    def is_closed(self) -> bool:
        """Return whether the other end has closed; waits for it, or for data."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """Go."""
        self._file.close()
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ask(stage: Stage, target: str) -> Reply:
    """Ask over a connection of its own."""
    with Asker(stage.connector) as asker:
        return asker.ask(target)


def on_demand(name: str = "blog", **more: Any) -> Application:
    """Return an application that is started when somebody comes."""
    return app(name, processes=None, min_processes=0, max_processes=2, **more)


@contextmanager
def listening(place: Path, name: str) -> Iterator[int]:
    """Listen as the keeper does, and give the socket's inode."""
    (place / "private").mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(place / "private" / f"{name}.1"))
        sock.listen()
        yield os.fstat(sock.fileno()).st_ino


# ── by name ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_ready_application_is_told_at_once_with_its_address(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        with Asker(stage.connector) as asker:
            for _ in range(3):  # over one connection
                reply = asker.ask("blog")
                assert (reply.status, reply.body) == (200, "")
                assert reply.headers["X-Fcgipm-Address"] == f"unix:{place}/blog.sock"
                assert reply.headers["X-Fcgipm-App"] == "blog"


def test_the_address_of_a_tcp_application_has_host_and_port(place: Path) -> None:
    with staged(place, app(port=4711, address="::1")) as stage:
        stage.wait_ready("blog", 1)

        assert ask(stage, "blog").headers["X-Fcgipm-Address"] == "tcp:[::1]:4711"


def test_who_asks_starts_an_instance_and_waits_until_it_is_ready(place: Path) -> None:
    with staged(place, on_demand()) as stage:
        assert not stage.given(wire.Spawn)

        assert ask(stage, "blog").status == 200
        assert len(stage.given(wire.Spawn)) == 1


def test_many_who_ask_at_once_start_one_instance_and_are_all_answered(place: Path) -> None:
    with staged(place, on_demand(), slow=True) as stage, ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(ask, stage, "blog") for _ in range(40)]
        (spawn,) = until(lambda: stage.given(wire.Spawn), what="an instance is ordered")
        until(lambda: _waiting(stage) >= 40, what="all have asked")
        assert not any(answer.done() for answer in answers)

        stage.make_ready(spawn.instance)

        assert [answer.result(30).status for answer in answers] == [200] * 40
        assert len(stage.given(wire.Spawn)) == 1


def _waiting(stage: Stage) -> int:
    """Return how many connections of connectors the manager has taken."""
    rows = Path("/proc/net/unix").read_text().splitlines()
    taken = [row for row in rows if row.endswith(f" {stage.connector}") and row.split()[5] == "03"]
    return len(taken)


def test_an_unknown_application_is_not_found(place: Path) -> None:
    with staged(place, app()) as stage:
        reply = ask(stage, "shop")

        assert (reply.status, reply.body) == (404, "shop is not known\n")
        assert "Retry-After" not in reply.headers


def test_a_stopped_application_is_refused_and_stays_stopped(place: Path) -> None:
    with staged(place, app(autostart=False)) as stage:
        reply = ask(stage, "blog")

        assert reply.status == 503
        assert reply.headers["X-Fcgipm-Reason"] == "blog is stopped by an operator"
        assert int(reply.headers["Retry-After"]) >= 1
        assert not stage.given(wire.Spawn)


def test_an_application_in_back_off_is_refused_until_its_next_start(place: Path) -> None:
    with listening(place, "blog") as inode, staged(
        place, on_demand(restart_delay=0), failing=frozenset({"blog"}), inodes={"blog": inode}
    ) as stage:  # fmt: skip
        reply = ask(stage, "blog")

        assert reply.status == 503
        assert "back-off" in reply.headers["X-Fcgipm-Reason"]
        assert "no such file" in reply.body
        assert 500 < int(reply.headers["Retry-After"]) <= 600
        assert len(stage.given(wire.Spawn)) == 3  # it waited through the tries that were left


def test_nobody_waits_longer_than_a_start_may_take(place: Path) -> None:
    with staged(place, on_demand(start_timeout=SECOND // 4), slow=True) as stage:
        reply = ask(stage, "blog")

        assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
        assert reply.body == "no instance of blog was ready within 0.2 s\n"


def test_a_client_that_goes_is_forgotten(place: Path) -> None:
    with staged(place, on_demand(), slow=True) as stage:
        for _ in range(5):
            with Asker(stage.connector) as asker:
                asker.send("blog")
                until(lambda: stage.given(wire.Spawn))
                until(lambda: _waiting(stage) == 1, what="it waits")
            until(lambda: _waiting(stage) == 0, what="its connection is closed")

        stage.make_ready(stage.given(wire.Spawn)[0].instance)

        assert ask(stage, "blog").status == 200
        assert b'fcgipm_asks_total{result="ready"} 1.0' in stage.ask("GET", "/metrics").body  # nobody else was answered


def test_a_restarted_manager_answers_the_next_question(place: Path) -> None:
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        with Asker(stage.connector) as asker:
            assert asker.ask("blog").status == 200
            stage.lower_curtain()
            stage.raise_curtain()
            assert asker.is_closed()

        assert ask(stage, "blog").status == 200


# ── by path ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_script_is_opened_started_and_told_with_its_name(place: Path) -> None:
    with staged(place, dynamic=scripts(place), scripts={"fcgi/sub/a.fcgi": None}) as stage:
        path = script(place, "sub/a.fcgi")

        reply = ask(stage, path)

        assert reply.status == 200
        assert reply.headers["X-Fcgipm-App"] == "fcgi/sub/a.fcgi"
        assert reply.headers["X-Fcgipm-Address"] == f"unix:{place}/fcgi.sub.a.fcgi"
        assert stage.given(wire.Open) == [wire.Open(root="fcgi", path="sub/a.fcgi")]


@pytest.mark.parametrize(
    "rest", ["/more/path", "/", "//x", "/../b.fcgi", "/a.fcgi", "/%2e%2e/\u00e4\udcff b?c=d", "/" * 99]
)
def test_path_info_may_follow_whatever_it_is(place: Path, rest: str) -> None:
    with staged(place, dynamic=scripts(place), scripts={"fcgi/a.fcgi": None}) as stage:
        path = script(place, "a.fcgi")

        first, again = ask(stage, path + rest), ask(stage, path + rest)

        assert (first.status, again.status) == (200, 200)
        assert first.headers["X-Fcgipm-App"] == "fcgi/a.fcgi"
        assert len(stage.given(wire.Open)) == 1


def test_a_script_may_be_asked_for_by_its_name(place: Path) -> None:
    with staged(place, dynamic=scripts(place), scripts={"fcgi/a.fcgi": None}) as stage:
        script(place, "a.fcgi")

        assert ask(stage, "fcgi/a.fcgi").status == 200
        assert ask(stage, "fcgi/b.fcgi").status == 404
        assert ask(stage, "other/a.fcgi").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/fcgi/b.fcgi",
        "/fcgi/sub/b.fcgi",
        "/fcgi",
        "/fcgi/",
        "/fcgi/sub",
        "/fcgi/../fcgi/a.fcgi",
        "/fcgi/./a.fcgi",
        "/fcgi//a.fcgi",
        "/elsewhere/a.fcgi",
        "/fcgi-not/a.fcgi",
        "/fcgi/a.fcgi.bak",
        "/fcgi/a%2efcgi",
        "/fcgi/\u00e4.fcgi",
        "/fcgi/\udcff.fcgi",
        "/fcgi/" + "a" * 5000,
        "/fcgi" + "/a" * 5000,
    ],
)
def test_what_is_no_script_is_not_found_and_nobody_else_is_asked(place: Path, path: str) -> None:
    with staged(place, dynamic=scripts(place)) as stage:
        script(place, "a.fcgi")
        script(place, "sub/README")

        reply = ask(stage, f"{place}{path}")

        assert reply.status == 404
        assert not stage.given(wire.Open)


@pytest.mark.parametrize(
    ("name", "why"),
    [("README", "does not match"), ("a b.fcgi", "other characters"), ("\udcff.fcgi", "other characters")],
)
def test_a_file_that_can_be_no_application_is_forbidden(place: Path, name: str, why: str) -> None:
    with staged(place, dynamic=scripts(place)) as stage:
        path = script(place, name)

        assert [ask(stage, path + rest).status for rest in ("", "/x", "/y")] == [403, 403, 403]

        log = stage.log.read_text()
        told = name.encode("utf-8", "backslashreplace").decode()
        assert len(re.findall(f"cannot run the script fcgi/{re.escape(told)}: .*{why}", log)) == 1
        assert not stage.given(wire.Open)


def test_why_a_script_may_not_run_is_in_the_log_once_and_not_in_the_answer(place: Path) -> None:
    why = "it belongs to joe"
    with staged(place, dynamic=scripts(place), scripts={"fcgi/a.fcgi": why}) as stage:
        path = script(place, "a.fcgi")

        replies = [ask(stage, path) for _ in range(3)]

        assert [reply.status for reply in replies] == [403, 403, 403]
        assert "joe" not in replies[0].body
        assert stage.log.read_text().count(why) == 1
        assert len(stage.given(wire.Open)) == 3  # it may be mended at any time

        stage.scripts = {"fcgi/a.fcgi": "it is writable by everybody"}
        assert ask(stage, path).status == 403
        assert stage.log.read_text().count("it is writable by everybody") == 1

        stage.scripts = {"fcgi/a.fcgi": None}
        assert ask(stage, path).status == 200


@pytest.mark.root
def test_where_the_manager_may_not_look_the_keeper_is_asked(place: Path) -> None:
    with staged(place, dynamic=scripts(place), scripts={"fcgi/sub/a.fcgi": None}, uid=4711) as stage:
        path = script(place, "sub/a.fcgi")
        (place / "fcgi" / "sub").chmod(0o700)

        assert ask(stage, f"{path}/more").status == 200
        assert stage.given(wire.Open) == [wire.Open(root="fcgi", path="sub/a.fcgi")]
        assert ask(stage, f"{place}/fcgi/sub/b.fcgi/more").status == 404


def served_to(uid: int) -> schema.Daemon:
    """Return the table [fcgipm] by which scripts run as *uid*, which has an account."""
    return schema.Daemon(web_user=f"#{uid}")


@pytest.mark.root
def test_directories_on_a_hidden_way_are_no_scripts(place: Path) -> None:
    dynamic = replace(scripts(place), roots=(Root(path=f"{place}/fcgi", name="fcgi", match="*"),))
    with staged(
        place, dynamic=dynamic, scripts={"fcgi/sub/a": None, "fcgi/sub/b": "it belongs to joe"}, uid=4711
    ) as stage:
        path = script(place, "sub/a")
        (place / "fcgi").chmod(0o700)

        assert ask(stage, path).status == 200
        assert "cannot run" not in stage.log.read_text()
        assert [ask(stage, f"{place}/fcgi/sub{rest}").status for rest in ("", "/", "/b", "/b/x/y")] == [
            404,
            404,
            403,
            403,
        ]
        assert re.findall("cannot run the script ([^:]*):", stage.log.read_text()) == ["fcgi/sub/b"]


@pytest.mark.root
def test_a_root_that_only_its_user_may_enter_serves_what_is_below(
    start_daemon: Callable[..., Daemon], place: Path
) -> None:
    (place / "fcgi" / "sub").mkdir(parents=True)
    for name, mode in (("a", 0o755), ("b", 0o757)):
        (place / "fcgi" / "sub" / name).write_text(
            f"#!{sys.executable}\nfrom fcgipm.demo import main\nraise SystemExit(main())\n"
        )
        (place / "fcgi" / "sub" / name).chmod(mode)
    for path in (place / "fcgi", place / "fcgi" / "sub"):
        path.chmod(0o700)
        shutil.chown(path, "www-data", "www-data")
    daemon = start_daemon(f'[dynamic]\nroots = [{{ path = "{place}/fcgi", match = "*" }}]', wait="answering")

    with Asker(daemon.runtime / "connector.sock") as asker:
        statuses = [
            asker.ask(f"{place}/fcgi/{path}").status for path in ("sub/a", "sub/a/x", "sub/b", "sub/b/x", "sub")
        ]

    assert statuses == [200, 200, 403, 403, 404]
    assert re.findall("cannot run the script ([^:]*):", daemon.log()) == ["fcgi/sub/b"]


@pytest.mark.parametrize(
    ("where", "mode", "why"),
    [
        ("sub/a.fcgi", 0o757, "everybody may write it"),
        ("sub/a.fcgi", 0o644, "is not executable"),
        ("sub", 0o757, "everybody may write it"),
        ("", 0o1777, "everybody may write it"),
    ],
)
def test_what_is_seen_not_to_be_allowed_is_refused_without_asking_the_keeper(
    place: Path, where: str, mode: int, why: str
) -> None:
    with staged(
        place, dynamic=scripts(place), scripts={"fcgi/sub/a.fcgi": None}, daemon=served_to(os.geteuid())
    ) as stage:
        path, changed = script(place, "sub/a.fcgi"), place / "fcgi" / where
        before = changed.stat().st_mode
        changed.chmod(mode)

        assert [ask(stage, path + rest).status for rest in ("", "/x")] == [403, 403]

        assert not stage.given(wire.Open)
        (told,) = re.findall("cannot run the script fcgi/sub/a.fcgi: (.*)", stage.log.read_text())
        assert told.startswith(str(changed))
        assert why in told
        changed.chmod(before)
        assert ask(stage, path).status == 200
        assert len(stage.given(wire.Open)) == 1


def test_no_link_is_followed_and_the_keeper_not_asked(place: Path) -> None:
    with staged(place, dynamic=scripts(place), scripts={"fcgi/b.fcgi": None}) as stage:
        script(place, "a.fcgi")
        (place / "fcgi" / "b.fcgi").symlink_to("a.fcgi")

        assert ask(stage, f"{place}/fcgi/b.fcgi").status == 403
        assert not stage.given(wire.Open)


@pytest.mark.root
def test_owners_and_groups_are_judged_by_who_the_keeper_is_and_not_by_the_manager(place: Path) -> None:
    dynamic = scripts(place)
    dynamic = replace(dynamic, roots=(replace(dynamic.roots[0], user="#4713", group="#4713"),))
    with staged(place, dynamic=dynamic, scripts={"fcgi/a.fcgi": None}, uid=4711) as stage:
        path = script(place, "a.fcgi")
        for uid, gid, status in ((4712, 0, 403), (4711, 0, 403), (0, 4711, 403)):
            os.chown(path, uid, gid)
            os.chmod(path, 0o775)
            assert ask(stage, path).status == status
        assert not stage.given(wire.Open)
        os.chown(path, 4713, 4713)
        os.chmod(path, 0o775)
        assert ask(stage, path).status == 200


def test_ten_thousand_different_paths_leave_nothing_behind(place: Path) -> None:
    with staged(place, dynamic=scripts(place)) as stage:
        manager = psutil.Process(stage.manager.pid)
        with Asker(stage.connector) as asker:
            _ask_for_many(asker, place, "warm", 500)
            before = manager.memory_info().rss

            _ask_for_many(asker, place, "flood", 10_000)

        assert manager.memory_info().rss - before < 512 * 1024
        assert not stage.given(wire.Open)
        assert stage.ask("GET", "/v1/status").document["apps"] == []
        assert "flood" not in stage.log.read_text()


@pytest.mark.root
def test_paths_that_only_the_keeper_can_look_for_leave_nothing_in_its_books(
    start_daemon: Callable[..., Daemon], place: Path
) -> None:
    scripts(place)
    (place / "fcgi" / "hidden").mkdir(mode=0o700)
    daemon = start_daemon(f'[dynamic]\nroots = [{{ path = "{place}/fcgi" }}]', wait="answering")
    keeper = psutil.Process(daemon.pid)
    with Asker(daemon.runtime / "connector.sock") as asker:
        _ask_for_many(asker, place, "hidden/a", 10)
        before = keeper.num_fds(), keeper.memory_info().rss

        _ask_for_many(asker, place, "hidden/b", 700)  # beyond 500 the keeper looks at 100 a second

    assert keeper.num_fds() == before[0]
    assert keeper.memory_info().rss - before[1] < 512 * 1024
    assert daemon.status()["apps"] == []
    assert not any(path.is_socket() for path in (daemon.runtime / "dynamic").rglob("*"))
    assert len(os.listdir(daemon.runtime / "private")) == len(["control.1", "connector.1", "report.1"])
    assert "hidden" not in daemon.log()


def _ask_for_many(asker: Asker, place: Path, name: str, count: int) -> None:
    for number in range(count):
        assert asker.ask(f"{place}/fcgi/{name}-{number}.fcgi").status == 404


def test_many_scripts_that_may_not_run_are_not_all_remembered_or_told(place: Path) -> None:
    with staged(place, dynamic=scripts(place)) as stage:
        manager = psutil.Process(stage.manager.pid)
        names = [f"{number}-{'x' * 100}" for number in range(1_000)]
        for name in names:
            script(place, name)
        with Asker(stage.connector) as asker:
            for name in names[:300]:
                assert asker.ask(f"{place}/fcgi/{name}").status == 403
            before = manager.memory_info().rss
            for name in names:
                assert asker.ask(f"{place}/fcgi/{name}").status == 403

        assert manager.memory_info().rss - before < 512 * 1024
        assert stage.log.read_text().count("cannot run the script") == 20


def test_a_keeper_that_is_slow_to_look_is_asked_about_few_scripts_at_once(place: Path) -> None:
    with staged(place, dynamic=scripts(place), deaf=True) as stage, ThreadPoolExecutor(50) as pool:
        paths = [script(place, f"{number}.fcgi") for number in range(20)]
        stage.scripts = {f"fcgi/{number}.fcgi": None for number in range(20)}
        answers = [pool.submit(ask, stage, path) for path in paths for _ in range(2)]
        until(lambda: _waiting(stage) >= 40)
        until(lambda: stage.given(wire.Open))
        assert len(stage.given(wire.Open)) <= 8

        stage.listen_again()

        assert {answer.result(30).status for answer in answers} == {200}
        assert len(stage.given(wire.Open)) == 20


def test_limits_are_as_documented() -> None:
    page = " ".join((Path(__file__).parents[2] / "docs/connector-protocol.md").read_text().split())

    assert f"more than {MAX_HEAD // 1024} KiB" in page
    assert f"A user may have {PER_USER:,} connections, all together {IN_ALL:,}" in page
    assert f"nothing comes for {SLOWEST:g} seconds" in page
    assert f"at most {MAX_DATAGRAM // 1024} KiB" in page
    for begins in (NGINX, APACHE, LIGHTTPD):
        assert f"{begins}blog" in page.replace("\\|", "|")


# ── bad input ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def ready(place: Path) -> Iterator[Stage]:
    """Give a manager with an application that is ready."""
    with staged(place, app()) as stage:
        stage.wait_ready("blog", 1)
        yield stage


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),
        (b"GET /v1/ensure HTTP/1.1\r\nX-Fcgipm-App: blog\n\n", 400),
        (b"GET /v1/ensure HTTP/1.1\r\nX-Fcgipm-App: blog\r\nContent-Length: 1\r\n\r\nx", 400),
        (b"GET /v1/ensure HTTP/1.1\r\nX-Fcgipm-App: blog\r\nX-Fcgipm-App: blog\r\n\r\n", 400),
        (b"GET /v1/ensure HTTP/1.1\r\nX-Fcgipm-App: blog\r\n\r\n" * 2, 400),
        (b"POST /v1/ensure HTTP/1.1\r\nX-Fcgipm-App: blog\r\n\r\n", 405),
        (b"GET /v1/ensure HTTP/1.1\r\nX-Fcgipm-App: " + b"a" * 40_000, 431),
    ],
)
def test_what_is_no_question_is_refused_and_the_connection_closed(ready: Stage, data: bytes, status: int) -> None:
    with Asker(ready.connector) as asker:
        asker.sock.sendall(data)
        assert asker.reply().status == status
        assert asker.is_closed()

    assert ask(ready, "blog").status == 200


def test_a_question_behind_another_that_waits_is_refused(place: Path) -> None:
    with staged(place, on_demand(), slow=True) as stage, Asker(stage.connector) as asker:
        asker.send("blog")
        until(lambda: stage.given(wire.Spawn))

        asker.send("blog")

        assert asker.reply().status == 400
        assert asker.is_closed()


def test_slow_clients_are_cut_off(ready: Stage) -> None:
    with Asker(ready.connector) as silent, Asker(ready.connector) as slow, Asker(ready.connector) as idle:
        slow.sock.sendall(b"GET /v1/ensure HT")
        assert idle.ask("blog").status == 200

        assert silent.is_closed()
        assert slow.is_closed()
        assert idle.is_closed()


def test_who_asks_without_taking_answers_is_cut_off(ready: Stage) -> None:
    with Asker(ready.connector) as asker:
        asked = 0
        with suppress(BrokenPipeError, ConnectionResetError):
            while asked < 50_000:
                asker.send("blog")
                asked += 1
                until(lambda: _unread(asker.sock) == 0, what="the question is read: another is no fault by itself")

        assert 300 < asked < 50_000  # what the socket holds of answers, and 64 KiB
        first = asker.reply()
        assert first.status == 200


def _unread(sock: socket.socket) -> int:
    """Return how much the other end has not read yet."""
    size = array.array("i", [0])
    fcntl.ioctl(sock, termios.TIOCOUTQ, size)
    return size[0]


def test_there_is_a_limit_for_connections_and_it_is_told_once(ready: Stage) -> None:
    askers: list[Asker] = []
    try:
        refused = None
        while refused is None and len(askers) < 1100:
            askers.append(Asker(ready.connector))
            if len(askers) % 64 == 0 or len(askers) > 1020:
                refused = _refusal(askers[-1])
        assert refused is not None
        assert refused.status == 503
        assert refused.headers["Retry-After"] == "1"
        askers.append(Asker(ready.connector))
        assert _refusal(askers[-1]) is not None
        log = ready.log.read_text()
        assert log.count("connector.sock refuses a connection") == 1
        assert ready.ask("GET", "/v1/status").status == 200
    finally:
        for asker in askers:
            asker.close()
    until(lambda: ask(ready, "blog").status == 200)


@pytest.mark.root
def test_a_manager_without_descriptors_takes_connections_again_when_there_are_some(ready: Stage) -> None:
    pid = ready.manager.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    most = psutil.Process(pid).num_fds() + 5
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, before[1]))
    askers = [Asker(ready.connector) for _ in range(20)]
    until(lambda: "no more connections can be taken for now" in ready.log.read_text(), what="it says so")
    for asker in askers:
        asker.close()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    assert ask(ready, "blog").status == 200
    assert ready.manager.poll() is None
    assert ready.log.read_text().count("no more connections") == 1


def _refusal(asker: Asker) -> Reply | None:
    try:
        reply = asker.ask("blog")
    except BrokenPipeError:
        reply = asker.reply()
    return reply if reply.status == 503 else None
