"""Read addresses and ports."""

from __future__ import annotations

import re
import socket

from fcgipm.config.quantities import shown

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?):(\d{1,5})", re.ASCII)


def is_address(text: str) -> bool:
    """Whether *text* is an IPv4 or IPv6 address."""
    return any(_is_of(family, text) for family in (socket.AF_INET, socket.AF_INET6))


def split_host(text: str) -> tuple[str, int]:
    """Return host (an IPv6 address without its brackets) and port of ``host:port``; raise `ValueError`."""
    found = _HOST.fullmatch(text)
    if found is None:
        raise ValueError(f"{shown(text)} is not name:port; an IPv6 address is written in brackets")
    if not 1 <= int(found[2]) <= 65535:
        raise ValueError(f"{shown(text)}: the port must be 1 to 65535")
    host = found[1].strip("[]")
    if found[1].startswith("[") and not is_address(host.partition("%")[0]):
        raise ValueError(f"{shown(text)}: {host} is not an IPv6 address")
    return host, int(found[2])


def _is_of(family: socket.AddressFamily, text: str) -> bool:
    try:
        socket.inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True
