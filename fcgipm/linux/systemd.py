"""Tell systemd how the daemon is doing: the protocol of sd_notify(3)."""

from __future__ import annotations

import socket
from collections.abc import MutableMapping
from typing import Final

_VARIABLE: Final = "NOTIFY_SOCKET"
_PATIENCE: Final = 2.0
"""Seconds that systemd may take to make room for a message."""


def take_address(environ: MutableMapping[str, str]) -> str:
    """Return where systemd wants to be told, empty if nowhere, and remove it from *environ*: it is for nobody else."""
    return environ.pop(_VARIABLE, "")


def notify(address: str, state: str) -> str | None:
    """Send *state* (``READY=1``) to *address*, a path or ``@`` and an abstract name.

    Returns why that failed, None if it did not, or if *address* is empty.
    """
    if not address:
        return None
    if address[0] not in "/@":
        return f"{address}: not a Unix socket"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(_PATIENCE)
            sock.connect("\0" + address[1:] if address[0] == "@" else address)
            sock.send(state.encode(), socket.MSG_NOSIGNAL)
    except OSError as error:
        return f"{address}: {error.strerror or error}"
    return None
