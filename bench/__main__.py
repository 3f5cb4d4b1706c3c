"""Measure everything and print one table; ``python -m bench NAME…`` only some of `MEASUREMENTS`."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import (
    asking,
    cold,
    killed,
    latency,
    pressure,
    reload,
    reporting,
    requests,
    resting,
    spawns,
    step,
    upgrade,
    warm,
)
from bench.programs import Missing
from bench.table import Row, Skipped, rendered

MEASUREMENTS: dict[str, Callable[[Path], Iterator[Row | Skipped]]] = {
    "requests": requests.measure,
    "spawns": spawns.measure,
    "resting": resting.measure,
    "killed": killed.measure,
    "reload": reload.measure,
    "latency": latency.measure,
    "cold": cold.measure,
    "asking": asking.measure,
    "reporting": reporting.measure,
    "pressure": pressure.measure,
    "warm": warm.measure,
    "step": step.measure,
    "upgrade": upgrade.measure,
}


def main(names: list[str]) -> int:
    """Run the measurements *names* (all, if none is named); return 1 if a bound was missed."""
    lines: list[Row | Skipped] = []
    for name in names or MEASUREMENTS:
        print(f"measuring {name} …", file=sys.stderr)
        place = Path(tempfile.mkdtemp(prefix="fb.", dir="/tmp"))
        place.chmod(0o755)
        try:
            lines += MEASUREMENTS[name](place)
        except Missing as error:
            lines.append(Skipped(name, str(error)))
        finally:
            shutil.rmtree(place)
    print(f"\nPython {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} processors")
    print(rendered(lines))
    return int(any(isinstance(line, Row) and line.verdict == "MISSED" for line in lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
