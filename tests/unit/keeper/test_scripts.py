"""Which scripts may be run: a rule about everything from the root down."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fcgipm.config.dynamic import named
from fcgipm.config.load import load
from fcgipm.config.loaded import Loaded
from fcgipm.config.scriptrule import NotExecutable, ScriptError, Unseen
from fcgipm.keeper.roots.scripts import examine, owner_of

STRANGER, OWNER, USER = 4711, 4712, 4713

Configure = Callable[..., Loaded]


@pytest.fixture
def tree(place: Path) -> Path:
    made = place / "r"
    (made / "sub").mkdir(parents=True)
    for path in (made, made / "sub"):
        path.chmod(0o755)
    script = made / "sub" / "x"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    return made


@pytest.fixture
def configure(place: Path, tree: Path) -> Configure:
    """Give a function that loads a configuration with the root ``r``."""

    def made(root: str = "", table: str = "") -> Loaded:
        config = place / "apps.toml"
        config.write_text(
            f"[fcgipm]\nruntime-dir = '{place}/run'\n[dynamic]\n{table}\n"
            f"roots = [{{ path = '{tree}', name = 'r'{root} }}]\n"
        )
        config.chmod(0o644)
        return load(str(config), environ={}, euid=os.geteuid())

    return made


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


def examined(loaded: Loaded, path: str = "sub/x") -> int:
    """Examine a script; return the uid as which it would run."""
    assert loaded.config.dynamic is not None
    found = named(loaded.config.dynamic, f"r/{path}")
    assert found is not None
    with examine(loaded, *found) as script:
        assert os.path.samestat(os.stat(script.name, dir_fd=script.directory, follow_symlinks=False), script.status)
        return script.identity.uid


def refusal(loaded: Loaded, path: str = "sub/x") -> ScriptError:
    with pytest.raises(ScriptError) as caught:
        examined(loaded, path)
    return caught.value


def test_an_executable_file_of_the_daemons_own_may_be_run(configure: Configure) -> None:
    loaded = configure()

    assert examined(loaded) == (os.geteuid() or loaded.web.uid)


@pytest.mark.parametrize("path", ["y", "nowhere/x", "sub/x/y"])
def test_what_is_not_there_is_missing(configure: Configure, path: str) -> None:
    assert refusal(configure(), path).obstacle == "missing"


def test_a_root_that_has_gone_is_missing(configure: Configure, tree: Path, place: Path) -> None:
    loaded = configure()
    tree.rename(place / "moved")

    assert refusal(loaded).obstacle == "missing"


def _link(script: Path) -> None:
    script.rename(script.with_name("y"))
    script.symlink_to("y")


def _directory(script: Path) -> None:
    script.unlink()
    script.mkdir()


def _fifo(script: Path) -> None:
    script.unlink()
    os.mkfifo(script, 0o755)


def _socket(script: Path) -> None:
    script.unlink()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(script))
    script.chmod(0o755)


def _linked_directory(script: Path) -> None:
    script.parent.rename(script.parent.with_name("real"))
    script.parent.symlink_to("real")


def _linked_root(script: Path) -> None:
    root = script.parent.parent
    root.rename(root.with_name("real"))
    root.symlink_to("real")


@pytest.mark.parametrize(
    ("change", "where", "why"),
    [
        (_link, "sub/x", "is a symbolic link"),
        (_linked_directory, "sub", "is a symbolic link"),
        (_linked_root, "", "is a symbolic link"),
        (_directory, "sub/x", "is not a regular file"),
        (_fifo, "sub/x", "is not a regular file"),
        (_socket, "sub/x", "is not a regular file"),
        (lambda script: script.chmod(0o757), "sub/x", "everybody may write it"),
        (lambda script: script.parent.chmod(0o757), "sub", "everybody may write it"),
        (lambda script: script.parent.chmod(0o1777), "sub", "everybody may write it"),
        (lambda script: script.parent.parent.chmod(0o757), "", "everybody may write it"),
    ],
)
def test_what_others_could_change_is_refused_and_named(
    configure: Configure, tree: Path, change: Callable[[Path], None], where: str, why: str
) -> None:
    loaded = configure()
    change(tree / "sub" / "x")

    error = refusal(loaded)

    assert error.obstacle == ("directory" if change is _directory else "forbidden")
    assert str(error).startswith(str(tree / where))
    assert why in str(error)


def test_what_nobody_may_execute_is_no_script(configure: Configure, tree: Path) -> None:
    (tree / "sub" / "x").chmod(0o644)

    assert isinstance(refusal(configure()), NotExecutable)


def test_an_access_control_list_that_lets_somebody_write_is_refused(configure: Configure, tree: Path) -> None:
    """The group's bits are its mask then, whoever the group is."""
    entries = [(0x01, 7, 2**32 - 1), (0x02, 7, STRANGER), (0x04, 5, 2**32 - 1), (0x10, 7, 2**32 - 1),
               (0x20, 5, 2**32 - 1)]  # fmt: skip
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(tree / "sub" / "x", "system.posix_acl_access", acl)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        pytest.skip("this file system has no access control lists")
    if os.geteuid() == 0:
        os.chown(tree / "sub" / "x", 0, 0)

    assert "access control list" in str(refusal(configure(root=_own_group())))


