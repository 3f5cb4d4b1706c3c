"""What is set aside is there when nothing else is."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator

import pytest

from fcgipm.keeper.supervising.reserve import SIZE, Reserve


@contextlib.contextmanager
def all_taken() -> Iterator[None]:
    """Take every descriptor that this process may have."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
    taken: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for number in taken:
            os.close(number)


def test_it_is_lent_and_taken_back() -> None:
    reserve = Reserve()
    reserve.take()
    with all_taken():
        with pytest.raises(OSError, match="Too many open files"):
            os.open("/dev/null", os.O_RDONLY)
        with reserve.lent():
            for number in [os.open("/dev/null", os.O_RDONLY) for _ in range(SIZE)]:
                os.close(number)
        with pytest.raises(OSError, match="Too many open files"):
            os.open("/dev/null", os.O_RDONLY)
    reserve.give_up()


def test_what_could_not_be_taken_back_is_taken_later() -> None:
    reserve = Reserve()
    with all_taken():
        reserve.take()
    before = len(os.listdir("/proc/self/fd"))
    reserve.take()

    assert len(os.listdir("/proc/self/fd")) - before == SIZE
    reserve.give_up()
    assert len(os.listdir("/proc/self/fd")) == before
