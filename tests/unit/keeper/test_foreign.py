"""Who keeps an address from being bound, in words, and how it gets free."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from fcgipm.keeper.listening import foreign
from fcgipm.linux.sock_diag import Diag


@pytest.fixture
def diag() -> Iterator[Diag]:
    made = Diag()
    yield made
    made.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def test_one_listens_and_nothing_is_said_of_ending_it(diag: Diag, listening: socket.socket) -> None:
    text = foreign.who_listens("127.0.0.1", listening.getsockname()[1], diag)

    assert text.startswith(f"in use, pid {os.getpid()} (")
    assert text.endswith(") listens there")


def test_several_listen_and_who_does_it_as_instances_do_can_be_ended(diag: Diag, listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    ends: list[subprocess.Popen[bytes]] = [
        subprocess.Popen(["/bin/sleep", "1000"], stdin=listening.fileno()) for _ in range(2)
    ]
    listening.close()
    try:
        text = foreign.who_listens("127.0.0.1", port, diag)
    finally:
        for end in ends:
            end.kill()
            end.wait()

    one, two = sorted(end.pid for end in ends)
    assert text == (
        f"in use, pid {one} (sleep), pid {two} (sleep) listen there; "
        f"if these are instances that an fcgipm has left, end them: kill {one} {two}"
    )


def test_nobody_is_there(diag: Diag, listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    listening.close()

    assert foreign.who_listens("127.0.0.1", port, diag) == ""
