"""Where the manager's log lines go."""

from __future__ import annotations

import os

from fcgipm import log
from fcgipm.config.schema import Daemon
from fcgipm.core.commands import Severity
from fcgipm.manager.telling.record import LogLine


class Destination:
    """Writes to what `log` names; standard error until that is known or handed."""

    def __init__(self) -> None:
        self._handed: int | None = None
        self._target: str | None = None
        """What `log` says, once that is known."""
        self._logger = log.Logger(log.FileSink(2))

    def configure(self, daemon: Daemon) -> None:
        """Write as *daemon* says from now on."""
        self._target = daemon.log or "stderr"
        self._logger.level = daemon.log_level
        self._logger.form = daemon.log_format
        if self._handed is not None:
            number, self._handed = self._handed, None
            self.use(number)
        elif self._target in ("syslog", "journal") and isinstance(self._logger.sink, log.FileSink):
            self._open(self._target)

    def use(self, number: int) -> None:
        """Write to descriptor *number*, which the keeper has opened, from now on."""
        if self._target is not None:
            before, self._logger.sink = self._logger.sink, log.sink_on(self._target, number)
            before.close()
            return
        if self._handed is not None:
            os.close(self._handed)
        self._handed = number

    def say(self, severity: Severity, app: str | None, text: str) -> None:
        """Write a message of fcgipm's own."""
        # the text names the application itself: as a field it is for those who sort by fields
        self._logger.log(severity.name.lower(), text, app=app if self._logger.form == "json" else None)

    def write(self, line: LogLine) -> None:
        """Write what an instance wrote."""
        level = "warning" if line.stream == "fcgipm" else "info"
        self._logger.write(log.Entry(line.time, level, line.text, line.app, line.pid))

    def _open(self, target: str) -> None:
        try:
            self._logger.sink = log.open_sink(target)
        except OSError as error:
            self.say(Severity.ERROR, None, f"cannot log to {target}: {error}; logging to standard error")
