"""A real systemd, process 1 of name spaces of its own, that has nothing to start but what a test gives it.

It must change nothing of the machine: systemd-nspawn leaves it /proc/sys, /sys and /usr to read only, a /dev, /run and
/tmp of its own, and a network without interfaces; its cgroups are below one that is the test's, and removed with it.
What nspawn itself would leave in /run goes to a file system that ends with it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import psutil
import pytest

from harness.components import need
from harness.daemon import SCRIPTS, Ctl
from harness.waiting import until

TREE: Final = Path(__file__).parents[2]
UNITS: Final = "/etc/systemd/system"
"""The only directory from which units are loaded."""
_STUBS: Final = ("sysinit", "basic", "multi-user", "shutdown", "network", "remote-fs", "nss-user-lookup")
_READABLE: Final = sorted({str(TREE), sys.prefix, sys.base_prefix} - {"/usr"})
"""What is fcgipm, beside /usr."""
_NUMBERS: Final = itertools.count()

# It ends with its standard input, so also with a test that is killed. The looks at the end are for the kernel, which
# takes a while to free a cgroup whose processes are killed.
_LAUNCH: Final = """
set -eu
mount -t tmpfs none /run
mount -t cgroup2 none /sys/fs/cgroup
inside=$(sed -n 's/^0:://p' /proc/self/cgroup)
own=/sys/fs/cgroup${inside%/}/$1
shift
mkdir "$own"
test -e "$own/cgroup.kill" || { rmdir "$own"; echo "no cgroup.kill (Linux 5.14)"; exit 1; }
exec 3<&0
sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$own" "$@" </dev/null 3<&- &
booted=$!
{ cat <&3 >/dev/null; echo 1 >"$own/cgroup.kill"; } &
wait $booted || true
echo 1 >"$own/cgroup.kill"
for look in $(seq 200); do
    find "$own" -depth -type d -exec rmdir {} + 2>/dev/null || true
    test -d "$own" || exit 0
    sleep 0.05
done
echo "$own stays"
exit 1
"""


class Machine:
    """A booted systemd, as a context; its root is *directory*, an empty one.

    The test is skipped where none can be booted; that is no fault of the machine's.
    """

    def __init__(self, directory: Path) -> None:
        self.root = directory
        self._output = directory.with_name(f"{directory.name}.console")
        self._process: subprocess.Popen[bytes] | None = None
        self.pid = 0
        """Process 1, as the test sees it."""

    def __enter__(self) -> Self:
        nspawn = need("systemd-nspawn")
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._furnish()
        options = [
            f"--directory={self.root}", "--machine=booted", "--boot", "--quiet", "--console=pipe", "--register=no",
            "--keep-unit", "--settings=no", "--private-network", "--resolv-conf=off", "--timezone=off",
            "--link-journal=no", "--system-call-filter=pidfd_getfd", f"--setenv=SYSTEMD_UNIT_PATH={UNITS}",
            "--bind-ro=/usr", *(f"--bind-ro={path}" for path in _READABLE), "--", "--log-target=console",
        ]  # fmt: skip
        name = f"fcgipm-{os.getpid()}-{next(_NUMBERS)}"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [*unshare, "sh", "-c", _LAUNCH, "sh", name, nspawn, *options],
                stdin=subprocess.PIPE, stdout=output, stderr=output, cwd="/",
                env={"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )  # fmt: skip
        try:
            until(self._is_up, what="systemd has booted")
        except AssertionError as error:
            self._end()
            pytest.skip(f"no systemd can be booted here: {error}: {self._said()}")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._end() == 0, self._said()

    def _end(self) -> int:
        """End all that was started; return 0 if nothing is left of it."""
        assert self._process is not None
        self._process.communicate(timeout=30)
        return self._process.returncode

    def _said(self) -> str:
        return self._output.read_text(errors="replace")[-400:]

    def _furnish(self) -> None:
        """Make all of the root that is not the machine's own."""
        for name in ("usr", "etc", "var/log", "root", f".{UNITS}"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
            if os.path.islink(f"/{name}"):
                (self.root / name).symlink_to(f"usr/{name}")
        for name in ("passwd", "group", "nsswitch.conf", "ld.so.cache"):
            shutil.copy(f"/etc/{name}", self.root / "etc")
        (self.root / "etc/os-release").write_text("ID=test\n")
        (self.root / "etc/machine-id").write_text("")
        for name in _STUBS:
            self.unit(f"{name}.target", "[Unit]\nDefaultDependencies=no\n")
        self.unit("default.target", "[Unit]\nRequires=multi-user.target\nAfter=multi-user.target\nAllowIsolate=yes\n")

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"it ended with status {self._process.returncode}"
        for child in psutil.Process(self._process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # nspawn has helpers that come and go
                if child.name() == "systemd":
                    self.pid = child.pid
        return self.pid != 0 and self.systemctl("is-active", "default.target").returncode == 0

    # ── what is in it ────────────────────────────────────────────────────────────────────────────────────────────

    def unit(self, name: str, text: str) -> None:
        """Write a file below the directory of units."""
        path = Path(f"{self.root}{UNITS}/{name}")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def install(self, name: str, more: str = "") -> None:
        """Install a shipped service *name* as it is, but for where fcgipm lies; *more* are lines for [Service]."""
        shipped = (TREE / "systemd" / name).read_text()
        paths = re.findall(r"^Exec\w+=/usr/bin/.*", shipped, re.MULTILINE)
        # A private /tmp would hide an fcgipm that lies in the common one.
        moved = f"BindReadOnlyPaths={' '.join(_READABLE)}\n" if "PrivateTmp=yes" in shipped else ""
        moved += "".join(f"{line.split('=')[0]}=\n{line.replace('/usr/bin', str(SCRIPTS))}\n" for line in paths)
        self.unit(name, shipped)
        self.unit(f"{name}.d/test.conf", f"[Service]\n{moved}StandardOutput=append:/var/log/{name}\n{more}")
        self.must("daemon-reload")

    def path(self, path: str) -> Path:
        """Return where the test sees what systemd and its services see as *path*."""
        return Path(f"/proc/{self.pid}/root{path}")

    # ── what it is told and asked ────────────────────────────────────────────────────────────────────────────────

    def run(self, *command: str) -> Ctl:
        """Run a command beside systemd."""
        inside = ["nsenter", f"--target={self.pid}", "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]
        return subprocess.run(
            [*inside, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
        )

    def systemctl(self, *words: str) -> Ctl:
        """Run systemctl."""
        return self.run("systemctl", "--no-pager", *words)

    def must(self, *words: str) -> str:
        """Run systemctl, which must succeed; return what it prints."""
        done = self.systemctl(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def show(self, unit: str) -> Mapping[str, str]:
        """Return the properties of *unit*."""
        return dict(line.split("=", 1) for line in self.must("show", unit).splitlines() if "=" in line)

    def processes(self) -> list[int]:
        """Return the processes that systemd has started, as the test sees them, and all that these have."""
        return [child.pid for child in psutil.Process(self.pid).children(recursive=True)]
