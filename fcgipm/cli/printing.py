"""Print what a command has to say, wherever its output goes: to a full disk, to nobody, or nowhere at all."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Iterable
from typing import Final, TextIO

_FAILED: Final = 1


def print_lines(lines: Iterable[str]) -> None:
    """Print *lines* to standard output; a reader who has seen enough, such as ``head``, is no error."""
    try:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(sys.stdout)


def complain(program: str, text: str) -> None:
    """Say *text* in the name of *program* on standard error; if that takes nothing, there is nobody to be told."""
    try:
        print(f"{program}: {text}", file=sys.stderr, flush=True)
    except OSError:
        _silence(sys.stderr)


def exit_status(program: str, command: Callable[[], int]) -> int:
    """Run *command*, also one that ends by `SystemExit`; return its exit status.

    It is 1, with a line on standard error, if standard output does not take what was printed.
    """
    prepare_output()
    try:
        try:
            status = command()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else _FAILED if end.code else 0
        print_lines(())
    except OSError as error:
        complain(program, f"cannot write the output: {_reason(error)}")
        _silence(sys.stdout)
        return _FAILED
    return status


def prepare_output() -> None:
    """Let no character that the terminal's encoding lacks, and no closed descriptor, end the program.

    What is printed to a closed standard output cannot be written, as to one that is full.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:  # no file that is opened later, such as a socket, may get this number
            os.open(os.devnull, flags | os.O_CLOEXEC)  # the lowest that is free
    sys.stdout = sys.stdout or _text(1)
    sys.stderr = sys.stderr or _text(2)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _text(number: int) -> TextIO:
    return open(number, "w", encoding="utf-8", closefd=False)  # it stays open to the end


def _silence(stream: TextIO) -> None:
    """Lead what *stream* still holds to nowhere: the interpreter flushes once more, and must not stumble there."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _reason(error: OSError) -> str:
    if error.errno == errno.EBADF:
        return "standard output is closed"
    return (error.strerror or str(error)).lower()
