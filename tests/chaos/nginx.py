"""nginx before an application, as plain as can be: whatever it is answered or refused, its visitors see."""

from __future__ import annotations

import contextlib
import grp
import os
import re
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.components import need
from harness.leftovers import descendants
from harness.waiting import ended, until


def _account() -> str:
    if os.geteuid() != 0:
        return ""
    try:
        grp.getgrnam("www-data")
    except KeyError:
        return "user root root;"
    return "user www-data www-data;"


class Nginx:
    """One nginx in *directory*, which asks *upstream* (a path, or a port of 127.0.0.1); a context.

    It listens at `address` and retries nothing.
    """

    def __init__(self, directory: Path, upstream: str | int, script: str = "/", *, keep: bool = False) -> None:
        directory.mkdir(mode=0o755)
        self.address = str(directory / "web.sock")
        self.errors = directory / "error.log"
        where = f"unix:{upstream}" if isinstance(upstream, str) else f"127.0.0.1:{upstream}"
        kept = ("keepalive 8;", "fastcgi_keep_conn on;") if keep else ("", "")
        temporary = "\n".join(
            f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        self._config = directory / "nginx.conf"
        self._config.write_text(
            f"""
{_account()}
daemon off;
worker_processes 1;
pid {directory}/pid;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    {temporary}
    upstream application {{ server {where} max_fails=0; {kept[0]} }}
    server {{
        listen unix:{self.address};
        location / {{
            fastcgi_pass application;
            fastcgi_next_upstream off;
            fastcgi_read_timeout 60s;
            {kept[1]}
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param SCRIPT_NAME /;
            fastcgi_param SCRIPT_FILENAME {script};
            fastcgi_param REDIRECT_STATUS 200;
        }}
    }}
}}
"""
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [need("nginx"), "-e", str(self.errors), "-c", str(self._config)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self._listens, what="nginx listens")
        return self

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(self.address)
            return True
        return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        family = [pid for pid, _ in descendants(self._process.pid)]
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)
        for pid in family:
            ended(pid)

    def explained(self) -> dict[int, str]:
        """Return what its log says of requests that failed, by their number."""
        found = {}
        for line in self.errors.read_text(errors="replace").splitlines():
            if (match := re.search(r'\*\d+ (.*?), client: .*"GET /\?n=(\d+) ', line)) is not None:
                found[int(match[2])] = match[1]
        return found
