"""Clients that ask a FastCGI application one request after another, in a process of their own.

``python -m harness.load ADDRESS CLIENTS PAUSE`` asks until its standard input ends, then prints a JSON object:
how many requests were answered, and how many were lost.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from fcgipm.fastcgi import FastCGIError, ResponseParser, encode_request

ROOT = Path(__file__).parents[2]


@dataclass
class Tally:
    """What the clients saw."""

    answered: int = 0
    lost: int = 0
    """Taken, and then not answered or not wholly."""
    refused: int = 0
    """Nobody there, or the queue full."""

    @property
    def failed(self) -> int:
        """Requests that a visitor would not have had an answer to."""
        return self.lost + self.refused


class Load:
    """Clients at work, as a context; `tally` is there afterwards."""

    def __init__(self, address: str | tuple[str, int], script: str = "/", clients: int = 4, pause: float = 0.0) -> None:
        path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
        words = [json.dumps(address), script, str(clients), str(pause)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.load", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.tally = Tally()

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"begun\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        output, _ = self._process.communicate(timeout=60)
        if kind is None:
            assert self._process.returncode == 0
            self.tally = Tally(**json.loads(output))


def ask(address: str | tuple[str, int], request: bytes) -> bool:
    """Ask once; return whether the whole answer came.  Raises OSError where nobody could be asked."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as client:
        client.settimeout(30)
        client.connect(address)
        parser = ResponseParser()
        try:
            client.sendall(request)
            while piece := client.recv(65536):
                if parser.feed(piece) is not None:
                    return True
        except (OSError, FastCGIError):
            return False
        return False


def main() -> None:
    """Run the clients."""
    raw, script, clients, pause = sys.argv[1:]
    decoded = json.loads(raw)
    address: str | tuple[str, int] = decoded if isinstance(decoded, str) else (decoded[0], decoded[1])
    params = {"REQUEST_METHOD": "GET", "SCRIPT_FILENAME": script, "SCRIPT_NAME": script, "REDIRECT_STATUS": "200"}
    request = encode_request(params)
    over = threading.Event()
    tallies = [Tally() for _ in range(int(clients))]

    def work(tally: Tally) -> None:
        while not over.is_set():
            try:
                if ask(address, request):
                    tally.answered += 1
                else:
                    tally.lost += 1
            except OSError:
                tally.refused += 1
            over.wait(float(pause))

    threads = [threading.Thread(target=work, args=(tally,)) for tally in tallies]
    for thread in threads:
        thread.start()
    print("begun", flush=True)
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    print(
        json.dumps({name: sum(getattr(tally, name) for tally in tallies) for name in ("answered", "lost", "refused")})
    )


if __name__ == "__main__":
    main()
