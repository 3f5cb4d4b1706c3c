"""The systemd files: accepted by systemd itself, and as strict as they say."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from harness.components import need

FILES = Path(__file__).parents[2] / "systemd"
UNITS = sorted(FILES.glob("*.service"))


def settings(unit: Path, name: str) -> list[str]:
    """Return the values of all lines ``name=value`` of *unit*."""
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong_with_the_unit(unit: Path, place: Path) -> None:
    # verify wants the programs to exist: the package is not installed where the tests run
    copy = place / unit.name
    copy.write_text(re.sub(r"/usr/bin/fcgipm(ctl)?\b", "/bin/true", unit.read_text()))

    done = subprocess.run(
        [need("systemd-analyze"), "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False
    )

    complaints = [line for line in (done.stdout + done.stderr).splitlines() if unit.name in line]
    assert (done.returncode, complaints) == (0, []), done.stderr


def test_the_hardened_unit_is_rated_ok() -> None:
    done = subprocess.run(
        [need("systemd-analyze"), "security", "--no-pager", "--offline=true", "--threshold=40",
         str(FILES / "fcgipm-hardened.service")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-300:] + done.stderr
    assert float(re.findall(r"exposure level for \S+ (\d+\.\d+)", done.stdout)[0]) <= 4.0


def test_the_ordinary_unit_forbids_applications_nothing() -> None:
    taken = (
        "NoNewPrivileges ProtectHome ProtectSystem PrivateTmp PrivateDevices MemoryDenyWriteExecute SystemCallFilter"
    )
    taken += " CapabilityBoundingSet RestrictSUIDSGID RestrictNamespaces"

    assert [name for name in taken.split() if settings(FILES / "fcgipm.service", name)] == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_stopping_the_unit_signals_fcgipm_alone(unit: Path) -> None:
    assert settings(unit, "KillMode") == ["process"]
    assert settings(unit, "OOMPolicy") == ["continue"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_what_the_next_fcgipm_needs_outlives_the_service(unit: Path) -> None:
    (most,) = settings(unit, "FileDescriptorStoreMax")

    assert settings(unit, "Environment") == [f"FDSTORE={most}"]
    assert settings(unit, "RuntimeDirectoryPreserve") == ["yes"]
    assert settings(unit, "Restart") == ["on-failure"]
    assert settings(unit, "WatchdogSec") == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_reload_is_an_apply(unit: Path) -> None:
    assert settings(unit, "ExecReload") == ["/usr/bin/fcgipmctl apply"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_web_server_is_started_after_the_sockets_are_there(unit: Path) -> None:
    assert settings(unit, "Type") == ["notify"]
    assert settings(unit, "NotifyAccess") == ["main"]
    assert "nginx.service" in settings(unit, "Before")[0].split()


def test_every_restriction_says_what_it_takes() -> None:
    lines = (FILES / "fcgipm-hardened.service").read_text().partition("# What fcgipm itself needs")[2].splitlines()
    explained = False
    for line in lines:
        explained = line.startswith("#") or (explained and line != "")
        assert explained or not re.match(r"(Protect|Private|Restrict|System|NoNew|Capability|Lock|Keyring)", line), line


@pytest.mark.root
def test_sysusers_makes_the_managers_account(place: Path) -> None:
    (place / "etc").mkdir()
    done = subprocess.run(
        [need("systemd-sysusers"), f"--root={place}", str(FILES / "sysusers.d/fcgipm.conf")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    (account,) = [line.split(":") for line in (place / "etc/passwd").read_text().splitlines() if line.startswith("fcg")]
    assert account[0] == "fcgipm"
    assert account[6].endswith("nologin")


@pytest.mark.root
def test_tmpfiles_makes_the_runtime_directory(place: Path) -> None:
    (place / "etc").mkdir()
    (place / "etc/group").write_text("root:x:0:\nadm:x:4:\n")
    (place / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    done = subprocess.run(
        [need("systemd-tmpfiles"), "--create", f"--root={place}", str(FILES / "tmpfiles.d/fcgipm.conf")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    made = (place / "run/fcgipm").stat()
    assert (made.st_uid, stat.S_IMODE(made.st_mode)) == (0, 0o711)


def test_the_sysctl_settings_exist_in_this_kernel() -> None:
    for line in (FILES / "sysctl.d/50-fcgipm.conf").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            assert os.path.exists("/proc/sys/" + name.strip().replace(".", "/"))
            assert int(value) > 0
