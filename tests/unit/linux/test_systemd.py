"""What systemd tells a service, and what it is told."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fcgipm.linux.systemd import NotifySocket, Service, take


@pytest.fixture(params=["path", "abstract"])
def systemd(place: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, socket.socket]]:
    """Give the address of a socket in systemd's place, and the socket."""
    address = f"{place}/notify" if request.param == "path" else f"@fcgipm-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address.replace("@", "\0"))
        receiver.settimeout(10)
        yield address, receiver


STARTED = """
import json, os, sys
from fcgipm.linux.systemd import take
opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(2)]
for number in opened:
    os.set_inheritable(number, True)
environ = {name: value.replace("OWN", str(os.getpid())) for name, value in json.loads(sys.argv[1]).items()}
service = take(environ)
print(json.dumps({
    "environ": environ, "opened": opened, "again": take(environ) == type(service)(),
    "notify": service.notify_socket, "watchdog": service.watchdog, "room": service.room,
    "passed": [[one.number, one.name] for one in service.passed],
    "inheritable": [os.get_inheritable(number) for number in opened],
}))
"""


def started(**environ: str) -> dict[str, Any]:
    """Return what a process with the descriptors 3 and 4 takes from *environ*, in which OWN is its own pid."""
    # In a process of its own, because those numbers are somebody else's here.
    words = [sys.executable, "-c", STARTED, json.dumps(environ)]
    answer: dict[str, Any] = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    assert answer["opened"] == [3, 4]
    return answer


def test_it_is_told_with_descriptors_at_a_path_or_an_abstract_name(systemd: tuple[str, socket.socket]) -> None:
    address, receiver = systemd
    notify = NotifySocket(address)
    with Path("/dev/null").open() as file:
        assert notify.send("READY=1")
        assert notify.send("FDSTORE=1\nFDNAME=null", [file.fileno()])

        assert receiver.recv(100) == b"READY=1"
        state, (number,), _, _ = socket.recv_fds(receiver, 100, 2)

        assert state == b"FDSTORE=1\nFDNAME=null"
        assert os.path.samestat(os.fstat(number), os.fstat(file.fileno()))
        os.close(number)
    notify.close()


def test_it_never_waits_for_systemd_and_says_so(systemd: tuple[str, socket.socket]) -> None:
    address, receiver = systemd
    notify = NotifySocket(address)
    number = 0
    while notify.send(f"STATUS={number}"):
        number += 1
        assert number < 10_000

    assert receiver.recv(100) == b"STATUS=0"

    poller = select.poll()
    poller.register(notify.fileno(), select.POLLOUT)
    assert poller.poll(10_000)
    assert notify.send("STATUS=more")
    notify.close()


def test_a_systemd_that_was_replaced_is_told(place: Path) -> None:
    notify = NotifySocket(f"{place}/notify")
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(f"{place}/notify")
            receiver.settimeout(10)
            assert notify.send("READY=1")
            assert receiver.recv(100) == b"READY=1"
        Path(f"{place}/notify").unlink()
    notify.close()


@pytest.mark.parametrize(
    ("address", "why"),
    [("/nowhere/notify", "No such file or directory"), ("vsock:2:1", "not a Unix socket")],
)
def test_what_cannot_be_told_is_an_error(address: str, why: str) -> None:
    notify = NotifySocket(address)
    with pytest.raises(OSError, match=why):
        notify.send("READY=1")
    notify.close()


def test_what_systemd_says_is_for_nobody_else() -> None:
    found = started(
        NOTIFY_SOCKET="/run/notify", WATCHDOG_USEC="20000000", WATCHDOG_PID="OWN", FDSTORE="512",
        LISTEN_PID="OWN", LISTEN_FDS="2", LISTEN_FDNAMES="blog:shop", PATH="/bin",
    )  # fmt: skip

    assert found["environ"] == {"PATH": "/bin"}
    assert found["again"]
    assert (found["notify"], found["watchdog"], found["room"]) == ("/run/notify", 20_000_000_000, 512)
    assert found["passed"] == [[3, "blog"], [4, "shop"]]
    assert found["inheritable"] == [False, False]


def test_what_systemd_says_to_another_process_is_left_alone() -> None:
    found = started(NOTIFY_SOCKET="/n", WATCHDOG_USEC="1", WATCHDOG_PID="1", LISTEN_PID="1", LISTEN_FDS="2")

    assert (found["watchdog"], found["passed"]) == (0, [])
    assert found["inheritable"] == [True, True]


def test_descriptors_without_names_are_unknown() -> None:
    found = started(LISTEN_PID="OWN", LISTEN_FDS="2", LISTEN_FDNAMES="blog")

    assert found["passed"] == [[3, "blog"], [4, "unknown"]]


def test_descriptors_that_are_not_there_are_no_matter() -> None:
    found = started(LISTEN_PID="OWN", LISTEN_FDS="4000")

    assert found["passed"] == [[3, "unknown"], [4, "unknown"]]


@pytest.mark.parametrize("count", ["-1", "x", "", "99999999999999999999999", "²"])
def test_nonsense_is_nothing(count: str) -> None:
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count, "WATCHDOG_USEC": count, "NOTIFY_SOCKET": "/n"}

    assert take(environ) == Service(notify_socket="/n")


def test_another_program_in_the_same_process_is_told_the_same() -> None:
    own = str(os.getpid())
    environ = {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": own, "FDSTORE": "7", "HOME": "/"}
    service = take(environ)

    environ |= service.variables()

    assert take(environ) == service == Service(notify_socket="/n", watchdog=20_000_000_000, room=7)
    assert Service().variables() == {}
