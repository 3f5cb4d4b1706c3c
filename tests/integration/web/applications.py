"""FastCGI applications by other people's libraries, and how a configuration names them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from harness.components import need

DEMO = [sys.executable, "-m", "fcgipm.demo"]

STDIO_C = r"""
#include <fcgi_stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(void) {
    int count = 0;
    while (FCGI_Accept() >= 0) {
        char *length = getenv("CONTENT_LENGTH");
        char *path = getenv("PATH_INFO");
        long left = length ? atol(length) : 0;
        printf("Content-Type: text/plain\r\n\r\nstdio %d %d %s ", (int)getpid(), ++count, path ? path : "-");
        for (; left > 0; left--) {
            int c = getchar();
            if (c == EOF) break;
            putchar(c);
        }
    }
    return 0;
}
"""

THREADED_C = r"""
#include <fcgiapp.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#define THREADS 4

static pthread_mutex_t accepting = PTHREAD_MUTEX_INITIALIZER;

static void *serve(void *argument) {
    FCGX_Request request;
    FCGX_InitRequest(&request, 0, 0);
    for (;;) {
        pthread_mutex_lock(&accepting);
        int failed = FCGX_Accept_r(&request);
        pthread_mutex_unlock(&accepting);
        if (failed < 0) return NULL;
        char *path = FCGX_GetParam("PATH_INFO", request.envp);
        FCGX_FPrintF(request.out, "Content-Type: text/plain\r\n\r\nthreaded %d %s", (int)getpid(), path ? path : "-");
        FCGX_Finish_r(&request);
    }
    return argument;
}

int main(void) {
    pthread_t threads[THREADS];
    FCGX_Init();
    signal(SIGTERM, SIG_DFL); /* the library's handler would end one thread's accept and leave the others */
    for (int i = 1; i < THREADS; i++) pthread_create(&threads[i], NULL, serve, NULL);
    serve(NULL);
    return 0;
}
"""

PERL = r"""#!/usr/bin/perl -w
# Ends on TERM and USR1, but never in the middle of a request.
use strict;
use FCGI;

my ($busy, $leave, $count) = (0, 0, 0);
my $request = FCGI::Request(\*STDIN, \*STDOUT, \*STDERR, \%ENV, 0, FCGI::FAIL_ACCEPT_ON_INTR());

sub leave { $leave = 1; exit 0 unless $busy }
$SIG{TERM} = \&leave;
$SIG{USR1} = \&leave;
$SIG{PIPE} = 'IGNORE';

while (!$leave && ($busy = ($request->Accept() >= 0))) {
    my $pause = ($ENV{QUERY_STRING} || '') =~ /pause=([\d.]+)/ ? $1 : 0;
    $count++;
    print "Content-Type: text/plain\r\n\r\n";
    print "perl $$ $count begins\n";
    $request->Flush();
    my $end = time + $pause;
    select undef, undef, undef, 0.05 while $pause && time < $end;
    print "perl $$ $count ends\n";
    $request->Finish();
    $busy = 0;
}
"""

CGI = """#!/bin/sh
case "$QUERY_STRING" in
nph) printf 'HTTP/1.1 418 Teapot\\r\\nContent-Type: text/plain\\r\\n\\r\\nnph\\n' ;;
send) printf 'Content-Type: text/plain\\r\\nX-Sendfile: %s\\r\\n\\r\\n' "$DOCUMENT_ROOT/sent.txt" ;;
*) printf 'Content-Type: text/plain\\r\\n\\r\\ncgi %s %s\\n' "$SCRIPT_NAME" "$PATH_INFO"; cat ;;
esac
"""


DEMO_SCRIPT = f"""#!{sys.executable}
from fcgipm.demo import main
raise SystemExit(main())
"""
"""The demonstration application as a file that can be executed."""

RECORDER = f"""#!{sys.executable}
# Writes down what is posted, one line a request; /die ends it then, /hold waits until somebody writes to a pipe.
import os, socket, sys
from pathlib import Path
from fcgipm.fastcgi import RequestParser, encode_response

directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(os.environ["RECORDS"])
listener = socket.socket(fileno=0)
while True:
    connection, _ = listener.accept()
    parser, requests = RequestParser(), []
    while not requests and (data := connection.recv(1 << 16)):
        requests = parser.feed(data)
    for request in requests:
        path, script = request.params.get("PATH_INFO", ""), request.params.get("SCRIPT_NAME", "")
        with open(directory / "records", "ab", buffering=0) as file:
            file.write(request.body[:100] + b"\\n")
        if path == "/die":
            os._exit(1)
        if path == "/hold":
            (directory / "gate").read_bytes()
        page = f"{{script}} {{path}} {{os.getpid()}} {{len(request.body)}}"
        connection.sendall(encode_response(request.request_id, b"Content-Type: text/plain\\r\\n\\r\\n" + page.encode()))
    connection.close()
"""
"""An application that counts; its directory is its argument, or the variable RECORDS."""


class Records:
    """What instances of `RECORDER` write down, and the gate that holds them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o755)
        self._file = directory / "records"
        self._file.touch()
        self._file.chmod(0o666)
        os.mkfifo(directory / "gate")
        (directory / "gate").chmod(0o644)

    def lines(self) -> list[str]:
        """Return what was posted, in the order in which it was read."""
        return self._file.read_text().splitlines()

    def release(self) -> None:
        """Let those go on who wait at the gate; somebody has to be there."""
        with (self.directory / "gate").open("wb"):
            pass


def app(name: str, command: list[str], *lines: str) -> str:
    """Return the table of an application; *lines* are more of it, in TOML."""
    return "\n".join([f'[app."{name}"]', f"command = {json.dumps(command)}", *lines, ""])


def demo(name: str = "demo", *lines: str) -> str:
    """Return the table of the demonstration application."""
    return app(name, DEMO, *lines)


def script(path: Path, text: str) -> Path:
    """Write an executable file that everybody may run."""
    path.write_text(text)
    path.chmod(0o755)
    return path


def compiled(path: Path, source: str) -> Path:
    """Compile a C program with libfcgi to *path*."""
    subprocess.run(
        [need("libfcgi"), "-x", "c", "-O1", "-Wall", "-o", str(path), "-", "-lfcgi", "-pthread"],
        input=source,
        text=True,
        check=True,
        timeout=60,
    )
    return path
