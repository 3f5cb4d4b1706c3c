"""``fcgipm start``: become the daemon, in the foreground or behind the caller's back."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO

from fcgipm.cli.title import set_title
from fcgipm.config.apart import load_apart
from fcgipm.config.problems import ConfigError
from fcgipm.keeper.keeping.carried import LOADED, Carried
from fcgipm.keeper.keeping.execing import take_over
from fcgipm.keeper.keeping.program import Program, this_program
from fcgipm.keeper.keeping.state import StateError
from fcgipm.keeper.loop import Outcome, StartError, run
from fcgipm.linux.systemd import Service, take
from fcgipm.log import why_unheard

if TYPE_CHECKING:
    from fcgipm.config.loaded import Loaded

_UMASK: Final = 0o027
"""For the log file; everything else is given its mode explicitly."""


def start(file: str, *, foreground: bool) -> int:
    """Start the daemon with the configuration *file*; return the exit status, 1 where it could not be started.

    In the background this returns in the caller when it is clear how the start went.
    """
    whole = dict(os.environ)
    service = take(os.environ)
    environ = dict(os.environ)  # before setproctitle writes over it
    try:
        loaded = load_apart(file, environ=environ, euid=os.geteuid(), foreground=foreground)
    except ConfigError as error:
        for problem in error.problems:
            _print(str(problem))
        return 1
    program = this_program(whole if foreground else environ)
    set_title(f"fcgipm: keeper {loaded.path}")
    if foreground:
        return _be_daemon(
            loaded, lambda _outcome: None, foreground=True, environ=environ, service=service, program=program
        )
    unheard = why_unheard(loaded.config.daemon.log)
    for warning in (*loaded.warnings, *([unheard] if unheard is not None else [])):
        _print(f"warning: {warning}")
    # Who is told would not know the process behind our back; what it was given is good all the same.
    return _start_behind(loaded, environ, Service(passed=service.passed), program)


def resume(memory: int) -> int:
    """Go on in the place of another version of this program, with what it has left in the file *memory*."""
    whole = dict(os.environ)
    service = take(os.environ)
    environ = dict(os.environ)
    try:
        left = take_over(memory)
        loaded = _configuration(left, environ)
        program = this_program(whole)
        set_title(f"fcgipm: keeper {loaded.path}")
        return run(
            loaded, report_start=lambda _outcome: None, environ=environ, foreground=left.foreground, service=service,
            program=program, resumed=left,
        )  # fmt: skip
    except (StateError, ConfigError, StartError) as error:  # those before there is a log: see `Origin.all_or_nothing`
        _print(f"fcgipm: cannot go on after the upgrade: {error}; instances serve on, the next start adopts them")
        return 1


def _configuration(left: Carried, environ: dict[str, str]) -> Loaded:
    """Return what the trial has read; where that is of no use any more, what is read now."""
    number = left.descriptors.get(LOADED)
    if number is not None:
        with contextlib.suppress(Exception), open(number, "rb", closefd=False) as file:
            file.seek(0)
            found: Loaded = pickle.load(file)  # noqa: S301  this program has written it
            return found
    return load_apart(left.path, environ=environ, euid=os.geteuid(), foreground=left.foreground)


def _be_daemon(
    loaded: Loaded,
    report: Callable[[Outcome], None],
    *,
    foreground: bool,
    environ: dict[str, str],
    service: Service,
    program: Program,
) -> int:
    os.umask(_UMASK)
    try:
        return run(
            loaded, report_start=report, environ=environ, foreground=foreground, service=service, program=program
        )
    except StartError as error:
        if foreground:
            for line in str(error).splitlines():
                _print(f"fcgipm: {line}")
        report(Outcome(1, str(error)))
        return 1


def _start_behind(loaded: Loaded, environ: dict[str, str], service: Service, program: Program) -> int:
    readable, told = os.pipe()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(readable)
        _go_behind(loaded, told, environ, service, program)
    os.close(told)
    # python-daemon forks twice more and ends the first child at once; the pipe stays until there is an answer.
    os.waitpid(child, 0)
    with os.fdopen(readable) as answers:
        return _await(answers)


def _await(answers: TextIO) -> int:
    """Print what the daemon tells, and return the exit status that it tells."""
    for line in answers:
        answer: dict[str, Any] = json.loads(line)
        if text := answer.get("text"):
            _print(text)
        if "exit" in answer:
            return int(answer["exit"])
    _print("fcgipm: the daemon has ended before anything was ready; its log says why")
    return 1


def _go_behind(loaded: Loaded, told: int, environ: dict[str, str], service: Service, program: Program) -> NoReturn:
    """Be the daemon in the background, and tell through the pipe *told* how the start went."""
    from daemon import DaemonContext  # noqa: PLC0415  the foreground does without it

    open_pipe = [told]

    def report(outcome: Outcome) -> None:
        if open_pipe:
            os.write(told, json.dumps({"text": f"fcgipm: {outcome.text}", "exit": outcome.status}).encode() + b"\n")
            os.close(open_pipe.pop())

    status = 1
    try:
        with DaemonContext(
            detach_process=True,
            files_preserve=[told, *(one.number for one in service.passed)],
            umask=_UMASK,
            prevent_core=False,  # its hard limit would be every instance's
            signal_map={},
            working_directory="/",
        ):
            os.set_inheritable(told, False)
            status = _be_daemon(loaded, report, foreground=False, environ=environ, service=service, program=program)
    except Exception as error:  # noqa: BLE001  there is no terminal any more to which a traceback could go
        report(Outcome(1, repr(error)))
    finally:
        os._exit(status)


def _print(text: str) -> None:
    print(text, file=sys.stderr)
