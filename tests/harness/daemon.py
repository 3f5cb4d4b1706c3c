"""fcgipm as a process, for tests from outside."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.leftovers import alive, bound_sockets, descendants, end_all, holders, stay
from harness.waiting import until

SCRIPTS = Path(sys.executable).parent
FCGIPM = str(SCRIPTS / "fcgipm")
FCGIPMCTL = str(SCRIPTS / "fcgipmctl")


class ControlConnection(http.client.HTTPConnection):
    """HTTP over the control socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


def configuration(runtime: Path, apps: str, daemon: str) -> str:
    """Return a whole configuration: *daemon* are lines for [fcgipm], *apps* all the other tables.

    What tests do not want unless they say so is switched off: the metrics port, the pause between the first starts.
    """
    lines = ["[fcgipm]", f'runtime-dir = "{runtime}"']
    if "metrics-listen" not in daemon:
        lines.append('metrics-listen = ""')
    lines.append(daemon)
    if "[defaults]" not in apps:
        lines += ["[defaults]", "init-start-delay = 0"]
    return "\n".join([*lines, apps, ""])


class Daemon:
    """One ``fcgipm start --foreground``, its files below *directory*.

    *apps* is the TOML text of the applications, *daemon* more lines for the table [fcgipm].  Its log is the file
    ``log`` (standard error).  *program* may be another one than fcgipm, for what has to be worse than it.
    """

    def __init__(
        self,
        directory: Path,
        apps: str,
        *,
        daemon: str = "",
        arguments: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        program: Sequence[str] = (FCGIPM,),
    ) -> None:
        self.directory = directory
        self.runtime = directory / "run"
        self.config = directory / "apps.toml"
        self.control = self.runtime / "control.sock"
        self.logfile = directory / "log"
        self.apps = apps
        """The configuration that it was started with, the daemon's own lines not included."""
        self.configure(apps, daemon=daemon)
        self._seen: set[tuple[int, int]] = set()
        with self.logfile.open("ab") as log:
            self.process = subprocess.Popen(
                [*program, "start", "--foreground", *arguments, str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(os.environ) if environ is None else dict(environ),
                start_new_session=True,
            )

    def configure(self, apps: str, *, daemon: str = "") -> None:
        """Write the configuration file anew; `ctl("apply")` makes the daemon read it."""
        self.config.write_text(configuration(self.runtime, apps, daemon))
        self.config.chmod(0o644)

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def pid(self) -> int:
        """The keeper."""
        return self.process.pid

    @property
    def manager(self) -> int:
        """The manager's pid, as the daemon tells it."""
        return int(self.status()["manager_pid"])

    def log(self) -> str:
        """Return all it has written so far."""
        return self.logfile.read_text(errors="replace")

    def http(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None, timeout: float = 30
    ) -> tuple[int, bytes]:
        """Send one request to the control socket; return its status and body.  *body* is sent as JSON."""
        connection = ControlConnection(self.control, timeout)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def status(self, *apps: str) -> dict[str, Any]:
        """Return what `fcgipmctl status --json` prints."""
        query = "&".join(f"app={app}" for app in apps)
        code, body = self.http("GET", "/v1/status" + (f"?{query}" if query else ""))
        assert code == 200, (code, body)
        answer: dict[str, Any] = json.loads(body)
        return answer

    def app(self, name: str) -> dict[str, Any]:
        """Return the part of the status that is about one application."""
        (answer,) = self.status(name)["apps"]
        assert isinstance(answer, dict)
        return answer

    def instances(self, name: str, state: str | None = "ready") -> list[int]:
        """Return the pids of an application's instances in *state* (None: in any)."""
        return [item["pid"] for item in self.app(name)["instances"] if state is None or item["state"] == state]

    def socket(self, name: str) -> Path:
        """Return the path of an application's socket in the runtime directory."""
        return self.runtime / f"{name}.sock"

    def ctl(self, *arguments: str, timeout: float = 60, environ: Mapping[str, str] | None = None) -> Ctl:
        """Run fcgipmctl and return its exit code and what it printed."""
        return subprocess.run(
            [FCGIPMCTL, "-s", str(self.control), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=None if environ is None else dict(environ),
        )

    # ── waiting ──────────────────────────────────────────────────────────────────────────────────────────────────

    def answering(self) -> bool:
        """Say whether the control socket answers; a daemon that has ended fails the test, with its log."""
        if self.process.poll() is not None:
            raise AssertionError(f"fcgipm ended with status {self.process.returncode}:\n{self.log()}")
        try:
            return self.http("GET", "/v1/status", timeout=5)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def running(self) -> bool:
        """Say whether every declared application that is not stopped has all its instances ready."""
        return self.answering() and all(
            app["state"] == "stopped" or (app["state"] == "running" and app["ready"] >= app["processes"])
            for app in self.status()["apps"]
            if app["kind"] == "static"
        )

    def wait_running(self, within: float = 30) -> Daemon:
        """Wait until `running`."""
        self._until(self.running, within, "every application is running")
        return self

    def wait_answering(self, within: float = 30) -> Daemon:
        """Wait until `answering`."""
        self._until(self.answering, within, "the control socket answers")
        return self

    def wait_state(self, name: str, state: str, within: float = 30) -> dict[str, Any]:
        """Wait until the application *name* is in *state*; return its status."""
        self._until(lambda: self.answering() and self.app(name)["state"] == state, within, f"{name} is {state}")
        return self.app(name)

    def _until(self, condition: Any, within: float, what: str) -> None:
        try:
            until(condition, within=within, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- log of the daemon ---\n{self.log()}") from error

    # ── ending ───────────────────────────────────────────────────────────────────────────────────────────────────

    def remember(self) -> None:
        """Note all its processes, so that `stop` finds them even after a kill of the keeper."""
        self._seen |= descendants(self.process.pid)

    def kill(self) -> None:
        """Kill the keeper without warning."""
        self.remember()
        self.process.kill()
        self.process.wait()

    def stop(self, *, within: float = 30) -> int:
        """End the daemon by SIGTERM, prove that nothing of it is left, and return its exit status."""
        self.remember()
        if self.process.poll() is None:
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(within)
        late = self.process.poll() is None
        if late:
            self.process.kill()
            self.process.wait()
        left = stay(self._left)
        end_all(left)
        assert not late, f"fcgipm did not end within {within} s of SIGTERM:\n{self.log()}"
        assert not left, f"processes left behind: {left}\n{self.log()}"
        return self.process.returncode

    def clean_up(self) -> None:
        """End the daemon in whatever state a test left it; what survives a daemon that ended by itself is a fault."""
        killed = self.process.poll() == -signal.SIGKILL
        if killed:  # the test killed the keeper: its instances are orphans by intent
            end_all(self._left())
        else:
            self.stop()
        sockets = bound_sockets(str(self.directory))
        assert not sockets, f"sockets left behind: {sockets}"

    def _left(self) -> dict[int, str]:
        known = {pid: "descendant" for pid, start in self._seen if alive((pid, start))}
        return known | holders(str(self.runtime))


Ctl = subprocess.CompletedProcess[str]
"""What a run of fcgipmctl gave."""
