"""What the tests need of the system beside Python: real web servers, real FastCGI applications, tools."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

import pytest

SEARCH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"))


def _program(name: str) -> Callable[[], str | None]:
    return lambda: shutil.which(name, path=SEARCH)


def _file(path: str) -> Callable[[], str | None]:
    return lambda: path if Path(path).exists() else None


def _perl_fcgi() -> str | None:
    perl = shutil.which("perl")
    if perl is None or subprocess.run([perl, "-MFCGI", "-e", "1"], capture_output=True, check=False).returncode:
        return None
    return perl


def _c_library() -> str | None:
    return shutil.which("gcc") if Path("/usr/include/fcgiapp.h").exists() else None


COMPONENTS: Mapping[str, tuple[Callable[[], str | None], str]] = MappingProxyType(
    {
        "apache": (_program("apache2"), "apache2"),
        "nginx": (_program("nginx"), "nginx-light"),
        "lighttpd": (_program("lighttpd"), "lighttpd"),
        "php-cgi": (_program("php-cgi"), "php-cgi"),
        "fcgiwrap": (_program("fcgiwrap"), "fcgiwrap"),
        "spawn-fcgi": (_program("spawn-fcgi"), "spawn-fcgi"),
        "cgi-fcgi": (_program("cgi-fcgi"), "libfcgi-bin"),
        "promtool": (_program("promtool"), "prometheus"),
        "mandoc": (_program("mandoc"), "mandoc"),
        "systemd-analyze": (_program("systemd-analyze"), "systemd"),
        "systemd-nspawn": (_program("systemd-nspawn"), "systemd-container"),
        "systemd-socket-activate": (_program("systemd-socket-activate"), "systemd"),
        "systemd-sysusers": (_program("systemd-sysusers"), "systemd"),
        "systemd-tmpfiles": (_program("systemd-tmpfiles"), "systemd"),
        "logrotate": (_program("logrotate"), "logrotate"),
        "gcc": (_program("gcc"), "gcc"),
        "make": (_program("make"), "make"),
        "perl": (_program("perl"), "perl"),
        "libfcgi": (_c_library, "libfcgi-dev gcc"),
        "libfcgi-perl": (_perl_fcgi, "libfcgi-perl"),
        "suexec": (_file("/usr/lib/apache2/suexec"), "apache2-suexec-custom"),
    }
)
"""Component -> how it is found (its path, None if missing), and the Debian package it comes from."""


@cache
def find(component: str) -> str | None:
    """Return where *component* is, None if it is missing."""
    return COMPONENTS[component][0]()


def need(component: str) -> str:
    """Return the path of *component*; a test whose component is missing is skipped, but fails in CI."""
    path = find(component)
    if path is None:
        absent(f"{component} is not installed (Debian: apt-get install {COMPONENTS[component][1]})")
    return path


def absent(reason: str) -> NoReturn:
    """Skip the test because the machine lacks something; in CI nothing may be lacking, so it fails there."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; in CI nothing may be skipped", pytrace=False)
    pytest.skip(reason)
