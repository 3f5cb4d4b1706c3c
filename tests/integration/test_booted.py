"""The shipped units under a real systemd: what it does with fcgipm, and what it keeps for it."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.booted import TREE, Machine
from harness.daemon import ControlConnection
from harness.waiting import until

from fcgipm.fastcgi import ResponseParser, encode_request

pytestmark = [pytest.mark.root, pytest.mark.needs("systemd-nspawn")]

UNITS = ("fcgipm.service", "fcgipm-hardened.service")
ONE = f'[defaults]\ninit-start-delay = 0\n[app.one]\ncommand = ["{sys.executable}", "-m", "fcgipm.demo"]\n'
PLACE = "/run/fcgipm/one.sock"
ASK = encode_request({"REQUEST_METHOD": "GET", "PATH_INFO": "/pid"})


class Service:
    """fcgipm as a service of a booted systemd."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.machine = machine
        self.name = name
        machine.install(name)

    def configure(self, apps: str) -> None:
        path = self.machine.root / "etc/fcgipm/apps.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(apps)

    def start(self, apps: str = ONE) -> None:
        self.configure(apps)
        self.machine.must("start", self.name)

    def show(self, name: str) -> str:
        return self.machine.show(self.name)[name]

    def app(self) -> dict[str, Any]:
        connection = ControlConnection(self.machine.path("/run/fcgipm/control.sock"), 30)
        try:
            connection.request("GET", "/v1/status?app=one")
            app: dict[str, Any] = json.loads(connection.getresponse().read())["apps"][0]
            return app
        finally:
            connection.close()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        try:
            until(condition, what=what)
        except AssertionError as error:
            status = self.machine.systemctl("status", self.name).stdout
            log = self.machine.path(f"/var/log/{self.name}").read_text()
            raise AssertionError(f"{error}\n{status}\n{log}") from error

    def ready(self, number: int = 1) -> list[int]:
        self.wait(lambda: self.app()["ready"] == number, f"ready: {number}")
        return sorted(instance["pid"] for instance in self.app()["instances"])

    def visitor(self, place: str = PLACE) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(30)
        try:
            sock.connect(str(self.machine.path(place)))
        except OSError:
            sock.close()
            raise
        return sock


def answer(visitor: socket.socket) -> int:
    """Return the pid of the instance that answers, as systemd sees it."""
    parser = ResponseParser()
    while (response := parser.feed(piece := visitor.recv(65536))) is None:
        assert piece, "the connection was closed without an answer"
    return int(response.body)


def asked(visitor: socket.socket) -> int:
    with visitor:
        visitor.sendall(ASK)
        return answer(visitor)


def inode(path: Path) -> int:
    return path.stat().st_ino


@pytest.fixture
def machine(place: Path) -> Iterator[Machine]:
    root = place / "root"
    root.mkdir()
    with Machine(root) as booted:
        yield booted


@pytest.fixture(params=UNITS)
def service(machine: Machine, request: pytest.FixtureRequest) -> Service:
    return Service(machine, str(request.param))


def test_what_is_booted_can_change_nothing_of_the_machine(machine: Machine) -> None:
    own = "-path /proc/sys/net -prune -o -path /sys/fs/cgroup -prune -o"
    writable = machine.run("find", "/proc/sys", "/proc/sysrq-trigger", "/sys", *own.split(), "-writable", "-print")
    assert [line for line in writable.stdout.splitlines() if not os.path.islink(line)] == []
    assert machine.run("find", "/usr", str(TREE), "-maxdepth", "1", "-writable", "!", "-type", "l").stdout == ""
    assert machine.run("find", "/dev", "-type", "b").stdout == ""
    assert machine.run("ls", "/sys/class/net").stdout == "lo\n"


def test_it_is_active_when_the_sockets_are_there_and_says_how_it_is(service: Service) -> None:
    service.start()

    with service.visitor() as visitor:
        assert service.show("ActiveState") == "active"
        assert asked(visitor) in service.ready()
    service.wait(
        lambda: 'Status: "1 app, 1 instance"' in service.machine.must("status", service.name), "the status says so"
    )


def test_a_reload_applies_the_file_and_one_with_a_mistake_fails(service: Service) -> None:
    service.start()
    before = service.show("MainPID")
    service.configure(f"{ONE}processes = 2\n")

    service.machine.must("reload", service.name)

    service.ready(2)
    service.configure(f"{ONE}nonsense = 2\n")
    assert service.machine.systemctl("reload", service.name).returncode == 1
    assert service.show("ActiveState") == "active"
    assert "nonsense" in service.show("StatusText")
    assert service.show("MainPID") == before
    assert len(service.ready(2)) == 2


def test_a_killed_fcgipm_is_started_again_and_its_instances_have_served_on(service: Service) -> None:
    service.start(f"{ONE}processes = 2\n")
    before, left = service.ready(2), inode(service.machine.path(PLACE))

    service.machine.must("kill", "--kill-who=main", "--signal=KILL", service.name)
    assert asked(service.visitor()) in before

    service.wait(
        lambda: (service.show("NRestarts"), service.show("ActiveState")) == ("1", "active"), "it is started again"
    )
    assert service.ready(2) == before
    assert inode(service.machine.path(PLACE)) == left
    assert asked(service.visitor()) in before


def test_a_restart_loses_neither_the_socket_nor_who_waits(service: Service) -> None:
    service.start()
    (before,) = service.ready()
    first = service.show("MainPID")
    with service.visitor() as inside:
        service.machine.must("restart", "--no-block", service.name)
        service.wait(lambda: service.app()["generation"] == 2, "visitors come to another generation")
        left = inode(service.machine.path(PLACE))
        with service.visitor() as waiting:
            waiting.sendall(ASK)
            assert asked(inside) == before

            service.wait(
                lambda: service.show("ActiveState") == "active" and service.show("MainPID") not in {first, "0"},
                "it is started again",
            )

            assert answer(waiting) in service.ready()
    assert inode(service.machine.path(PLACE)) == left
    assert service.show("NRestarts") == "0"


def test_after_a_stop_nobody_is_left(service: Service) -> None:
    service.start()
    service.ready()

    service.machine.must("stop", service.name)

    assert (service.show("ActiveState"), service.show("Result")) == ("inactive", "success")
    service.wait(lambda: not service.machine.processes(), "no process is left")
    with pytest.raises(ConnectionRefusedError):
        service.visitor()


@pytest.mark.parametrize("service", UNITS[:1], indirect=True)
def test_the_first_visitor_of_a_socket_unit_starts_fcgipm_and_others_wait_while_it_is_started_again(
    service: Service,
) -> None:
    (unit,) = re.findall(
        r"^# /etc/systemd/system/(\S+)\n(.*?)^```$", Path(TREE, "docs/operating.md").read_text(), re.M | re.S
    )
    name, text = unit
    service.machine.unit(name, text)
    service.machine.must("start", name)
    service.configure(ONE.replace("app.one", "app.blog") + 'socket = "/run/blog.sock"\n')
    assert service.show("ActiveState") == "inactive"

    first = asked(service.visitor("/run/blog.sock"))

    left = inode(service.machine.path("/run/blog.sock"))
    service.machine.must("restart", service.name)
    assert asked(service.visitor("/run/blog.sock")) != first
    assert inode(service.machine.path("/run/blog.sock")) == left
