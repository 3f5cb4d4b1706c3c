from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from unit.config.conftest import list_access

from fcgipm.config.access import (
    file_system_of,
    is_remote,
    why_not_enterable,
    why_not_executable,
)
from fcgipm.config.identity import Identity


def who(uid: int, gid: int = 4711, *groups: int) -> Identity:
    return Identity(uid, gid, groups, f"#{uid}", f"#{gid}", None)


OWNER = who(os.geteuid(), 4711) if os.geteuid() else who(1234, 4711)


def make(place: Path, mode: int) -> str:
    path = place / "program"
    path.write_bytes(b"")
    if os.geteuid() == 0:
        os.chown(path, OWNER.uid, 77)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("mode", "owner", "member", "primary", "stranger", "root"),
    [
        (0o700, True, False, False, False, True),
        (0o710, True, True, True, False, True),
        (0o711, True, True, True, True, True),
        (0o611, False, True, True, True, True),
        (0o701, True, False, False, True, True),
        (0o666, False, False, False, False, False),
    ],
)
def test_the_kernels_rule(
    place: Path, mode: int, *, owner: bool, member: bool, primary: bool, stranger: bool, root: bool
) -> None:
    path = make(place, mode)
    gid = Path(path).stat().st_gid

    able = {
        "owner": why_not_executable(path, OWNER) is None,
        "member": why_not_executable(path, who(4711, 4711, 4712, gid)) is None,
        "primary": why_not_executable(path, who(4711, gid)) is None,
        "stranger": why_not_executable(path, who(4711)) is None,
        "root": why_not_executable(path, who(0, 0)) is None,
    }

    assert able == {"owner": owner, "member": member, "primary": primary, "stranger": stranger, "root": root}


@pytest.mark.root
@pytest.mark.parametrize("mode", [0o700, 0o710, 0o711, 0o611, 0o701, 0o666])
def test_the_kernel_agrees(place: Path, mode: int) -> None:
    path = make(place, mode)
    for identity in (OWNER, who(4711, 4711, 77), who(4711, 77), who(4711)):
        done = subprocess.run(
            ["/usr/bin/test", "-x", path],
            user=identity.uid, group=identity.gid, extra_groups=identity.groups, check=False,
        )  # fmt: skip
        may = done.returncode == 0
        assert (why_not_executable(path, identity) is None) == may, identity


def test_a_link_is_followed_and_both_ways_are_walked(place: Path) -> None:
    inner = place / "inner"
    inner.mkdir()
    program = inner / "x"
    program.write_bytes(b"")
    program.chmod(0o755)
    link = place / "link"
    link.symlink_to(program)
    assert why_not_executable(str(link), who(4711)) is None

    inner.chmod(0o700)
    assert f"may not enter {inner}" in str(why_not_executable(str(link), who(4711)))


def test_entering(place: Path) -> None:
    path = place / "file"
    path.write_bytes(b"")

    assert why_not_enterable(str(path), who(0)) == f"{path}: not a directory"
    assert why_not_enterable(str(place), who(4711)) is None
    place.chmod(0o700)
    assert "may not enter" in str(why_not_enterable(str(place), who(4711)))
    place.chmod(0o755)


def test_an_access_list_leaves_the_answer_to_the_kernel(place: Path) -> None:
    path = make(place, 0o700)
    assert why_not_executable(path, who(4711)) is not None
    list_access(path, user=4711, permission=5)

    assert why_not_executable(path, who(4711)) is None


def test_file_systems() -> None:
    assert file_system_of("/proc") == "proc"
    assert [is_remote(name) for name in ("nfs4", "cifs", "fuse.sshfs", "fuseblk")] == [True] * 4
    assert [is_remote(name) for name in ("ext4", "tmpfs", "btrfs", "overlay", "")] == [False] * 5


@pytest.mark.root
def test_a_program_on_a_file_system_without_programs(place: Path) -> None:
    program = f"""
from fcgipm.config.access import why_not_executable
from fcgipm.config.identity import own_identity
print(why_not_executable({str(place / "x")!r}, own_identity(0)))
"""
    steps = 'mount -t tmpfs -o noexec none "$1" && cp /bin/true "$1/x" && exec "$2" -c "$3"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", steps, "sh", str(place), sys.executable, program],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "ermission" in done.stderr or "not permitted" in done.stderr:
        pytest.skip(f"may not mount: {done.stderr.strip()}")

    assert done.stdout == f"{place / 'x'}: lies on a file system that is mounted noexec\n"
