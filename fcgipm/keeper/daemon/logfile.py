"""The daemon's log: opened before anything else, and anew when its file was moved away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fcgipm import wire
from fcgipm.keeper.context import Context
from fcgipm.keeper.daemon.runtime import StartError
from fcgipm.keeper.keeping.heritage import LOG, Heritage
from fcgipm.log import Logger, is_file, open_file, open_sink, sink_on

if TYPE_CHECKING:
    from fcgipm.config.loaded import Loaded


def open_log(loaded: Loaded, heritage: Heritage | None = None) -> Logger:
    """Return the log that *loaded* asks for, going on in *heritage*; raise `StartError` where it cannot be opened."""
    daemon = loaded.config.daemon
    inherited = None if heritage is None else heritage.take_key(LOG)
    try:
        sink = open_sink(daemon.log) if inherited is None else sink_on(daemon.log, inherited)
    except OSError as error:
        raise StartError(f"cannot log to {daemon.log}: {error.strerror}") from error
    return Logger(sink, level=daemon.log_level, form=daemon.log_format)


def reopen_log(context: Context) -> None:
    """Open the log file anew, and hand it to the manager; other sinks need nothing of the kind."""
    target = context.loaded.config.daemon.log
    if not is_file(target):
        return
    try:
        descriptor = open_file(target)
    except OSError as error:
        context.say("error", f"cannot open {target} again: {error.strerror}; writing to the old file")
        return
    context.log.sink.replace(descriptor)
    context.say("info", f"{target} was opened again")
    context.reporter.report(wire.Handed(what="log"), (descriptor,))
