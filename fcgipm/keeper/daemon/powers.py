"""What this process may do and how much it may have, and what works less where that is little."""

from __future__ import annotations

import os
import resource
from typing import Final

from fcgipm.linux import procfs

_CAP_SYS_PTRACE: Final = 19
_ONLY_CHILDREN: Final = (
    "kernel.yama.ptrace_scope lets an ordinary user look into children only: should fcgipm be killed, the next one "
    "cannot take the sockets from the instances, and replaces them (on a port: removes them first)"
)


def lacking_rights() -> list[str]:
    """Return what we may not do here, as in a container, and what works less for it."""
    if procfs.status_bits(b"CapEff") >> _CAP_SYS_PTRACE & 1:
        return []
    if os.geteuid() != 0:
        return [] if _may_trace_others() else [_ONLY_CHILDREN]
    text = (
        "root without CAP_SYS_PTRACE cannot look into instances: they count as ready after ready-timeout, and an "
        "instance is busy while any connection of its application is open"
    )
    return [text]


def _may_trace_others() -> bool:
    """Return whether an ordinary user may take descriptors from processes of his that are no children of ours."""
    try:
        return int(procfs.read("/proc/sys/kernel/yama/ptrace_scope")) == 0
    except OSError:
        return True


def raise_limit() -> tuple[int, int]:
    """Raise our own limit of descriptors as far as it goes; return what it was."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    return before
