"""Where this program comes from: a start of its own, or the one before in the same process, and what that has left."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fcgipm.keeper.daemon.runtime import StartError
from fcgipm.keeper.dispatch import described
from fcgipm.keeper.keeping import carried, state
from fcgipm.keeper.keeping.heritage import Heritage
from fcgipm.keeper.supervising.launch import Launched
from fcgipm.linux import pidfd as pidfds
from fcgipm.log import wall_clock

if TYPE_CHECKING:
    from fcgipm import wire
    from fcgipm.keeper.keeping.carried import Carried
    from fcgipm.keeper.keeping.program import Program
    from fcgipm.linux.systemd import Passed, Service
    from fcgipm.log import Logger


class Origin:
    """What differs between a start and an upgrade."""

    def __init__(self, program: Program, resumed: Carried | None = None) -> None:
        """*program* is how this one was started; *resumed* is what the one before has left.  Raises `StateError`."""
        self.program = program
        self.resumed = resumed
        self.heritage = Heritage() if resumed is None else Heritage(resumed.descriptors)
        self.state = None if resumed is None else state.decode(resumed.state.encode())
        """What the program before has known."""
        self.started_at = time.monotonic_ns() if self.state is None else self.state.started_at
        """When the daemon was started, in monotonic nanoseconds."""
        self.started_unix = wall_clock() if self.state is None else self.state.started_unix

    @property
    def is_upgrade(self) -> bool:
        """Whether there was a program before in this process."""
        return self.resumed is not None

    @property
    def upgraded(self) -> wire.Upgraded | None:
        """That upgrade."""
        return None if self.resumed is None else self.resumed.upgraded

    @property
    def made_directory(self) -> bool:
        """Whether the runtime directory was made by the program before."""
        return self.resumed is not None and self.resumed.made_directory

    def nofile(self, now: tuple[int, int]) -> tuple[int, int]:
        """Return RLIMIT_NOFILE as the daemon was started with, where it is *now* so before it is raised."""
        return now if self.resumed is None else (self.resumed.nofile[0], self.resumed.nofile[1])

    def passed(self, service: Service) -> list[Passed]:
        """Return the descriptors that *service* has given us, in this program or the one before."""
        return [*service.passed] if self.resumed is None else self.heritage.passed()

    def manager(self) -> Launched | None:
        """Return the manager that was started for this program; None where there is none."""
        pid = None if self.resumed is None else self.resumed.manager
        wire_end, stderr = (self.heritage.take_key(key) for key in (carried.MANAGER_WIRE, carried.MANAGER_STDERR))
        if pid is None or wire_end is None or stderr is None:
            return None
        # Our child, and not waited for: if it has ended, that is seen as of any other.
        return Launched(pid, pidfds.open_process(pid), socket.socket(fileno=wire_end), stderr)

    @contextlib.contextmanager
    def all_or_nothing(self, log: Logger) -> Iterator[None]:
        """After an upgrade, end the process where what is done in this context fails: as if it were killed.

        To clean up would be to take the sockets of instances away; as it is they serve on, and the next start finds
        everything.
        """
        try:
            yield
        except BaseException as error:
            if self.resumed is None:
                raise
            is_bug = isinstance(error, Exception) and not isinstance(error, StartError)
            why = described(error) if is_bug else f"{error}"
            text = f"cannot go on after the upgrade: {why}; fcgipm ends, instances serve on, the next start adopts them"
            log.log("error", text)
            os._exit(1)
