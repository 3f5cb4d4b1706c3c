"""What this process may do and how much it may have, and what works less where that is little."""

from __future__ import annotations

import os
import resource
from typing import Final

from fcgipm.linux import procfs

_CAP_SYS_PTRACE: Final = 19


def lacking_rights() -> list[str]:
    """Return what root cannot do here, as in a container, and what works less for it."""
    if os.geteuid() != 0 or procfs.status_bits(b"CapEff") >> _CAP_SYS_PTRACE & 1:
        return []
    text = (
        "root without CAP_SYS_PTRACE cannot look into instances: they count as ready after ready-timeout, and an "
        "instance is busy while any connection of its application is open"
    )
    return [text]


def raise_limit() -> tuple[int, int]:
    """Raise our own limit of descriptors as far as it goes; return what it was."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    return before
