"""fcgipm's own sockets: what is only a pity, and what is an error."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fcgipm.config.load import Loaded, load
from fcgipm.keeper.own_sockets import OwnSockets
from fcgipm.keeper.sockets import SocketError
from fcgipm.linux.sock_diag import Diag


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


def test_a_default_metrics_address_that_is_taken_is_only_warned_about(taken: Loaded) -> None:
    warnings: list[tuple[str, str]] = []
    with Diag() as diag:
        own = OwnSockets(replace(taken, written=frozenset()), diag, lambda level, text: warnings.append((level, text)))
        handed = [name for name, _ in own.handed()]
        own.close()

    assert handed == ["control"]
    ((level, text),) = warnings
    assert level == "warning"
    assert f"pid {os.getpid()} " in text


def test_a_written_one_is_an_error_and_nothing_stays(taken: Loaded, place: Path) -> None:
    with Diag() as diag, pytest.raises(SocketError, match="metrics-listen"):
        OwnSockets(taken, diag, lambda _level, _text: None)

    assert os.listdir(place / "run") == []
