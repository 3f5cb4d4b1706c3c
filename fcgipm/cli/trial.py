"""``fcgipm trial STATE CONFIGURATION``: what a running daemon asks of the program that is installed, before an upgrade.

Not for people.  STATE is the descriptor of what the daemon would carry over; the configuration that it goes on with is
written to the other one.  The answer is a line of JSON: this program's version, or why it cannot take over.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from fcgipm import __version__
from fcgipm.config.definitions import daemon
from fcgipm.config.load import load
from fcgipm.config.problems import ConfigError
from fcgipm.config.schema import Daemon
from fcgipm.keeper.instances.identity import why_it_cannot_run
from fcgipm.keeper.keeping import carried, state
from fcgipm.linux import systemd


def trial(what: int, configuration: int) -> int:
    """Read, answer, and return the exit status: 0 where this program can go on."""
    try:
        answer = {"program": _tried(what, configuration)}
    except ConfigError as error:
        answer = {"error": "; ".join(map(str, error.problems))}
    except Exception as error:  # noqa: BLE001  whatever it is, the daemon that runs goes on
        answer = {"error": str(error) if isinstance(error, (state.StateError, OSError)) else repr(error)}
    print(json.dumps(answer), flush=True)
    return int("error" in answer)


def _tried(what: int, configuration: int) -> str:
    found = carried.decode(carried.kept(what))
    state.decode(found.state.encode())
    environ = dict(os.environ)
    systemd.take(environ)
    loaded = load(
        found.path, environ=environ, euid=os.geteuid(), foreground=found.foreground,
        running=_known(found.daemon),
    )  # fmt: skip
    refusal = why_it_cannot_run(loaded.manager)
    if refusal is not None:
        raise OSError(f"the manager cannot run: {refusal}")
    import fcgipm.keeper.loop  # noqa: F401, PLC0415  all that it will need is there

    with open(configuration, "wb") as file:
        pickle.dump(loaded, file, protocol=pickle.HIGHEST_PROTOCOL)
    return __version__


def _known(table: Mapping[str, Any]) -> Daemon:
    """Return the *table* of another version's [fcgipm], as far as this one knows what is in it."""
    names = {item.name for item in fields(Daemon)}
    return daemon({name: value for name, value in table.items() if name in names})


if __name__ == "__main__":
    sys.exit(trial(*map(int, sys.argv[1:3])))