def _own_group() -> str:
    """Return the setting by which group-writable files are in order here."""
    return "" if os.geteuid() == 0 else f", group = '#{os.getegid()}'"


def test_the_group_that_it_runs_with_may_write(configure: Configure, tree: Path) -> None:
    loaded = configure()
    script = tree / "sub" / "x"
    gid = loaded.web.gid if os.geteuid() == 0 else os.getegid()
    os.chown(script, -1, gid)
    script.chmod(0o775)

    examined(loaded)


@pytest.mark.root
def test_a_foreign_group_may_not_write(configure: Configure, tree: Path) -> None:
    loaded = configure()
    for path in (tree / "sub" / "x", tree / "sub", tree):
        os.chown(path, -1, STRANGER)
        path.chmod(0o775)

        assert f"{path}: its group may write it" in str(refusal(loaded))
        path.chmod(0o755)
    examined(loaded)


@pytest.mark.root
def test_only_root_who_runs_it_and_owners_may_own_anything_on_the_way(configure: Configure, tree: Path) -> None:
    loaded = configure(f", user = '#{USER}', group = '#{USER}', owners = ['#{OWNER}']")
    for path in (tree / "sub" / "x", tree / "sub", tree):
        for uid in (0, USER, OWNER):
            os.chown(path, uid, uid)
            assert examined(loaded) == USER
        os.chown(path, STRANGER, STRANGER)
        assert f"{path} belongs to uid {STRANGER}" in str(refusal(loaded))
        os.chown(path, 0, 0)


@pytest.mark.root
@pytest.mark.parametrize(("mode", "allowed"), [(0o700, False), (0o750, False), (0o751, True), (0o711, True)])
def test_who_runs_it_must_be_allowed_to(configure: Configure, tree: Path, mode: int, allowed: bool) -> None:
    (tree / "sub" / "x").chmod(mode)
    loaded = configure()

    if allowed:
        examined(loaded)
    else:
        assert "may not execute it" in str(refusal(loaded))


@pytest.mark.root
def test_with_a_wrapper_it_runs_as_its_owner_to_whom_the_way_must_belong(configure: Configure, tree: Path) -> None:
    loaded = configure(table="wrapper = '/bin/true'")
    script = tree / "sub" / "x"
    os.chown(script, USER, USER)
    assert examined(loaded) == USER

    os.chown(tree / "sub", OWNER, OWNER)
    assert f"sub belongs to uid {OWNER}" in str(refusal(loaded))
    os.chown(script, OWNER, OWNER)
    assert examined(loaded) == OWNER


@pytest.mark.root
def test_root_and_the_manager_run_no_script(configure: Configure, tree: Path) -> None:
    loaded = configure(table="wrapper = '/bin/true'")
    script = tree / "sub" / "x"
    assert "as root" in str(refusal(loaded))

    os.chown(script, loaded.manager.uid, loaded.manager.gid)
    assert "the manager's user" in str(refusal(loaded))


@pytest.mark.root
def test_a_script_whose_owner_has_changed_is_not_run_as_somebody_else(configure: Configure, tree: Path) -> None:
    loaded = configure(table="wrapper = '/bin/true'")
    assert loaded.config.dynamic is not None
    root = loaded.config.dynamic.roots[0]
    script = tree / "sub" / "x"
    os.chown(script, USER, USER)
    with examine(loaded, root, "sub/x") as before:
        os.chown(script, OWNER, OWNER)
        with pytest.raises(ScriptError, match=f"belongs to uid {OWNER} by now"):
            examine(loaded, root, "sub/x", become=before.identity)


def test_the_owner_of_a_file_is_told_whatever_it_is(configure: Configure, tree: Path) -> None:
    loaded = configure()
    assert loaded.config.dynamic is not None
    root = loaded.config.dynamic.roots[0]
    found = (tree / "sub" / "x").stat()

    assert owner_of(root, "sub/x") == (found.st_uid, found.st_gid)
    assert owner_of(root, "sub") is not None
    assert owner_of(root, "nothing") is None


def test_an_unreadable_directory_is_an_error_and_not_missing(configure: Configure, tree: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may enter everything")
    loaded = configure()
    (tree / "sub").chmod(0o600)
    try:
        assert isinstance(refusal(loaded), Unseen)
        assert refusal(loaded).obstacle == "forbidden"
    finally:
        (tree / "sub").chmod(0o755)
