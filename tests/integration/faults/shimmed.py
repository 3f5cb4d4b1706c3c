"""fcgipm with a library in keeper and manager that lets a fault happen; ``shimmed.py LIBRARY FAULTS start …``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from fcgipm.cli.fcgipm import main
from fcgipm.keeper.supervising import supervise

if __name__ == "__main__":
    library, faults = sys.argv[1:3]
    if os.environ.get("LD_PRELOAD") != library:
        environment = {**os.environ, "LD_PRELOAD": library, "FAULTS": faults}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)
    launch = supervise.launch  # type: ignore[attr-defined]  # imported there: it is called by that name

    def launch_shimmed(argv: Sequence[str], *more: Any) -> Any:
        """Start the manager, too, with the library."""
        return launch(("/usr/bin/env", f"LD_PRELOAD={library}", f"FAULTS={faults}", *argv), *more)

    supervise.launch = launch_shimmed  # type: ignore[attr-defined,assignment]
    sys.argv[:] = ["fcgipm", *sys.argv[3:]]
    sys.exit(main())
