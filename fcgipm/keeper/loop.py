"""The keeper's run: what must hold before it begins, and then round and round until the last process has gone."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from fcgipm.keeper.daemon.logfile import open_log
from fcgipm.keeper.daemon.powers import lacking_rights
from fcgipm.keeper.daemon.progress import Outcome
from fcgipm.keeper.daemon.runtime import Runtime, StartError
from fcgipm.keeper.instances.identity import why_it_cannot_run
from fcgipm.keeper.keeper import Keeper
from fcgipm.keeper.keeping.origin import Origin
from fcgipm.keeper.keeping.program import Program, this_program
from fcgipm.keeper.keeping.store import is_stored
from fcgipm.keeper.listening.given import Given
from fcgipm.keeper.listening.sockets import SocketError
from fcgipm.linux.systemd import NO_SERVICE, Service

if TYPE_CHECKING:
    from fcgipm.config.loaded import Loaded
    from fcgipm.keeper.keeping.carried import Carried

__all__ = ["Outcome", "StartError", "run"]

MANAGER: Final = (sys.executable, "-P", "-m", "fcgipm.manager")
"""-P: the working directory is no place to import from."""


def run(
    loaded: Loaded,
    *,
    report_start: Callable[[Outcome], None],
    environ: Mapping[str, str],
    foreground: bool,
    manager_argv: Sequence[str] = MANAGER,
    service: Service = NO_SERVICE,
    program: Program | None = None,
    resumed: Carried | None = None,
) -> int:
    """Be the daemon until it is told to end; return its exit status.

    *report_start* is called once, when it is clear how the start went.  *environ* is the environment from which
    pass-env takes, also when the configuration is applied anew; *service* is what systemd has given us.
    *program* is how this one was started, and *resumed* what it goes on with after an upgrade: that cannot fail half
    way, so where it does the process ends, and leaves everything to the next start.
    Raises `StartError` if the daemon cannot even begin.
    """
    origin = Origin(program or this_program(environ), resumed)
    log = open_log(loaded, origin.heritage)
    with contextlib.ExitStack() as stack:
        with origin.all_or_nothing(log):
            runtime = Runtime(loaded.config.daemon, origin.heritage, made=origin.made_directory)
            stack.callback(runtime.close)
            tried = origin.is_upgrade or tuple(manager_argv) != MANAGER
            refusal = None if tried else why_it_cannot_run(loaded.manager)
            if refusal is not None:
                raise StartError(f"the manager cannot run: {refusal}")
            given = Given()
            stack.callback(given.close)
            passed = [one for one in origin.passed(service) if not is_stored(one)]
            try:
                given.take(passed, loaded.config.applications, log.log)
            except SocketError as error:
                raise StartError(str(error)) from error
            loaded = given.renewed(loaded)
            try:
                keeper = Keeper(
                    loaded, log, stack, runtime, environ=environ, foreground=foreground, manager_argv=manager_argv,
                    service=service, given=given, origin=origin,
                )  # fmt: skip
            except OSError as error:
                raise StartError(f"the kernel refuses what fcgipm needs: {error}") from error
            keeper.open(report_start)
            runtime.write_pid()
            for warning in (*loaded.warnings, *lacking_rights()):
                log.log("warning", warning)
            keeper.begin()
        return keeper.run()
