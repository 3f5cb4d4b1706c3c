"""Real FastCGI programs for the tests, and small ones that wait for their listener in every way there is."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from harness.components import need

STDIO: Final = """
#include <fcgi_stdio.h>
#include <unistd.h>
int main(void) {
    while (FCGI_Accept() >= 0) { usleep(300); printf("Content-Type: text/plain\\r\\n\\r\\nhello\\n"); }
    return 0;
}
"""

THREADED: Final = """
#include <fcgiapp.h>
#include <pthread.h>
#include <unistd.h>
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static void *serve(void *unused) {
    FCGX_Request request;
    FCGX_InitRequest(&request, 0, 0);
    for (;;) {
        pthread_mutex_lock(&mutex);
        int result = FCGX_Accept_r(&request);
        pthread_mutex_unlock(&mutex);
        if (result < 0) break;
        usleep(300);
        FCGX_FPrintF(request.out, "Content-Type: text/plain\\r\\n\\r\\nhello\\n");
        FCGX_Finish_r(&request);
    }
    return unused;
}
int main(int count, char **arguments) {
    pthread_t thread;
    FCGX_Init();
    for (int i = 0; i < 4; i++) pthread_create(&thread, NULL, serve, NULL);
    if (count > 1) pthread_exit(NULL);  /* the main thread ends, the others serve */
    return (int)(long)serve(NULL);
}
"""

VFORK: Final = """
#include <unistd.h>
int main(void) {
    if (vfork() == 0) { write(1, "child\\n", 6); for (;;) pause(); }
    return 0;
}
"""

PERL: Final = (
    "use FCGI; my $r = FCGI::Request();"
    ' while ($r->Accept() >= 0) { print "Content-Type: text/plain\\r\\n\\r\\nhello\\n" }'
)

_PRELUDE: Final = """
import os, select, selectors, signal, socket, struct, sys, time
s = socket.socket(fileno=os.dup(0))
def said():
    os.write(1, b"here\\n")
"""

WAITERS: Final[Mapping[str, str]] = {
    "accept": "s.accept()",
    "poll by a time limit": "s.settimeout(100); s.accept()",
    "poll": "p = select.poll(); p.register(1); p.register(s, select.POLLIN); p.unregister(1); p.poll()",
    "select": "select.select([s], [], [])",
    "epoll": "e = selectors.EpollSelector(); e.register(s, selectors.EVENT_READ); e.select()",
    "asyncio": "import asyncio\nasync def main():\n  await asyncio.start_server(print, sock=s)\n"
    "  await asyncio.sleep(100)\ns.setblocking(False)\nasyncio.run(main())",
    "a thread": "import threading; threading.Thread(target=s.accept).start(); time.sleep(100)",
    "a child": "pid = os.fork()\nif pid: os.waitpid(pid, 0)\nelse: s.accept()",
    "a child with a session of its own": "pid = os.fork()\nif pid: os.waitpid(pid, 0)\nelse: os.setsid(); s.accept()",
}
"""Programs that wait for their listener."""

SLEEPERS: Final[Mapping[str, str]] = {
    "sleep": "said(); time.sleep(100)",
    "poll of a pipe": "r, w = os.pipe(); p = select.poll(); p.register(r); said(); p.poll()",
    "poll of the listener for output": "p = select.poll(); p.register(s, select.POLLPRI); said(); p.poll()",
    "select of a pipe": "r, w = os.pipe(); said(); select.select([r], [], [])",
    "epoll of a pipe": "r, w = os.pipe(); e = select.epoll(); e.register(r); said(); e.poll()",
    "accept of another socket": "o = socket.create_server(('127.0.0.1', 0)); said(); o.accept()",
    "accept of another Unix socket": "o = socket.socket(socket.AF_UNIX); o.bind(''); o.listen(); said(); o.accept()",
    "recv of a datagram": "a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); said(); a.recv(1)",
    "recv of a stream": "a, b = socket.socketpair(); said(); a.recv(1)",
    "recv of UDP": "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', 0)); said(); u.recv(1)",
    "a lock": "import threading; x = threading.Lock(); x.acquire(); said(); x.acquire()",
    "a child": "pid = os.fork()\nif pid: os.waitpid(pid, 0)\nelse: said(); time.sleep(100)",
    "read of a pipe": "r, w = os.pipe(); said(); os.read(r, 1)",
}
"""Programs that say "here" and then sleep in something else, as one does that is still starting."""


def waiting(code: str) -> tuple[str, ...]:
    """Return the command of one of the programs above."""
    return ("/usr/bin/python3", "-I", "-S", "-c", _PRELUDE + code)


def compiled(source: str, program: Path, *libraries: str, static: bool = False) -> Path:
    """Compile C code, with *static* for a chroot; skip where there is no compiler or, with *libraries*, no libfcgi."""
    compiler = need("libfcgi") if libraries else need("gcc")
    options = ["-O1", *(["-static"] if static else [])]
    command = [compiler, *options, "-x", "c", "-", "-o", str(program), *(f"-l{name}" for name in libraries)]
    subprocess.run(command, input=source.encode(), check=True, timeout=60)
    return program
