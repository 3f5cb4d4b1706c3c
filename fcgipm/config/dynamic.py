"""Dynamic applications: the definition of one that nobody declared, made from [dynamic], its root and its path.

Nothing is looked at here.  Whether a script may run, and as whom, is found out elsewhere; see
`fcgipm.config.identity.script_identity`.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from fcgipm.config.concurrency import concurrency_of
from fcgipm.config.schema import Application, Dynamic, InstanceOptions, Root
from fcgipm.config.socketnames import dynamic_socket, excess
from fcgipm.counting import counted

if TYPE_CHECKING:
    from fcgipm.config.identity import Identity

_COMPONENT = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_SHARED = tuple(item.name for item in fields(InstanceOptions))


def application_of(
    dynamic: Dynamic, root: Root, path: str, *, identity: Identity, runtime_dir: str, environment: Mapping[str, str]
) -> Application:
    """Return the definition of the script *path* below *root*, which runs as *identity*.

    *path* is one of which `why_not_name` says nothing, *environment* what `Loaded.dynamic_environment` is.  With a
    chroot the command is what the script is called inside; where it lies is what `script_path` says.
    """
    shared: dict[str, Any] = {name: getattr(dynamic, name) for name in _SHARED}
    program = _inside(dynamic.chroot, script_path(root, path))
    shared |= {
        "uri": (root.uri + path,),
        "directory": posixpath.dirname(program),
        "user": identity.user,
        "group": identity.group,
        "groups": tuple(f"#{gid}" for gid in identity.groups),
        "socket_owner": dynamic.socket_owner or identity.user,
        "concurrency": dynamic.concurrency or concurrency_of(program, environment, dynamic.wrapper),
    }
    return Application(
        name=f"{root.name}/{path}",
        command=(program,),
        socket=dynamic_socket(runtime_dir, root.name, path),
        processes=None,
        min_processes=0,
        max_processes=dynamic.max_class_processes,
        **shared,
    )


def script_path(root: Root, path: str) -> str:
    """Return where the script *path* of *root* lies."""
    return posixpath.join(root.path, path)


def why_not_name(root: Root, path: str, runtime_dir: str) -> str | None:
    """Return why the script *path*, relative to *root*, cannot be an application, or None if its name allows it."""
    components = path.split("/")
    for component in components:
        if component in {"", ".", ".."}:
            return "its path is not the plain way from the root to the script"
        if not _COMPONENT.fullmatch(component):
            return "its path has other characters than letters, digits, '.', '_', '-' and '/'"
    if len(components) > 1 and not root.recursive:
        return f"it is not in {root.path} itself, and the root {root.name} is not recursive"
    if not fnmatch.fnmatchcase(components[-1], root.match):
        return f"its name does not match {root.match!r} of the root {root.name}"
    socket = dynamic_socket(runtime_dir, root.name, path)
    if excess(socket) > 0:
        return f"its socket's path {socket} is {counted(excess(socket), 'byte')} too long"
    return None


def named(dynamic: Dynamic, name: str) -> tuple[Root, str] | None:
    """Return root and path of the dynamic application *name*, ROOT/path; None where there is no such root."""
    first, slash, path = name.partition("/")
    root = next((root for root in dynamic.roots if root.name == first), None)
    return None if root is None or not slash else (root, path)


def containing(dynamic: Dynamic, script: str) -> tuple[tuple[Root, str], ...]:
    """Return the roots that the absolute path *script* lies below, each with the rest of it; the nearest first."""
    below = [root for root in dynamic.roots if script.startswith(root.path.rstrip("/") + "/")]
    nearest = sorted(below, key=lambda root: -len(root.path))
    return tuple((root, script[len(root.path.rstrip("/")) + 1 :]) for root in nearest)


def _inside(chroot: str | None, path: str) -> str:
    """Return what *path*, which lies below *chroot*, is called there."""
    return path if chroot is None else "/" + posixpath.relpath(path, chroot)
