"""``python -m fcgipm.turnaway SECONDS ABOVE``: answers who waits on file descriptor 0 with 503 and this Retry-After.

An application like any other, standard library only, started while nobody else can serve.  Several threads wait in
accept, so that a slow visitor does not hold the others; no flag of the listener is touched, which may be others' too.
A request is read first: who is answered while he still sends may never read the answer.  With ABOVE, nobody is taken
from the queue unless more than so many wait in it: those are left to others who serve.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import threading
import time
from typing import Final

from fcgipm.fastcgi import FastCGIError, Kind, Record, RecordReader, Role, encode_end, encode_pairs, encode_record
from fcgipm.fastcgi import encode_response as encode_answer

_THREADS: Final = 16
_LOOK_EVERY: Final = 0.02
"""Seconds between two looks at a queue that is short enough; fcgipm ends us soon when it stays so."""
_LIMIT: Final = 64 * 1024
"""Bytes of a connection that are read before it is answered in any case."""
_PATIENCE: Final = 5.0
"""Seconds that a request may take to come."""
_FAREWELL: Final = 2.0
"""Seconds that may pass from the answer to the end of what the other side still sends."""
_BEGIN_SIZE: Final = 8
_PAGE: Final = """\
<!DOCTYPE html>
<html lang=en>
<meta charset=utf-8>
<title>Service Unavailable</title>
<h1>Service Unavailable</h1>
<p>Nobody can serve this request at the moment. Please try again in {seconds} s.</p>
</html>
"""


def main(arguments: list[str]) -> int:
    """Answer until a signal comes or whoever started us has gone; return the exit status."""
    try:
        seconds, above = map(int, arguments)
        listener = socket.socket(fileno=os.dup(0))
        if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError("standard input is not a listening socket")
        gate = Gate(listener, above) if above > 0 else contextlib.nullcontext()
    except ValueError:
        print("usage: python -m fcgipm.turnaway SECONDS ABOVE", file=sys.stderr)  # noqa: T201
        return 2
    except OSError as error:
        print(f"fcgipm.turnaway: {error}; fcgipm starts it", file=sys.stderr)  # noqa: T201
        return 2
    answer = response(seconds)
    for _ in range(_THREADS):
        threading.Thread(target=_accept, args=(listener, gate, answer), daemon=True).start()
    # Nobody reads our output any more: fcgipm has gone, and what it has left may serve.
    poller = select.poll()
    poller.register(1, 0)
    poller.poll()
    return 0


def response(seconds: int) -> bytes:
    """Return the CGI answer."""
    page = _PAGE.format(seconds=seconds).encode()
    head = (
        f"Status: 503 Service Unavailable\r\nRetry-After: {seconds}\r\nCache-Control: no-store\r\n"
        f"Content-Type: text/html; charset=utf-8\r\nContent-Length: {len(page)}\r\n\r\n"
    )
    return head.encode() + page


class Gate:
    """Lets one thread at a time through, as long as more than *above* connections wait at *listener*."""

    def __init__(self, listener: socket.socket, above: int) -> None:
        from fcgipm.linux.sock_diag import Diag, endpoint_of  # noqa: PLC0415  half of the start, and seldom needed

        self._endpoint, self._above = endpoint_of(listener), above
        self._diag = Diag()
        self._lock = threading.Lock()
        self._never = threading.Event()

    def __enter__(self) -> None:
        self._lock.acquire()
        while not self._is_open():
            self._never.wait(_LOOK_EVERY)

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _is_open(self) -> bool:
        try:
            queue = self._diag.queue(self._endpoint)
        except OSError:
            return False  # who waits cannot be seen just now
        return queue is not None and queue.waiting > self._above


def _accept(listener: socket.socket, gate: contextlib.AbstractContextManager[None], answer: bytes) -> None:
    while True:
        try:
            with gate:
                connection, _ = listener.accept()
        except BlockingIOError:  # another instance has set O_NONBLOCK, which is its own affair
            poller = select.poll()
            poller.register(listener, select.POLLIN)
            poller.poll()
            continue
        except ConnectionAbortedError:
            continue
        except OSError as error:
            print(f"fcgipm.turnaway: accept: {error}", file=sys.stderr)  # noqa: T201
            os._exit(1)
        with connection:
            try:
                serve(connection, answer)
            except (OSError, FastCGIError):
                continue  # who sends what is no request gets no answer


def serve(connection: socket.socket, answer: bytes) -> None:
    """Give every request on *connection* this *answer*, and close it, also one that was to be kept.

    Who comes back on a kept connection would be turned away still when others could serve him.  Raises OSError and
    `FastCGIError` where the other side does not do its part.
    """
    reader, requests = RecordReader(), Requests()
    deadline, left = time.monotonic() + _PATIENCE, _LIMIT
    while left > 0 and (seconds := deadline - time.monotonic()) > 0 and not requests.are_done:
        connection.settimeout(seconds)
        try:
            data = connection.recv(left)
        except TimeoutError:
            break
        if not data:
            break
        left -= len(data)
        replies = b"".join(requests.take(record, answer) for record in reader.feed(data))
        if replies:
            connection.sendall(replies)
    connection.settimeout(_FAREWELL)
    connection.sendall(requests.end(answer))
    _see_off(connection)


def _see_off(connection: socket.socket) -> None:
    """Read what still comes: closed over it, the connection would be reset, and the answer could be lost."""
    connection.shutdown(socket.SHUT_WR)
    deadline = time.monotonic() + _FAREWELL
    while (seconds := deadline - time.monotonic()) > 0:
        connection.settimeout(seconds)
        if not connection.recv(_LIMIT):
            return


class Requests:
    """The requests of one connection, from their beginning to their answer; many at a time are no matter."""

    def __init__(self) -> None:
        self._roles: dict[int, int] = {}
        """By request id: those that are not answered yet."""
        self._answered = False

    @property
    def are_done(self) -> bool:
        """Whether there was a request, and none is left."""
        return self._answered and not self._roles

    def take(self, record: Record, answer: bytes) -> bytes:
        """Take what has come; return what is to be sent for it.  Raises `FastCGIError`."""
        number = record.request_id
        match record.kind:
            case Kind.GET_VALUES:
                return encode_record(Record(Kind.GET_VALUES_RESULT, 0, encode_pairs({"FCGI_MPXS_CONNS": "1"})))
            case Kind.BEGIN_REQUEST if len(record.content) == _BEGIN_SIZE:
                self._roles[number] = int.from_bytes(record.content[:2], "big")
            case Kind.BEGIN_REQUEST:
                raise FastCGIError(f"a BEGIN_REQUEST of {len(record.content)} bytes")
            case Kind.ABORT_REQUEST if self._ends(number):
                return encode_end(number)
            case Kind.STDIN if not record.content and self._ends(number):
                return encode_answer(number, answer)
            case Kind.PARAMS if not record.content and self._roles.get(number) == Role.AUTHORIZER:
                self._ends(number)  # it is sent no body, and not always the end of one
                return encode_answer(number, answer)
        return b""

    def end(self, answer: bytes) -> bytes:
        """Return the answers to those whose end was not waited for."""
        return b"".join(encode_answer(number, answer) for number in self._roles)

    def _ends(self, number: int) -> bool:
        self._answered = self._answered or number in self._roles
        return self._roles.pop(number, None) is not None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
