from __future__ import annotations

import os
import pwd

import pytest

from fcgipm.config.identity import (
    DYNAMIC_UIDS,
    group_name,
    make_identity,
    manager_identity,
    own_identity,
    resolve_group,
    resolve_user,
    user_name,
)
from fcgipm.config.schema import Daemon


def test_names_and_numbers() -> None:
    assert resolve_user("root").uid == resolve_user("#0").uid == 0
    assert resolve_user("#0").name == "root"
    assert (resolve_group("root"), resolve_group("#4711")) == (0, 4711)
    assert (user_name(0), group_name(0), user_name(4711), group_name(4711)) == ("root", "root", "#4711", "#4711")
    stranger = resolve_user("#4711")
    assert (stranger.uid, stranger.gid, stranger.home) == (4711, None, None)


@pytest.mark.parametrize("call", [resolve_user, resolve_group])
def test_names_of_nobody(call: object) -> None:
    assert callable(call)
    with pytest.raises(LookupError, match=r"there is no (user|group) 'nosuch'"):
        call("nosuch")


def test_groups_come_from_the_database() -> None:
    account = pwd.getpwnam("daemon")

    identity = make_identity(account.pw_name, None, None)

    assert (identity.uid, identity.gid, identity.home) == (account.pw_uid, account.pw_gid, account.pw_dir)
    assert set(identity.groups) == set(os.getgrouplist(account.pw_name, account.pw_gid))
    assert make_identity(account.pw_name, None, ["#5", "#3"]).groups == (3, 5)


def test_who_starts_the_daemon() -> None:
    identity = own_identity(os.geteuid())

    assert (identity.uid, identity.gid) == (os.geteuid(), os.getegid())
    assert identity.groups == tuple(sorted(set(os.getgroups())))


def test_the_manager_of_a_root_daemon_without_an_account() -> None:
    daemon = Daemon(user="no-such-user", web_user="root", web_group="#33")

    first, second = manager_identity(daemon, 0), manager_identity(daemon, 0)

    assert first == second
    assert first.uid == first.gid
    assert first.uid in DYNAMIC_UIDS
    assert first.groups == (33,)
    assert first.user == f"#{first.uid}"
    other = manager_identity(Daemon(user="other-user", web_group="#33"), 0)
    assert other.uid != first.uid


def test_the_manager_of_an_ordinary_users_daemon_is_that_user() -> None:
    assert manager_identity(Daemon(web_group="#33"), os.geteuid() or 4711).uid == (os.geteuid() or 4711)
