"""What the keeper does with listening sockets that are others' as well."""

from __future__ import annotations

import os
import socket

import pytest

from fcgipm.keeper.listening.sockets import copy_of


@pytest.mark.parametrize("blocking", [True, False])
def test_a_copy_leaves_the_flags_alone_that_all_copies_share(*, blocking: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_blocking(listener.fileno(), blocking)  # as an instance may, on what it was started with

        with copy_of(listener) as copy:
            assert copy.fileno() != listener.fileno()
            assert copy.getsockname() == listener.getsockname()

        assert os.get_blocking(listener.fileno()) is blocking
