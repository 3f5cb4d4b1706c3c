"""Become somebody else, in a child that was just forked."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import fcgipm
from fcgipm.linux import pidfd as pidfds

if TYPE_CHECKING:
    from fcgipm.config.identity import Identity

_NEEDED = ("aiohttp", "prometheus_client", "psutil")
"""What the manager imports beside the standard library and our package."""


def become(identity: Identity) -> None:
    """Give up all rights but those of *identity*; an ordinary user's child has nothing to give up."""
    if os.geteuid() == 0:
        os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    pidfds.forbid_new_privileges()


def why_it_cannot_run(identity: Identity) -> str | None:
    """Return what keeps the manager from running as *identity*, None if nothing does."""
    files = [sys.executable, os.__file__, os.path.join(os.path.dirname(fcgipm.__file__), "manager", "__main__.py")]
    for name in _NEEDED:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            return f"the Python package {name} is missing"
        files.append(spec.origin)
    readable, told = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            become(identity)
            os.write(told, os.fsencode(_first_refused(files)))
        except OSError as error:
            os.write(told, f"?{error}".encode())
        finally:
            os._exit(0)
    os.close(told)
    with os.fdopen(readable, "rb") as pipe:
        refused = os.fsdecode(pipe.read())
    os.waitpid(pid, 0)
    if not refused:
        return None
    who = f"the manager's user {identity.user}"
    if refused.startswith("?"):
        return f"cannot become {who}: {refused[1:]}"
    return (
        f"{who} may not read {refused}; install fcgipm and its Python where everybody may read, not below a "
        f"private directory such as /root"
    )


def _first_refused(files: list[str]) -> str:
    """Return the first directory or file on the way to *files* that this process may not use; empty if none."""
    for path in files:
        parts = path.split("/")
        for count in range(2, len(parts)):
            directory = "/".join(parts[:count])
            if not os.access(directory, os.X_OK):
                return directory
        if not os.access(path, os.R_OK):
            return path
    return ""
