"""How an instance is started: all that `fcgipm.keeper.instances.spawn` needs, worked out before any fork."""

from __future__ import annotations

import os.path
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
    limits = _limits(nofile)
    limits += [Limit(name, LIMIT_NUMBERS[name], value, value) for name, value in app.rlimits.items()]
    program, arguments, become = app.command[0], app.command, identity
    directory = app.directory or os.path.dirname(program)
    if app.is_dynamic:
        program = f"./{os.path.basename(program)}"  # in the directory that was checked, whatever leads there by then
    wrapped = app.wrapper not in {None, "off"}
    if app.wrapper is not None and wrapped:
        arguments = wrapper_arguments(app.wrapper, app.command, identity)
        directory, program, become = os.path.dirname(app.command[0]), app.wrapper, loaded.web
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


def recipe_of_refuser(loaded: Loaded, seconds: int, above: int, *, nofile: tuple[int, int] | None = None) -> Recipe:
    """Return the recipe of the program that answers 503 with ``Retry-After: seconds``, for whatever application.

    It does so while more than *above* wait.
    It runs as the manager does, who has no rights either, and without that one's groups.
    """
    become = replace(loaded.manager, groups=())
    return Recipe(
        program=sys.executable,
        # -I: nothing is imported but what belongs to this Python; half as long to start as the manager's way.
        arguments=(sys.executable, "-I", "-m", "fcgipm.turnaway", str(seconds), str(above)),
        environment={"LANG": "C.UTF-8"},
        become=become,
        owner=become.uid,
        directory="/",
        directory_first=False,
        chroot=None,
        umask=0o022,
        priority=0,
        oom_score_adjust=0,
        limits=tuple(_limits(nofile)),
        no_new_privs=True,
    )


def _limits(nofile: tuple[int, int] | None) -> list[Limit]:
    return [Limit("nofile", resource.RLIMIT_NOFILE, *nofile)] if nofile else []


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
