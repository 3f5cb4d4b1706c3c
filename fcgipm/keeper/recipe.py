"""How an instance is started: all that `fcgipm.keeper.spawn` needs, worked out before any fork."""

from __future__ import annotations

import os.path
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fcgipm.linux.rlimits import LIMIT_NUMBERS

if TYPE_CHECKING:
    from fcgipm.config.identity import Identity
    from fcgipm.config.loaded import Loaded
    from fcgipm.config.schema import Application


@dataclass(frozen=True, slots=True)
class Limit:
    """One resource limit; *soft* and *hard* are resource.RLIM_INFINITY (-1) for unlimited."""

    name: str
    resource: int
    soft: int
    hard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one application's instances are started.  After the chroot, *program* and *directory* are inside it."""

    program: str
    """Path of what is executed."""
    arguments: tuple[str, ...]
    """All of argv, the name of the program first."""
    environment: Mapping[str, str]
    """The whole environment, nothing is added."""
    become: Identity
    """Who the child is when it executes the program."""
    owner: int
    """The uid that the instance runs as in the end (with a wrapper not the same): its output pipes belong to it."""
    directory: str
    directory_first: bool
    """Enter *directory* with the daemon's rights, before *become*."""
    chroot: str | None
    umask: int
    priority: int
    """For setpriority; 0 is set where that is allowed."""
    oom_score_adjust: int
    """For /proc/self/oom_score_adj; 0 is set where that is allowed."""
    limits: tuple[Limit, ...]
    """Set in this order: the daemon's own raised limits are put back first."""
    no_new_privs: bool


def recipe_of(app: Application, loaded: Loaded, *, nofile: tuple[int, int] | None = None) -> Recipe:
    """Return the recipe of *app*; *nofile* is the RLIMIT_NOFILE (soft, hard) that the daemon was started with."""
    identity = loaded.identities[app.name]
    limits = [Limit("nofile", resource.RLIMIT_NOFILE, *nofile)] if nofile else []
    limits += [Limit(name, LIMIT_NUMBERS[name], value, value) for name, value in app.rlimits.items()]
    program, arguments, become = app.command[0], app.command, identity
    directory = app.directory or os.path.dirname(program)
    wrapped = app.wrapper not in {None, "off"}
    if app.wrapper is not None and wrapped:
        arguments = wrapper_arguments(app.wrapper, app.command, identity)
        directory, program, become = os.path.dirname(program), app.wrapper, loaded.web
    return Recipe(
        program=program,
        arguments=arguments,
        environment=loaded.environments[app.name],
        become=become,
        owner=identity.uid,
        directory=directory,
        directory_first=wrapped,
        chroot=app.chroot,
        umask=app.umask,
        priority=app.priority,
        oom_score_adjust=app.oom_score_adjust,
        limits=tuple(limits),
        no_new_privs=app.no_new_privs,
    )


def wrapper_arguments(wrapper: str, command: tuple[str, ...], identity: Identity) -> tuple[str, ...]:
    """Return argv for *wrapper* to run *command* as *identity*, as suexec wants it.

    Ids without a name are given as plain numbers.  A program below the user's home is asked for as ``~user``: then
    suexec looks for it in that user's public_html instead of below its own document root.
    """
    user = identity.user.removeprefix("#")
    home = (identity.home or "").rstrip("/")
    if home and command[0].startswith(home + "/"):
        user = "~" + user
    return (wrapper, user, identity.group.removeprefix("#"), os.path.basename(command[0]), *command[1:])
