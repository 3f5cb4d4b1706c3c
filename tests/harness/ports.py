"""TCP ports for tests."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
from typing import Final

import pytest

_SHARE: Final = 1_250
"""How many ports each of up to sixteen test processes has for itself."""
_FIRST: Final = 10_000 + _SHARE * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 16)
_OWN: Final = list(range(_FIRST, _FIRST + _SHARE))
random.SystemRandom().shuffle(_OWN)  # not `random`, which whoever repeats a test sets back
_NEXT: Final = itertools.cycle(_OWN)


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port of *address* that nobody has now, and that nobody else gets before it is used.

    Neither the kernel, which takes those of its own choice from 32,768 on, nor another test process gives it away.
    Where the machine has no such address, the test is skipped.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in itertools.islice(_NEXT, 100):
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.bind((address, port))
            return port
    pytest.skip(f"this machine has no {address}")
