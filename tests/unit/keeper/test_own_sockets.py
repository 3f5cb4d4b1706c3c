"""fcgipm's own sockets: what is only a pity, and what is an error."""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fcgipm.config.load import Loaded, load
from fcgipm.keeper.keeping.heritage import Heritage, own_key
from fcgipm.keeper.listening.guard import Guard
from fcgipm.keeper.listening.own_sockets import OwnSockets
from fcgipm.keeper.listening.place import Places
from fcgipm.keeper.listening.sockets import SocketError
from fcgipm.linux.sock_diag import Diag, endpoint_of


@pytest.fixture
def taken(place: Path) -> Iterator[Loaded]:
    """Give a configuration whose metrics address another listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        file = place / "apps.toml"
        address = f"127.0.0.1:{other.getsockname()[1]}"
        file.write_text(f'[fcgipm]\nruntime-dir = "{place}/run"\nmetrics-listen = "{address}"\n')
        (place / "run").mkdir(mode=0o711)
        yield load(str(file), environ={}, euid=os.geteuid())


def test_a_default_metrics_address_that_is_taken_is_only_warned_about(taken: Loaded, guard: Guard) -> None:
    warnings: list[tuple[str, str]] = []

    def tell(level: str, _topic: str, text: str) -> None:
        warnings.append((level, text))

    with Diag() as diag:
        own = OwnSockets(replace(taken, written=frozenset()), diag, guard, Places(), tell)
        handed = [name for name, _ in own.handed()]
        own.close()

    assert handed == ["control", "connector", "report"]
    ((level, text),) = warnings
    assert level == "warning"
    assert f"pid {os.getpid()} " in text


def test_a_written_one_is_an_error_and_nothing_stays(taken: Loaded, guard: Guard, place: Path) -> None:
    with Diag() as diag, pytest.raises(SocketError, match="metrics-listen"):
        OwnSockets(taken, diag, guard, Places(), lambda _level, _topic, _text: None)

    assert os.listdir(place / "run") == []


@pytest.fixture
def own(place: Path, guard: Guard) -> Iterator[OwnSockets]:
    """Give those of a daemon without metrics."""
    file = place / "apps.toml"
    file.write_text(f'[fcgipm]\nruntime-dir = "{place}/run"\nmetrics-listen = ""\n')
    (place / "run").mkdir(mode=0o711)
    loaded = load(str(file), environ={}, euid=os.geteuid())
    with Diag() as diag:
        sockets = OwnSockets(loaded, diag, guard, Places(), lambda _level, _topic, _text: None)
        yield sockets
        sockets.close()
    assert os.listdir(place / "run") == []


@pytest.mark.usefixtures("own")
def test_the_web_servers_group_and_nobody_else_may_use_the_connectors_sockets(place: Path) -> None:
    web = load(str(place / "apps.toml"), environ={}, euid=os.geteuid()).web

    for name in ("connector", "report"):
        found = (place / "run" / f"{name}.sock").stat()
        assert stat.S_IMODE(found.st_mode) == 0o660
        assert (found.st_uid, found.st_gid) == (os.geteuid(), web.gid)


def test_the_kernel_says_who_has_sent_a_report_before_anybody_asks_for_it(own: OwnSockets, place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"early", str(place / "run" / "report.sock"))
    with socket.socket(fileno=os.dup(dict(own.handed())["report"])) as receiver:
        data, ((_, kind, credentials),), _, _ = receiver.recvmsg(100, socket.CMSG_SPACE(12))

    assert data == b"early"
    assert kind == socket.SCM_CREDENTIALS
    assert struct.unpack("3i", credentials) == (os.getpid(), os.getuid(), os.getgid())


def test_many_visitors_may_ask_at_once(own: OwnSockets) -> None:
    most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    with socket.socket(fileno=os.dup(dict(own.handed())["connector"])) as listener, Diag() as diag:
        queue = diag.queue(endpoint_of(listener))

    assert queue is not None
    assert queue.limit == min(1024, most)


def test_what_is_inherited_keeps_its_queue_and_its_name(own: OwnSockets, guard: Guard, place: Path) -> None:
    loaded = load(str(place / "apps.toml"), environ={}, euid=os.geteuid())
    before = (place / "run" / "control.sock").stat().st_ino
    heritage = Heritage({own_key(name): os.dup(number) for name, number in own.handed()})
    with socket.socket(socket.AF_UNIX) as early, Diag() as diag:
        early.connect(str(place / "run" / "control.sock"))
        (place / "run" / "control.sock").unlink()
        sockets = OwnSockets(loaded, diag, guard, Places(), lambda *_: None, heritage=heritage)
        with socket.socket(fileno=os.dup(dict(sockets.handed())["control"])) as listener:
            listener.accept()[0].close()
        assert heritage.left() == []
        assert (place / "run" / "control.sock").stat().st_ino == before, "linked again"
        sockets.close()


def test_an_inherited_socket_that_nobody_can_reach_is_replaced(own: OwnSockets, guard: Guard, place: Path) -> None:
    loaded = load(str(place / "apps.toml"), environ={}, euid=os.geteuid())
    warnings: list[str] = []
    (private,) = place.glob("run/*/control.1")
    private.unlink()
    with Diag() as diag:
        heritage = Heritage({own_key(name): os.dup(number) for name, number in own.handed()})
        sockets = OwnSockets(loaded, diag, guard, Places(), lambda *told: warnings.append(told[2]), heritage=heritage)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(place / "run" / "control.sock"))
        sockets.close()
    assert len(warnings) == 1
    assert "a new socket is bound" in warnings[0]
