"""fcgipm's own sockets: what is only a pity, and what is an error."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fcgipm.config.load import Loaded, load
from fcgipm.keeper.dispatch import Dispatch
from fcgipm.keeper.guard import Guard
from fcgipm.keeper.own_sockets import OwnSockets
from fcgipm.keeper.place import Places
from fcgipm.keeper.sockets import SocketError
from fcgipm.linux.sock_diag import Diag
from fcgipm.log import FileSink, Logger, open_file


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


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guard]:
    """Give a guard that watches nothing yet."""
    log = Logger(FileSink(open_file(str(tmp_path / "log"))))
    dispatch = Dispatch(log)
    watching = Guard(dispatch)
    yield watching
    watching.close()
    dispatch.close()
    log.sink.close()


def test_a_default_metrics_address_that_is_taken_is_only_warned_about(taken: Loaded, guard: Guard) -> None:
    warnings: list[tuple[str, str]] = []

    def tell(level: str, _topic: str, text: str) -> None:
        warnings.append((level, text))

    with Diag() as diag:
        own = OwnSockets(replace(taken, written=frozenset()), diag, guard, Places(), tell)
        handed = [name for name, _ in own.handed()]
        own.close()

    assert handed == ["control"]
    ((level, text),) = warnings
    assert level == "warning"
    assert f"pid {os.getpid()} " in text


def test_a_written_one_is_an_error_and_nothing_stays(taken: Loaded, guard: Guard, place: Path) -> None:
    with Diag() as diag, pytest.raises(SocketError, match="metrics-listen"):
        OwnSockets(taken, diag, guard, Places(), lambda _level, _topic, _text: None)

    assert os.listdir(place / "run") == []
