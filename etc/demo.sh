#!/bin/sh
# demo.sh BIN: show fcgipm at work with the programs in the directory BIN. Leaves nothing behind.
set -eu
umask 022

bin=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
place=$(mktemp -d /tmp/fcgipm-demo.XXXXXX)
chmod 755 "$place"
PATH=$bin:$PATH
FCGIPM_SOCKET=$place/run/control.sock
export PATH FCGIPM_SOCKET

finish() {
    status=$?
    if test -s "$place/run/fcgipm.pid"; then
        pid=$(cat "$place/run/fcgipm.pid")
        kill "$pid" 2>/dev/null && while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    fi
    rm -rf "$place"
    exit $status
}
trap finish EXIT
trap 'exit 130' HUP INT TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
if ! test -t 1 || test -n "${NO_COLOR-}"; then
    say() { printf '\n%s\n' "$*"; }
fi
run() {
    printf '$ %s\n' "$*"
    "$@"
}
# The ids of demo's ready instances, one a line.
instances() {
    fcgipmctl status demo --json | python3 -c '
import json, sys
for instance in json.load(sys.stdin)["apps"][0]["instances"]:
    if instance["state"] == "ready":
        print(instance["pid"])'
}
# Wait at most 20 s until the command is true.
until_true() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        test $tries -lt 200 || { echo "demo: waited too long for: $*" >&2; return 1; }
        sleep 0.1
    done
}

# etc/demo.toml as it is, with a place of its own for the sockets
{ cat "$here/demo.toml"; printf '\n[fcgipm]\nruntime-dir = "%s/run"\nlog = "%s/log"\nmetrics-listen = ""\n' \
    "$place" "$place"; } >"$place/demo.toml"

say 'Start fcgipm with two applications; it returns when they are ready.'
run fcgipm start "$place/demo.toml"

say 'What runs?'
run fcgipmctl status || true

say 'Ask an application for a page, as a web server would.'
run fcgipmctl request demo /ping

say 'What would nginx need to know?'
run fcgipmctl snippet nginx demo --context server

say 'Some of the metrics for Prometheus:'
printf '$ fcgipmctl metrics | grep fcgipm_instances\n'
fcgipmctl metrics | grep '^fcgipm_instances'

victim=$(instances | head -n 1)
say "Kill one of the two instances, process $victim, and see its replacement."
run kill -KILL "$victim"
replaced() { test "$(instances | grep -cvx "$victim")" = 2; }
until_true replaced
run fcgipmctl status demo

say 'What happened?'
run fcgipmctl events

say 'Stop: every instance finishes its requests first.'
run fcgipmctl shutdown
gone() { ! test -e "$FCGIPM_SOCKET"; }
until_true gone
say 'That was it. Next: etc/apps.toml shows every option, README.md how to use it beside a web server.'
