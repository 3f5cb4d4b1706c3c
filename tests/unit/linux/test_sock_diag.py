"""The kernel's view of listeners agrees with what was done to them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness.visitors import accepted, connected, tcp_listener, unix_listener

from fcgipm.linux.sock_diag import Diag, Endpoint, Queue, endpoint_named, endpoint_of


@pytest.fixture
def diag() -> Iterator[Diag]:
    with Diag() as diag:
        yield diag


LISTENERS = ["path", "abstract", "127.0.0.1", "0.0.0.0", "::1", "::"]


@pytest.fixture(params=LISTENERS)
def listener(request: pytest.FixtureRequest, stack: ExitStack, place: Path) -> socket.socket:
    if request.param == "path":
        return unix_listener(stack, str(place / "s"), 16)
    if request.param == "abstract":
        return unix_listener(stack, f"\0fcgipm-{os.getpid()}", 16)
    return tcp_listener(stack, request.param)


def test_queue_and_accepted(diag: Diag, stack: ExitStack, listener: socket.socket) -> None:
    endpoint = endpoint_of(listener)
    assert diag.queue(endpoint) == Queue(0, 16)
    clients = [connected(stack, listener) for _ in range(3)]
    assert diag.queue(endpoint) == Queue(3, 16)
    assert diag.accepted(endpoint) == frozenset()
    inodes = {accepted(stack, listener), accepted(stack, listener)}
    assert diag.queue(endpoint) == Queue(1, 16)
    assert diag.accepted(endpoint) == inodes
    assert diag.busy([endpoint]) == {endpoint: 2}
    for client in clients:
        client.close()
    assert diag.accepted(endpoint) == inodes, "the clients have gone, but the work goes on"


def test_client_of_the_other_family_of_a_dual_stack_listener(diag: Diag, stack: ExitStack) -> None:
    listener = tcp_listener(stack, "::")
    connected(stack, listener, "127.0.0.1")
    inode = accepted(stack, listener)
    assert diag.accepted(endpoint_of(listener)) == {inode}


def test_half_closed_connections_are_held_still(diag: Diag, stack: ExitStack, listener: socket.socket) -> None:
    """As an application leaves them that shuts its side and waits for the client to close."""
    client = connected(stack, listener)
    server = stack.enter_context(listener.accept()[0])
    server.shutdown(socket.SHUT_WR)
    inode = os.fstat(server.fileno()).st_ino
    assert diag.accepted(endpoint_of(listener)) == {inode}
    client.close()
    assert diag.accepted(endpoint_of(listener)) == {inode} or listener.family != socket.AF_UNIX
    server.close()
    assert diag.accepted(endpoint_of(listener)) == frozenset()


def test_connections_belong_to_their_listener(diag: Diag, stack: ExitStack, place: Path) -> None:
    one, two = (unix_listener(stack, str(place / name), 4) for name in "ab")
    port = tcp_listener(stack, "127.0.0.1")
    other = stack.enter_context(socket.socket())
    other.bind(("127.0.0.2", port.getsockname()[1]))
    other.listen(4)
    every = [one, two, port, other]
    for listener in every:
        connected(stack, listener)
    expected = {endpoint_of(listener): frozenset({accepted(stack, listener)}) for listener in every}
    assert {endpoint: diag.accepted(endpoint) for endpoint in expected} == expected
    assert diag.busy(expected) == dict.fromkeys(expected, 1)


def test_name_stays_after_a_rename(diag: Diag, stack: ExitStack, place: Path) -> None:
    listener = unix_listener(stack, str(place / "private"), 4)
    (place / "private").rename(place / "public")
    client = stack.enter_context(socket.socket(socket.AF_UNIX))
    client.connect(str(place / "public"))
    inode = accepted(stack, listener)
    assert diag.accepted(endpoint_of(listener)) == {inode}
    assert endpoint_of(listener).name == str(place / "private")


def test_more_waiting_than_the_limit_is_shown(diag: Diag, stack: ExitStack, place: Path) -> None:
    listener = unix_listener(stack, str(place / "s"), 2)
    for _ in range(3):
        connected(stack, listener)
    assert diag.queue(endpoint_of(listener)) == Queue(3, 2)


def test_endpoint_by_its_text(diag: Diag, stack: ExitStack, place: Path) -> None:
    path = str(place / "s")
    unix_listener(stack, path, 5)
    v4, v6 = (tcp_listener(stack, address, backlog) for address, backlog in (("127.0.0.1", 6), ("::1", 7)))
    texts = {
        f"unix:{path}": 5,
        path: 5,
        f"tcp:127.0.0.1:{v4.getsockname()[1]}": 6,
        f"tcp:[::1]:{v6.getsockname()[1]}": 7,
        f"tcp:::1:{v6.getsockname()[1]}": 7,
    }
    for text, limit in texts.items():
        assert diag.queue(endpoint_named(text)) == Queue(0, limit), text
    connected(stack, v6)
    inode = accepted(stack, v6)
    assert diag.accepted(endpoint_named(f"tcp:[::1]:{v6.getsockname()[1]}")) == {inode}


def test_many_endpoints_of_all_kinds_at_once(diag: Diag, stack: ExitStack, place: Path) -> None:
    """More than fit into one piece of a dump."""
    listeners = [unix_listener(stack, str(place / f"a-rather-long-name-of-a-socket-{i}"), i) for i in range(1, 600)]
    listeners.append(tcp_listener(stack, "127.0.0.1", 600))
    queues = diag.queues(endpoint_of(listener) for listener in listeners)
    assert [queues[endpoint_of(listener)].limit for listener in listeners] == list(range(1, 601))


def test_nobody_listens(diag: Diag, place: Path) -> None:
    endpoint = Endpoint(0, str(place / "none"), None, socket.AF_UNIX)
    assert diag.queue(endpoint) is None
    assert diag.accepted(endpoint) == frozenset()
    assert diag.busy([endpoint]) == {endpoint: 0}
    assert diag.queues([]) == {}


def test_listener_behind_a_file(diag: Diag, stack: ExitStack, place: Path) -> None:
    path = place / "s"
    listener = unix_listener(stack, str(path), 4)
    public = place / "public"
    os.link(path, public)
    found = public.stat()
    assert diag.unix_listener_by_file(found.st_dev, found.st_ino) == endpoint_of(listener).inode
    # Where the device that stat shows is not the kernel's, only the name can tell.
    assert diag.unix_listener_by_file(found.st_dev + 1, found.st_ino) is None
    assert diag.unix_listener_by_file(found.st_dev + 1, found.st_ino, str(public)) is None
    assert diag.unix_listener_by_file(found.st_dev + 1, found.st_ino, str(path)) == endpoint_of(listener).inode
    listener.close()
    assert diag.unix_listener_by_file(found.st_dev, found.st_ino) is None, "the file is left, nobody listens"


@pytest.mark.parametrize(
    ("bound", "asked", "taken"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("::", "127.0.0.1", True),
        ("::1", "127.0.0.1", False),
    ],
)
def test_tcp_listener(diag: Diag, stack: ExitStack, bound: str, asked: str, taken: bool) -> None:
    listener = tcp_listener(stack, bound)
    port = listener.getsockname()[1]
    assert diag.tcp_listener(asked, port) == (endpoint_of(listener).inode if taken else None)


def test_one_unix_socket_by_its_inode(diag: Diag, stack: ExitStack, place: Path) -> None:
    listener = unix_listener(stack, str(place / "s"), 4)
    client = connected(stack, listener)
    inode = accepted(stack, listener)
    row = diag.unix_socket(inode)
    assert row is not None
    assert (row.name, row.listening) == (str(place / "s"), False)
    row = diag.unix_socket(endpoint_of(listener).inode)
    assert row is not None
    assert row.listening
    row = diag.unix_socket(os.fstat(client.fileno()).st_ino)
    assert row is not None
    assert row.name is None
    assert diag.unix_socket(endpoint_of(tcp_listener(stack, "127.0.0.1")).inode) is None
