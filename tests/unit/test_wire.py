"""The wire between keeper and manager: typed, bounded, never blocking, and a closed list of orders."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcgipm import wire
from fcgipm.wire import Channel, Order, Report


class Pair:
    """Both ends of a wire."""

    def __init__(self) -> None:
        self.raw_keeper, self.raw_manager = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.keeper: Channel[Order] = wire.keeper_end(self.raw_keeper)
        self.manager: Channel[Report] = wire.manager_end(self.raw_manager)

    def close(self) -> None:
        self.keeper.close()
        self.manager.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    with closing(Pair()) as both:
        yield both


def test_the_list_of_orders_is_closed() -> None:
    """What a captured manager can do to the keeper: nothing but this."""
    orders = {"Spawn", "Retire", "Publish", "Open", "Watch", "Count", "Apply", "Note", "Shutdown", "ReopenLogs"}
    assert set(wire.ORDERS) == orders | {"Connect", "Upgrade", "Heard"}  # the list is what is tested


def test_a_message_arrives_as_it_was_sent(pair: Pair) -> None:
    order = wire.Spawn(instance=1, app="blog", generation=2)
    pair.manager.send(order)

    assert list(pair.keeper.receive()) == [(order, [])]


def test_descriptors_travel_with_their_message_and_are_close_on_exec(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    number = os.open(tmp_path / "file", os.O_RDONLY)
    pair.keeper.send(wire.Spawned(instance=1, pid=2, at=3), [number])
    os.close(number)

    [(_, [received])] = pair.manager.receive()
    assert os.read(received, 100) == b"content"
    assert not os.get_inheritable(received)
    os.close(received)


def test_a_large_message_travels_in_pieces_with_its_descriptors(pair: Pair) -> None:
    report = wire.Told(level="info", topic="x", app=None, text="é" * 300_000)
    pair.keeper.send(report, [0])
    received: list[tuple[Report, list[int]]] = []
    while pair.keeper.backlog or not received:
        received += list(pair.manager.receive())
        pair.keeper.flush()

    [(message, [descriptor])] = received
    assert message == report
    os.close(descriptor)


def test_a_reader_that_sleeps_does_not_block_the_writer_and_is_given_up_in_the_end(pair: Pair) -> None:
    report = wire.Told(level="info", topic="x", app=None, text="x" * 30_000)
    for _ in range(wire.MAX_BACKLOG // 30_000):
        pair.keeper.send(report)
    with pytest.raises(wire.BacklogFull):
        _send_often(pair, report)
    assert 0 < pair.keeper.backlog <= wire.MAX_BACKLOG


def test_the_end_of_the_other_side_is_told_apart(pair: Pair) -> None:
    pair.manager.close()

    with pytest.raises(wire.WireClosed):
        list(pair.keeper.receive())
    with pytest.raises(wire.WireClosed):
        pair.keeper.send(wire.Begun())


@pytest.mark.parametrize(
    "packet",
    [
        b"?",
        b".",
        b".{}",
        b".[]",
        b'.["Spawn"]',
        b'.["Exec",{}]',
        b'.["Spawned",{"instance":1,"pid":2,"at":3}]',  # a report is no order
        b'.["Spawn",{"instance":"1","app":"blog","generation":1}]',
        b'.["Spawn",{"instance":1,"app":"blog","generation":1,"argv":["sh"]}]',
        b'.["Spawn",{"instance":true,"app":"blog","generation":1}]',
        b".\xff\xfe",
        b"." + b"[" * 30_000,
    ],
)
def test_what_is_not_an_order_ends_the_connection(pair: Pair, packet: bytes) -> None:
    pair.raw_manager.send(packet)

    with pytest.raises(wire.WireError):
        list(pair.keeper.receive())


def test_a_packet_longer_than_a_piece_ends_the_connection(pair: Pair) -> None:
    pair.raw_manager.send(b"." + b"x" * (wire.PIECE + 10))

    with pytest.raises(wire.WireError, match="cut short"):
        list(pair.keeper.receive())


def test_descriptors_that_do_not_fit_are_missed(pair: Pair) -> None:
    """What came with them would be wrong without them."""
    pair.keeper.send(wire.Spawned(instance=1, pid=2, at=3), (0, 1))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, before[1]))
    try:
        with pytest.raises(wire.DescriptorsLost):
            list(pair.manager.receive())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_pieces_without_end_are_bounded(pair: Pair) -> None:
    for _ in range(wire.MAX_MESSAGE // wire.PIECE):
        pair.raw_manager.send(b"+" + b"x" * wire.PIECE)
        assert list(pair.keeper.receive()) == []
    pair.raw_manager.send(b"+" + b"x" * wire.PIECE)
    with pytest.raises(wire.WireError, match="longer than"):
        list(pair.keeper.receive())


def test_nothing_is_left_of_a_message_whose_descriptors_cannot_be_copied(pair: Pair) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_before = os.listdir("/proc/self/fd")
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, before[1]))  # room for one copy
    try:
        with pytest.raises(OSError, match="Too many open files"):
            pair.keeper.send(wire.Handed(what="x" * 2 * wire.PIECE), [0, 0])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert os.listdir("/proc/self/fd") == open_before
    assert pair.keeper.backlog == 0
    pair.keeper.send(wire.Begun())
    assert [message for message, _ in pair.manager.receive()] == [wire.Begun()]


def _send_often(pair: Pair, report: Report) -> None:
    for _ in range(100):
        pair.keeper.send(report)


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_are_an_order_or_a_wire_error(garbage: bytes) -> None:
    with closing(Pair()) as pair:
        pair.raw_manager.send(garbage)
        try:
            list(pair.keeper.receive())
        except wire.WireError:
            return
