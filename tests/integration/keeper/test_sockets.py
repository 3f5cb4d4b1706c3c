"""The keeper's sockets: from the first moment as they should be, and nobody else's."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.daemon import FCGIPM, configuration
from harness.keeper import SERVE, Rig, listens_blocking, python
from harness.ports import free_port
from harness.waiting import ended, until

from fcgipm import wire

Start = Callable[..., Rig]


ONE = f"[app.one]\n{python(SERVE)}\n"


def refusal(place: Path, apps: str, daemon: str = "") -> str:
    """Run ``fcgipm start``, which must refuse, and return what it says."""
    config = place / "refused.toml"
    config.write_text(configuration(place / "run", apps, daemon))
    done = subprocess.run(
        [FCGIPM, "start", "--foreground", str(config)], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 1, done
    return done.stderr


def test_a_socket_is_complete_and_public_before_there_is_any_instance(rig: Start) -> None:
    keeper = rig(f"{ONE}socket-mode = '0604'\nlisten-queue-depth = 7\n")
    puppet = keeper.puppet()

    found = keeper.socket("one").stat()

    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o604
    assert found.st_nlink == 2
    (fact,) = puppet.snapshot.listeners
    assert (fact.generation, fact.published, fact.address) == (1, True, f"unix:{keeper.socket('one')}")
    assert fact.bound == str(keeper.runtime / "private" / "one.1")
    assert stat.S_IMODE((keeper.runtime / "private").stat().st_mode) == 0o700
    assert stat.S_IMODE(keeper.runtime.stat().st_mode) == 0o711
    assert stat.S_IMODE((keeper.runtime / "control.sock").stat().st_mode) == 0o666
    assert listens_blocking(keeper.pid, fact.bound) == [True]
    assert ("control", None) in puppet.handed
    assert ("log", None) in puppet.handed


@pytest.mark.root
def test_owner_and_group_are_those_of_the_configuration(rig: Start) -> None:
    keeper = rig(f"{ONE}socket-owner = '#4711'\nsocket-group = '#4712'\n")
    keeper.puppet()

    found = keeper.socket("one").stat()

    assert (found.st_uid, found.st_gid) == (4711, 4712)


def test_a_visitor_is_served_through_the_public_path(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()

    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(keeper.socket("one")))  # before there is an instance: it waits
        puppet.spawn("one", 1)
        visitor.sendall(b"x")
        visitor.settimeout(10)
        assert visitor.recv(1) == b""


def test_nothing_is_left_of_sockets_and_directories_at_the_end(rig: Start, place: Path) -> None:
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    keeper = rig(f"{ONE}[app.two]\n{python(SERVE)}\nsocket = '{elsewhere}/two.sock'\n")
    keeper.puppet()
    assert (elsewhere / "two.sock").exists()

    keeper.stop()

    assert not keeper.runtime.exists()
    assert os.listdir(elsewhere) == []


def test_a_public_path_that_is_somebody_elses_by_now_is_left_alone_at_the_end(rig: Start) -> None:
    keeper = rig(ONE)
    keeper.puppet()
    keeper.socket("one").unlink()
    keeper.logged("linked again")
    other = keeper.runtime / "other"
    other.write_text("mine")
    other.rename(keeper.socket("one"))
    keeper.logged("replaced by somebody else")

    keeper.stop()

    assert keeper.socket("one").read_text() == "mine"


def test_a_deleted_or_renamed_path_is_linked_again(rig: Start) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    before = keeper.socket("one").stat().st_ino

    keeper.socket("one").unlink()
    until(keeper.socket("one").exists)
    keeper.socket("one").rename(keeper.runtime / "moved")
    until(keeper.socket("one").exists)

    assert keeper.socket("one").stat().st_ino == before
    assert puppet.expect(wire.Told).topic == "socket-restored"


def test_a_living_socket_of_somebody_else_is_refused_with_its_pid(place: Path) -> None:
    (place / "run").mkdir(mode=0o711)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place / "run" / "one.sock"))
        other.listen()

        said = refusal(place, ONE)

        assert f"pid {os.getpid()} " in said
        assert str(place / "run" / "one.sock") in said
        assert (place / "run" / "one.sock").exists()
    (place / "run" / "one.sock").unlink()


def test_a_dead_socket_is_replaced(rig: Start, place: Path) -> None:
    (place / "run").mkdir(mode=0o711)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place / "run" / "one.sock"))
        other.listen()
    keeper = rig(ONE)
    keeper.puppet().spawn("one", 1)

    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(keeper.socket("one")))


def test_what_is_not_a_socket_is_refused_and_left_alone(place: Path) -> None:
    (place / "run").mkdir(mode=0o711)
    (place / "run" / "one.sock").write_text("a file")

    assert "not a socket" in refusal(place, ONE)
    assert (place / "run" / "one.sock").read_text() == "a file"


def test_all_refused_sockets_are_told_together(place: Path) -> None:
    (place / "run").mkdir(mode=0o711)
    for name in ("one", "two"):
        (place / "run" / f"{name}.sock").write_text("a file")

    said = refusal(place, f"{ONE}[app.two]\n{python(SERVE)}\n")

    assert "the socket of one" in said
    assert "the socket of two" in said


def test_a_second_daemon_in_the_same_directory_names_the_first(rig: Start, place: Path) -> None:
    keeper = rig(ONE)
    keeper.puppet()

    assert f"already running in {keeper.runtime}: pid {keeper.pid}\n" in refusal(place, ONE)
    assert keeper.socket("one").exists()


def test_a_second_daemon_is_refused_without_any_pid_file_and_takes_nothing(rig: Start, place: Path) -> None:
    keeper = rig(ONE)
    keeper.puppet()
    (keeper.runtime / "fcgipm.pid").unlink()
    before = {path.name: path.stat().st_ino for path in keeper.runtime.iterdir()}

    said = refusal(place, ONE)

    assert f"already running in {keeper.runtime}: pid {keeper.pid}\n" in said
    assert {path.name: path.stat().st_ino for path in keeper.runtime.iterdir()} == before


def test_a_pid_file_elsewhere_is_one_daemons_alone(rig: Start, place: Path) -> None:
    keeper = rig(ONE, daemon=f'pid-file = "{place}/pid"')
    keeper.puppet()
    config = place / "other.toml"
    config.write_text(configuration(place / "other", ONE, f'pid-file = "{place}/pid"'))

    done = subprocess.run(
        [FCGIPM, "start", "--foreground", str(config)], capture_output=True, text=True, timeout=20, check=False
    )

    assert f"{place}/pid is that of another fcgipm: pid {keeper.pid}" in done.stderr
    assert (place / "pid").read_text() == f"{keeper.pid}\n"
    keeper.stop()
    assert not (place / "pid").exists()


@pytest.mark.parametrize("name", ["control", "connector", "report"])
def test_fcgipms_own_sockets_are_handed_over_and_linked_again(rig: Start, name: str) -> None:
    keeper = rig(ONE)
    puppet = keeper.puppet()
    path = keeper.socket(name)
    before = path.stat()

    path.unlink()
    until(path.exists, what=f"{name}.sock is linked again")

    assert (path.stat().st_ino, path.stat().st_mode) == (before.st_ino, before.st_mode)
    assert (name, None) in puppet.handed
    assert puppet.expect(wire.Told).text == f"{path} was deleted; linked again"


def test_a_path_that_is_deleted_again_and_again_is_told_of_twice(rig: Start) -> None:
    keeper = rig(ONE)
    keeper.puppet()
    started = time.monotonic()

    for _ in range(4):
        until(keeper.socket("one").exists)
        keeper.socket("one").unlink()
    until(keeper.socket("one").exists)

    assert time.monotonic() - started > 2.5  # at once, then once a second
    assert keeper.log().count("linked again") == 2
    assert "again and again" in keeper.log()


def test_what_a_killed_fcgipm_left_without_a_record_is_named_and_left_alone(rig: Start) -> None:
    keeper = rig(f"{ONE}[app.two]\n{python(SERVE)}\n")
    puppet = keeper.puppet()
    one = puppet.spawn("one", 1).pid
    two = puppet.spawn("two", 2, generation=2).pid
    puppet.order(wire.Publish(app="two", generation=2))
    puppet.expect(wire.Published)
    keeper.process.kill()
    keeper.process.wait()
    (keeper.runtime / "state.json").unlink()
    try:
        after = rig(f"{ONE}[app.two]\n{python(SERVE)}\n")
        snapshot = after.puppet().snapshot
        said = after.log()
        for pid in (one, two):
            assert os.readlink(f"/proc/{pid}/fd/0")
    finally:
        for pid in (one, two):
            os.kill(pid, signal.SIGKILL)

    assert snapshot.instances == ()
    assert {fact.app for fact in snapshot.listeners if fact.published} == {"one", "two"}
    text = "one.1: instances of an fcgipm that was killed still serve there, and cannot be adopted: pid "
    assert text + f"{one} (" in said
    assert f"another socket as soon as that is public; end them when they are done: kill {one}" in said
    for pid in (one, two):
        ended(pid)


@pytest.mark.root
def test_root_follows_no_link_that_a_user_has_set(rig: Start, place: Path) -> None:
    home, target = place / "home", place / "target"
    home.mkdir()
    target.mkdir()
    os.chown(home, 4711, 4711)
    app = f"[app.one]\n{python(SERVE)}\nuser = '#4711'\ngroup = '#4711'\nsocket = '{home}/s/one.sock'\n"
    (home / "s").symlink_to(target)

    said = refusal(place, app)

    assert f"{home} belongs to uid 4711, who could replace what is in it" in said
    assert os.listdir(target) == []


@pytest.mark.root
def test_a_directory_that_is_exchanged_leads_root_nowhere(rig: Start, place: Path) -> None:
    home, target = place / "home", place / "target"
    (home / "s").mkdir(parents=True)
    target.mkdir()
    for path in (home, home / "s"):
        os.chown(path, 4711, 4711)
    keeper = rig(f"[app.one]\n{python(SERVE)}\nuser = '#4711'\ngroup = '#4711'\nsocket = '{home}/s/one.sock'\n")
    puppet = keeper.puppet()
    victim = target / "one.sock"
    victim.write_text("root's")

    (home / "s").rename(home / "was")
    (home / "s").symlink_to(target)
    (home / "was" / "one.sock").unlink()
    until((home / "was" / "one.sock").exists)  # it is linked again where it has been
    puppet.order(wire.Publish(app="one", generation=2))
    error = puppet.expect(wire.PublishFailed).error
    keeper.stop()

    assert "belongs to uid 4711, who could replace what is in it" in error
    assert [path.name for path in target.iterdir()] == ["one.sock"]
    assert victim.read_text() == "root's"
    assert os.listdir(home / "was") == []


def test_a_runtime_directory_that_others_may_write_is_refused(place: Path) -> None:
    (place / "run").mkdir()
    (place / "run").chmod(0o777)

    assert "lets others write" in refusal(place, ONE)


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_tcp_is_bound_on_both_families(rig: Start, family: int, address: str) -> None:
    port = free_port(address)
    keeper = rig(f"[app.one]\n{python(SERVE)}\nport = {port}\naddress = '{address}'\n")
    puppet = keeper.puppet()
    (fact,) = puppet.snapshot.listeners
    host = f"[{address}]" if ":" in address else address
    assert fact.address == f"tcp:{host}:{port}"

    puppet.spawn("one", 1)
    with socket.socket(family) as visitor:
        visitor.settimeout(10)
        visitor.connect((address, port))
        visitor.sendall(b"x")
        assert visitor.recv(1) == b""


def test_a_taken_port_is_refused_with_the_pid_of_who_has_it(place: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        assert f"pid {os.getpid()} " in refusal(place, f"[app.one]\n{python(SERVE)}\nport = {port}\n")


def test_a_metrics_address_that_was_written_and_is_taken_is_an_error(place: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        said = refusal(place, ONE, f'metrics-listen = "127.0.0.1:{port}"')

        assert "metrics-listen" in said
        assert f"pid {os.getpid()} " in said


def test_metrics_may_listen_on_a_unix_socket(rig: Start, place: Path) -> None:
    keeper = rig(ONE, daemon=f'metrics-listen = "unix:{place}/m.sock"')
    puppet = keeper.puppet()

    assert ("metrics", None) in puppet.handed
    assert stat.S_IMODE((place / "m.sock").stat().st_mode) == 0o666

    keeper.stop()
    assert sorted(os.listdir(place)) == ["apps.toml", "log", "meet"]
