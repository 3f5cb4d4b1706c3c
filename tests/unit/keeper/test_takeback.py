"""What systemd gives back from its store is held once, and nothing of it stays open unseen."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

from fcgipm.keeper.context import Context
from fcgipm.keeper.keeping.store import Store
from fcgipm.keeper.keeping.takeback import Stored
from fcgipm.linux.systemd import Passed


def test_a_socket_that_is_stored_twice_is_held_once() -> None:
    told: list[str] = []

    def tell(state: str, _descriptors: Sequence[int]) -> None:
        told.append(state)

    unused: Any = None
    context = Context(unused, unused, unused, unused, (1024, 4096))
    context.store = Store(tell, room=3)
    before = os.listdir("/proc/self/fd")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        names = ("listener/1/one", "listener/1/one", "listener/2/one")
        stored = Stored(context, [Passed(os.dup(listener.fileno()), name) for name in names])

        assert stored.name(os.fstat(listener.fileno()).st_ino) == "listener/1/one"
        assert len(stored.numbers()) == 1
        for number in stored.numbers():
            os.close(number)
    assert os.listdir("/proc/self/fd") == before
    assert told == ["FDSTOREREMOVE=1\nFDNAME=listener/2/one"], "the name that is used stays"
