"""Set the title of the daemon's process."""

from __future__ import annotations

from importlib.machinery import PathFinder
from importlib.util import module_from_spec


def set_title(title: str) -> None:
    """Let ps and top call this process *title*.

    Only setproctitle's extension is loaded where that can be: the package around it imports logging, which would be
    0.6 MB more that every fork copies.
    """
    package = PathFinder.find_spec("setproctitle")
    places = package.submodule_search_locations if package is not None else None
    found = PathFinder.find_spec("_setproctitle", places) if places else None
    if found is None or found.loader is None:
        import setproctitle  # noqa: PLC0415  see above

        setproctitle.setproctitle(title)
        return
    extension = module_from_spec(found)
    found.loader.exec_module(extension)
    extension.setproctitle(title)
