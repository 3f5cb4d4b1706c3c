"""Put the complete environment of an application's instances together."""

from __future__ import annotations

from collections.abc import Mapping

from fcgipm.config.identity import Identity
from fcgipm.config.schema import Application, InstanceOptions
from fcgipm.config.trust import read_for
from fcgipm.config.values import variable_name

LARGEST_FILE = 1024 * 1024


def environment_of(table: InstanceOptions, environ: Mapping[str, str], identity: Identity) -> dict[str, str]:
    """Return the environment of *table*'s instances, which run as *identity*; *environ* is the daemon's, for pass-env.

    Raises `OSError` or `ValueError` where env-file cannot be read.
    """
    environment = {name: environ.get(name, "") for name in table.pass_env}
    if table.env_file is not None:
        environment |= read_env_file(table.env_file, identity)
    environment |= table.initial_env
    if isinstance(table, Application) and table.port is not None and table.allowed_clients:
        environment.setdefault("FCGI_WEB_SERVER_ADDRS", ",".join(table.allowed_clients))
    return environment


def read_env_file(path: str, identity: Identity) -> dict[str, str]:
    """Return the NAME=VALUE lines of *path*, a file of root's or one that *identity* may read.

    Empty lines and lines that begin with ``#`` do not count; a value that stands wholly in one pair of quotes loses
    them.  Nothing else is interpreted.
    """
    data = read_for(identity, path, LARGEST_FILE)
    if len(data) > LARGEST_FILE:
        raise ValueError(f"larger than {LARGEST_FILE} bytes")
    variables: dict[str, str] = {}
    for number, line in enumerate(data.decode(errors="surrogateescape").splitlines(), start=1):
        text = line.strip()
        if text and not text.startswith("#"):
            name, separator, value = text.partition("=")
            if not separator or "\0" in value:
                raise ValueError(f"line {number} is not NAME=VALUE")
            variables[variable_name(name.strip())] = _unquoted(value.strip())
    return variables


def _unquoted(value: str) -> str:
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value
