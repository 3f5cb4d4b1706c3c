from __future__ import annotations

import os
import socket

import pytest

from fcgipm.manager.serving.access import Peer, peer_of, role_of
from fcgipm.verbs import Access

KEEPER = 500
RULES = {"10": "admin", "11": "read", "%20": "admin", "%21": "read"}


@pytest.mark.parametrize(
    ("uid", "groups", "role"),
    [
        (0, {0}, Access.ADMIN),
        (KEEPER, {KEEPER}, Access.ADMIN),
        (10, {99}, Access.ADMIN),
        (11, {99}, Access.READ),
        (12, {99}, None),
        (12, {21}, Access.READ),
        (12, {99, 20}, Access.ADMIN),
        (11, {20, 21}, Access.ADMIN),
        (20, {10}, None),
    ],
)
def test_the_most_that_any_rule_gives(uid: int, groups: set[int], role: Access | None) -> None:
    assert role_of(Peer(1, uid, frozenset(groups)), RULES, KEEPER) is role


def test_the_managers_own_user_has_no_role_whatever_the_rules_say() -> None:
    own = os.geteuid()
    if own == 0:
        pytest.skip("root may do everything, also where it is the manager's user")

    assert role_of(Peer(1, own, frozenset()), {str(own): "admin"}, keeper_uid=own + 1) is None


def test_the_manager_of_an_ordinary_user_obeys_that_user() -> None:
    assert role_of(Peer(1, os.geteuid(), frozenset()), {}, keeper_uid=os.geteuid()) is Access.ADMIN


def test_the_kernel_says_who_is_there() -> None:
    one, other = socket.socketpair()
    with one, other:
        peer = peer_of(one)

    assert (peer.pid, peer.uid) == (os.getpid(), os.geteuid())
    assert {os.getegid(), *os.getgroups()} == peer.groups


def test_users_have_names_where_they_have_accounts() -> None:
    assert str(Peer(1, 0, frozenset())) == "user root"
    assert str(Peer(1, 64_999, frozenset())) == "user #64999"
