"""Who owns the sockets, and who may use the control socket: names of the configuration as numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator

from fcgipm.config.identity import resolve_group, resolve_user
from fcgipm.config.schema import Application, Daemon
from fcgipm.keeper.listening.sockets import Attributes


def attributes_of(app: Application) -> Attributes:
    """Return owner, group and mode of the Unix sockets of *app*; raise LookupError where a name is gone."""
    owner = os.geteuid() if app.socket_owner is None else resolve_user(app.socket_owner).uid
    group = os.getegid() if app.socket_group is None else resolve_group(app.socket_group)
    return Attributes(owner, group, app.socket_mode)


def access_of(daemon: Daemon) -> dict[str, str]:
    """Return who may use the control socket: ``UID`` or ``%GID`` -> ``admin`` or ``read``; admins win.

    Root and who started the daemon are admins.  Names that do not exist any more are nobody.
    """
    access = dict.fromkeys(_numbers(daemon.readers), "read")
    access |= dict.fromkeys(_numbers(daemon.admins), "admin")
    return {**access, "0": "admin", str(os.geteuid()): "admin"}


def _numbers(names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        try:
            yield f"%{resolve_group(name[1:])}" if name.startswith("%") else str(resolve_user(name).uid)
        except LookupError:
            continue
