"""Who is at a listener, as the kernel tells it, agrees with who was sent there."""

from __future__ import annotations

import resource
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness.visitors import accepted, connected, from_elsewhere, inode_of, leave, tcp_listener, unix_listener
from harness.waiting import until

from fcgipm.linux.sock_diag import Diag, Endpoint, Queue, endpoint_of
from fcgipm.linux.visitors import Visitors, Waiting, look

DEEP = 4096
TCP = ("127.0.0.1", "0.0.0.0", "::1", "::")


@pytest.fixture
def diag() -> Iterator[Diag]:
    with Diag() as diag:
        yield diag


@pytest.fixture
def files() -> Iterator[Callable[[int], None]]:
    """Give a function that lets this process have so many descriptors; it is as before afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def allow(count: int) -> None:
        if before[1] < count:
            pytest.skip(f"needs {count} descriptors, and {before[1]} are allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(count, before[0]), before[1]))

    yield allow
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(params=["unix", *TCP])
def listener(request: pytest.FixtureRequest, stack: ExitStack, place: Path) -> socket.socket:
    if request.param == "unix":
        return unix_listener(stack, str(place / "s"), 16)
    return tcp_listener(stack, request.param)


def at(diag: Diag, listener: socket.socket) -> tuple[Waiting, list[int]]:
    """Return who waits at *listener*, and what was accepted from it."""
    seen = look(diag, [endpoint_of(listener)])
    inode = inode_of(listener)
    return seen.waiting[inode], seen.accepted[inode]


def name_of(client: socket.socket) -> int | bytes:
    """Return *client* as the kernel names it to who looks at the listener."""
    if client.family == socket.AF_UNIX:
        return inode_of(client)
    host, port = client.getsockname()[:2]
    address: bytes = socket.inet_pton(client.family, host).ljust(16, b"\0")
    return address + int(port).to_bytes(2, "big")


def test_who_waits_who_is_served_and_who_has_given_up(diag: Diag, stack: ExitStack, listener: socket.socket) -> None:
    waiting, served = at(diag, listener)
    assert (waiting.queue, waiting.line, waiting.abandoned, served) == (Queue(0, 16), (), 0, [])
    clients = [connected(stack, listener) for _ in range(4)]
    waiting, served = at(diag, listener)
    assert (waiting.queue, waiting.abandoned, served) == (Queue(4, 16), 0, [])
    assert set(waiting.line or ()) == {name_of(client) for client in clients}
    inode = accepted(stack, listener)
    waiting, served = at(diag, listener)
    assert (waiting.queue, served) == (Queue(3, 16), [inode])
    assert set(waiting.line or ()) == {name_of(client) for client in clients[1:]}
    gone = name_of(clients[2])
    clients[2].close()
    until(lambda: at(diag, listener)[0].abandoned == 1, what="the end of a client is seen")
    waiting, served = at(diag, listener)
    assert (waiting.queue, served) == (Queue(3, 16), [inode])
    assert set(waiting.line or ()) - {0} == {name_of(clients[1]), name_of(clients[3])}
    assert waiting.gone == ({gone} if isinstance(gone, bytes) else set())


def test_unix_clients_stand_in_line_in_the_order_in_which_they_came(diag: Diag, stack: ExitStack, place: Path) -> None:
    listener = unix_listener(stack, str(place / "s"), 16)
    clients = [connected(stack, listener) for _ in range(5)]
    names = [inode_of(client) for client in clients]
    clients[0].close()
    clients[3].close()
    assert at(diag, listener)[0].line == (0, names[1], names[2], 0, names[4])
    accepted(stack, listener)
    assert at(diag, listener)[0].line == (names[1], names[2], 0, names[4])


@pytest.mark.parametrize("address", TCP)
def test_a_tcp_client_that_resets_its_connection_has_given_up(diag: Diag, stack: ExitStack, address: str) -> None:
    listener = tcp_listener(stack, address)
    client, other = connected(stack, listener), connected(stack, listener)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    until(lambda: at(diag, listener)[0].abandoned == 1, what="the reset is seen")
    waiting, _ = at(diag, listener)
    assert (waiting.queue.waiting, waiting.line) == (2, (name_of(other),))


def test_a_client_that_has_gone_while_it_is_served_waits_nowhere(
    diag: Diag, stack: ExitStack, listener: socket.socket
) -> None:
    client = connected(stack, listener)
    inode = accepted(stack, listener)
    client.close()
    waiting, served = at(diag, listener)
    assert (waiting.line, waiting.abandoned, served) == ((), 0, [inode])


def test_an_ipv4_client_of_a_dual_stack_listener(diag: Diag, stack: ExitStack) -> None:
    listener = tcp_listener(stack, "::")
    connected(stack, listener, "127.0.0.1")
    assert len(at(diag, listener)[0].line or ()) == 1
    inode = accepted(stack, listener)
    assert at(diag, listener) == (Waiting(Queue(0, 16), ()), [inode])


def test_listeners_of_all_kinds_in_one_look_each_has_its_own_visitors(
    diag: Diag, stack: ExitStack, place: Path, files: Callable[[int], None]
) -> None:
    files(2_000)
    every = [unix_listener(stack, str(place / f"u{number}"), 16) for number in range(300)]
    every += [tcp_listener(stack, address) for address in TCP[::2]]
    beside = stack.enter_context(socket.socket())  # another address, the same port
    beside.bind(("127.0.0.2", every[-2].getsockname()[1]))
    beside.listen(16)
    every.append(beside)
    expected = Visitors({}, {})
    for number, one in enumerate(every):
        inode = inode_of(one)
        clients = [connected(stack, one) for _ in range(1 + number % 3)]
        expected.accepted[inode] = [accepted(stack, one)]
        names = tuple(name_of(client) for client in clients[1:])
        expected.waiting[inode] = Waiting(Queue(len(names), 16), names)
    assert sorted_lines(look(diag, map(endpoint_of, every))) == sorted_lines(expected)


def sorted_lines(seen: Visitors) -> Visitors:
    """Return *seen* with TCP clients, which the kernel tells in no order, in one."""
    waiting = {
        inode: Waiting(one.queue, tuple(sorted(one.line or (), key=str)), one.abandoned, one.gone)
        for inode, one in seen.waiting.items()
    }
    return Visitors(waiting, seen.accepted)


def test_a_socket_of_the_same_name_is_another_one(diag: Diag, stack: ExitStack, place: Path) -> None:
    """As two containers have it that share their network, or two generations whose private names were given again."""
    path = place / "s"
    one = unix_listener(stack, str(path), 16)
    path.rename(place / "moved")
    two = unix_listener(stack, str(path), 7)
    connected(stack, two)
    assert at(diag, one) == (Waiting(Queue(0, 16), ()), [])
    inode = accepted(stack, two)
    assert at(diag, one)[1] == []
    assert at(diag, two) == (Waiting(Queue(0, 7), ()), [inode])


def test_a_listener_that_was_closed_is_not_seen(diag: Diag, stack: ExitStack, listener: socket.socket) -> None:
    endpoint = endpoint_of(listener)
    connected(stack, listener)
    listener.close()
    assert look(diag, [endpoint]) == Visitors({}, {})
    assert look(diag, [Endpoint(0, "/nowhere", None, socket.AF_UNIX)]) == Visitors({}, {})
    assert look(diag, []) == Visitors({}, {})


@pytest.mark.parametrize("kind", ["unix", "127.0.0.1", "::1"])
def test_a_full_queue_of_4096(stack: ExitStack, place: Path, files: Callable[[int], None], kind: str) -> None:
    somaxconn = int(Path("/proc/sys/net/core/somaxconn").read_text())
    if somaxconn < DEEP:
        pytest.skip(f"net.core.somaxconn is {somaxconn}")
    files(DEEP + 500)
    listener = unix_listener(stack, str(place / "s"), DEEP) if kind == "unix" else tcp_listener(stack, kind, DEEP)
    clients = [connected(stack, listener) for _ in range(DEEP + 1)]
    clients[1].close()
    with Diag() as fresh:  # whose first piece the kernel would make as small as it likes
        waiting, served = at(fresh, listener)
    assert (waiting.queue, waiting.abandoned, served) == (Queue(DEEP + 1, DEEP), 1, [])
    assert set(waiting.line or ()) - {0} == {name_of(client) for client in clients if client is not clients[1]}


def test_thousands_of_foreign_sockets(
    diag: Diag, stack: ExitStack, place: Path, files: Callable[[int], None], listener: socket.socket
) -> None:
    files(7_000)
    foreign = unix_listener(stack, str(place / "f"), 16)
    port = tcp_listener(stack, "127.0.0.1")
    for _ in range(1_000):
        for one in foreign, port:
            connected(stack, one)
            accepted(stack, one)
        for end in socket.socketpair():
            stack.enter_context(end)
    client = connected(stack, listener)
    assert at(diag, listener) == (Waiting(Queue(1, 16), (name_of(client),)), [])
    inode = accepted(stack, listener)
    assert at(diag, listener) == (Waiting(Queue(0, 16), ()), [inode])


@pytest.mark.root
def test_a_client_in_another_network_name_space_waits_visibly_and_is_served_in_secret(
    diag: Diag, stack: ExitStack, place: Path
) -> None:
    listener = unix_listener(stack, str(place / "s"), 16)

    first, second = (from_elsewhere(stack, place / "s") for _ in range(2))
    waiting, served = at(diag, listener)
    assert (waiting.queue, waiting.abandoned, served) == (Queue(2, 16), 0, [])
    assert len(set(waiting.line or ()) - {0}) == 2
    accepted(stack, listener)
    waiting, served = at(diag, listener)
    assert waiting.queue == Queue(1, 16)
    assert served == [], "if this is seen one day, the keeper need not count any more"
    leave(second)
    until(lambda: at(diag, listener)[0].line == (0,), what="the end of a client is seen")
    leave(first)


CROWD = """
import os, resource, socket, sys
from contextlib import ExitStack
from harness.visitors import connected, accepted, inode_of, unix_listener
from fcgipm.linux.sock_diag import Diag, Queue, endpoint_of
from fcgipm.linux.visitors import look

