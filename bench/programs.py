"""The small C programs that are measured with, compiled when needed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


class Missing(Exception):
    """Something that a measurement needs is not installed."""


HELLO = r"""
#include <fcgi_stdio.h>
int main(void) {
    while (FCGI_Accept() >= 0)
        printf("Content-Type: text/plain\r\n\r\nhello, world\n");
    return 0;
}
"""
"""A plain FastCGI program on libfcgi, as most C programs are."""

NOTHING = "int main(void) { return 0; }\n"
"""What a spawn costs beside the program itself."""


def tool(name: str) -> str:
    """Return the path of a program; raises `Missing`."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        raise Missing(f"{name} is not installed")
    return path


def compiled(place: Path, name: str, source: str, *options: str) -> str:
    """Compile *source* in *place*, unless it is there already, and return the program's path."""
    program = place / name
    if not program.exists():
        code = place / f"{name}.c"
        code.write_text(source)
        done = subprocess.run(
            [tool("gcc"), "-O2", "-o", str(program), str(code), *options], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Missing(f"{name} does not compile: {done.stderr.strip().splitlines()[0]}")
    return str(program)


def hello(place: Path) -> str:
    """Return the FastCGI program."""
    return compiled(place, "hello", HELLO, "-lfcgi")


def nothing(place: Path) -> str:
    """Return the program that ends at once."""
    return compiled(place, "nothing", NOTHING, "-static")
