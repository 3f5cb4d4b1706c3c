"""What an upgrade finds half done, or as no upgrade has left it, goes on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from harness.daemon import FCGIPMCTL, Daemon
from harness.keeper import SERVE, python
from harness.ports import free_port
from harness.systemd import Systemd
from harness.waiting import ended, until

from fcgipm.linux import procfs

StartDaemon = Callable[..., Daemon]
BLOG = f"[app.blog]\n{python(SERVE)}\n"
LATE = f"import sys, time\ntime.sleep(float(sys.argv[1]))\n{SERVE}"
"""SERVE after so many seconds in which it does not accept."""
LONG = 60


def upgrade(daemon: Daemon) -> None:
    """Upgrade; it must succeed."""
    done = daemon.ctl("upgrade", timeout=LONG)
    assert done.returncode == 0, f"{done.stderr}\n{daemon.log()}"


def is_served(address: str | tuple[str, int]) -> bool:
    """Say whether a visitor is served there."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as sock:
        sock.settimeout(20)
        sock.connect(address)
        sock.sendall(b"x")
        return sock.recv(1) == b""


def test_instances_that_were_adopted_before(start_daemon: StartDaemon) -> None:
    first = start_daemon(f"{BLOG}processes = 2\n")
    instances = first.instances("blog")
    first.kill()
    daemon = start_daemon(f"{BLOG}processes = 2\n", directory=first.directory)
    assert sorted(daemon.instances("blog")) == sorted(instances)
    for _ in range(2):
        upgrade(daemon)
        assert sorted(daemon.instances("blog")) == sorted(instances)
    os.kill(instances[0], signal.SIGKILL)
    until(lambda: f"(pid {instances[0]}) ended" in daemon.log(), within=LONG, what="its end is seen")
    daemon.wait_running(LONG)


def test_an_instance_that_is_not_ready_yet(start_daemon: StartDaemon) -> None:
    app = f'[app.blog]\n{python(LATE, "10")}\nready-timeout = "60s"\nstart-timeout = "60s"\n'
    daemon = start_daemon(f"{app}autostart = false\n")
    with subprocess.Popen([FCGIPMCTL, "-s", str(daemon.control), "start", "blog"], stderr=subprocess.PIPE) as starting:
        (pid,) = until(lambda: [*filter(None, daemon.instances("blog", None))], within=LONG, what="it is started")
        upgrade(daemon)
        assert daemon.instances("blog", None) == [pid]
        until(lambda: daemon.instances("blog") == [pid], within=LONG, what="it is ready")
        assert starting.wait(LONG) == 0, "who has asked for it hears of it"


def test_a_reload_that_is_under_way(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(f"{BLOG}processes = 2\n")
    before = set(daemon.instances("blog"))
    daemon.configure(f'[app.blog]\n{python(LATE, "10")}\nprocesses = 2\nready-timeout = "20s"\n')
    command = [FCGIPMCTL, "-s", str(daemon.control), "reload", "blog"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reload:
        until(lambda: len(daemon.instances("blog", None)) > 2, within=LONG, what="the next generation has begun")
        upgrade(daemon)
        assert before <= set(daemon.instances("blog", None)), "nobody has gone before another is there"
        assert is_served(str(daemon.socket("blog")))
        reload.communicate(timeout=LONG)

    def settled() -> bool:
        found = daemon.app("blog")
        generations = {one["generation"] for one in found["instances"]}
        return found["ready"] == len(found["instances"]) == 2 and len(generations) == 1

    until(settled, within=LONG, what="two instances of one generation")
    assert is_served(str(daemon.socket("blog")))
    assert all(procfs.stat(pid).state != "T" for pid in daemon.instances("blog"))


def test_a_tcp_application(start_daemon: StartDaemon) -> None:
    port = free_port()
    daemon = start_daemon(f"{BLOG}port = {port}\nprocesses = 2\n")
    instances = daemon.instances("blog")
    upgrade(daemon)
    assert is_served(("127.0.0.1", port))
    assert daemon.ctl("restart", "blog", timeout=LONG).returncode == 0
    upgrade(daemon)
    assert not set(instances) & set(daemon.instances("blog"))
    assert is_served(("127.0.0.1", port))


def test_what_has_changed_in_the_file_is_applied(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(f"{BLOG}[app.shop]\n{python(SERVE)}\n")
    blog, shop = daemon.instances("blog"), daemon.instances("shop")
    daemon.configure(f"{BLOG}[app.wiki]\n{python(SERVE)}\n")
    upgrade(daemon)
    daemon.wait_state("wiki", "running", LONG)
    assert daemon.instances("blog") == blog
    ended(shop[0], within=LONG)
    until(lambda: not daemon.socket("shop").exists(), within=LONG, what="its socket goes, too")


def test_an_old_generation_that_still_serves_somebody(start_daemon: StartDaemon) -> None:
    daemon = start_daemon(BLOG)
    (old,) = daemon.instances("blog")
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(daemon.socket("blog")))
        until(lambda: daemon.app("blog")["busy"] == 1, within=LONG, what="somebody is served")
        command = [FCGIPMCTL, "-s", str(daemon.control), "restart", "blog"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as restart:
            until(lambda: old not in daemon.instances("blog"), within=LONG, what="it is being retired")
            upgrade(daemon)
            restart.communicate(timeout=LONG)
        assert old in [one["pid"] for one in daemon.app("blog")["instances"]]
        visitor.sendall(b"x")
        assert visitor.recv(1) == b"", "the visitor is served to the end"
    ended(old, within=LONG)


def test_sockets_that_systemd_keeps_and_has_opened(systemd: Systemd, place: Path) -> None:
    path = place / "given.sock"
    given = socket.socket(socket.AF_UNIX)
    given.bind(str(path))
    given.listen()
    path.chmod(0o666)
    systemd.given["shop"] = given
    daemon = systemd.start(f"{BLOG}[app.shop]\n{python(SERVE)}\nsocket = '{path}'\n")
    systemd.wait_stored("listener/1/blog")
    blog, shop = daemon.instances("blog"), daemon.instances("shop")
    upgrade(daemon)
    upgrade(daemon)
    assert (daemon.instances("blog"), daemon.instances("shop")) == (blog, shop)
    assert is_served(str(path))
    assert daemon.ctl("restart", "shop", "blog", timeout=LONG).returncode == 0
    assert is_served(str(path))
    assert is_served(str(daemon.socket("blog")))
    assert len(systemd.names()) == len(set(systemd.names())), "nothing is stored twice"


def test_the_environment_that_was_passed_stays(start_daemon: StartDaemon) -> None:
    app = f'{BLOG}pass-env = ["OF_THE_START"]\nprocesses = 1\n'
    daemon = start_daemon(app, environ={**os.environ, "OF_THE_START": "once", "NOT_PASSED": "x"})
    upgrade(daemon)
    upgrade(daemon)
    assert daemon.ctl("restart", "blog", timeout=LONG).returncode == 0
    (pid,) = daemon.instances("blog")
    environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert b"OF_THE_START=once" in environ
    assert not any(line.startswith((b"NOT_PASSED", b"NOTIFY_SOCKET", b"LISTEN_")) for line in environ)
    assert json.loads((daemon.runtime / "state.json").read_text())["pid"] == daemon.pid