place, crowd = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (crowd * 2, crowd * 2))
with open("/proc/sys/net/core/somaxconn", "w") as file:
    file.write(str(crowd))
with ExitStack() as stack, Diag() as diag:
    large, full = (unix_listener(stack, f"{place}/{name}", crowd) for name in ("large", "full"))
    small = [unix_listener(stack, f"{place}/{number}", 16) for number in range(100)]
    for _ in range(crowd // 10):
        connected(stack, large)
    for _ in range(crowd):
        connected(stack, full)
    clients = {inode_of(one): inode_of(connected(stack, one)) for one in small}
    inode = accepted(stack, full)
    seen = look(diag, map(endpoint_of, (large, full, *small)))
    assert seen.waiting[inode_of(full)].queue == Queue(crowd - 1, crowd)
    assert seen.waiting[inode_of(full)].line is None, "this kernel can tell more than others: well"
    assert seen.accepted[inode_of(full)] == [inode]
    assert seen.waiting[inode_of(large)].queue == Queue(crowd // 10, crowd)
    assert {one: seen.waiting[one].line for one in clients} == {one: (peer,) for one, peer in clients.items()}
"""


@pytest.mark.root
def test_a_queue_that_does_not_fit_into_the_kernels_answer_hides_nobody_elses(place: Path) -> None:
    """As there can be where somebody has raised net.core.somaxconn; the dump ends at such a one without a word."""
    crowd = 9_000
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < crowd * 2:
        pytest.skip("needs more descriptors")
    program = [sys.executable, "-c", CROWD, str(place), str(crowd)]
    path = str(Path(__file__).parents[2])
    done = subprocess.run(
        ["unshare", "--net", *program], env={"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
