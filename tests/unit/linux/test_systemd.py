"""What systemd is told, and where."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from fcgipm.linux.systemd import notify, take_address


@pytest.mark.parametrize("abstract", [False, True])
def test_it_is_told_at_a_path_or_an_abstract_name(place: Path, abstract: bool) -> None:
    address = f"@fcgipm-{os.getpid()}" if abstract else f"{place}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + address[1:] if abstract else address)
        systemd.settimeout(10)

        assert notify(address, "READY=1") is None

        assert systemd.recv(100) == b"READY=1"


def test_what_cannot_be_told_is_said_and_no_more(place: Path) -> None:
    assert notify("", "READY=1") is None
    assert notify(f"{place}/none", "READY=1") == f"{place}/none: No such file or directory"
    assert notify("vsock:2:1", "READY=1") == "vsock:2:1: not a Unix socket"


def test_the_address_is_for_nobody_else() -> None:
    environ = {"NOTIFY_SOCKET": "/run/notify", "PATH": "/bin"}

    assert take_address(environ) == "/run/notify"
    assert environ == {"PATH": "/bin"}
    assert not take_address(environ)
