"""The table of permissions holds what the protos ask for, and all that roles and services are given."""

from itertools import pairwise

import pytest

from services.auth.permissions import KNOWN, ROLES, SERVICES, beyond, is_known, of, within
from services.auth.roles import STANDARD
from services.runtime.caller import access_rule, covers
from tests.contracts.test_access import METHODS

ASKED_IN_CODE = {"clients:vouch"}
"""Of whoever calls beside the caller."""


def test_every_permission_that_an_rpc_asks_for_is_known() -> None:
    asked = {rule.permission for _, method in METHODS if (rule := access_rule(method)).permission}
    assert asked <= KNOWN.keys()
    assert KNOWN.keys() - ASKED_IN_CODE <= asked


def test_nothing_is_given_that_is_not_known() -> None:
    given = [each for granted in (*ROLES.values(), *SERVICES.values()) for each in granted]
    assert [each for each in given if not is_known(each)] == []


def test_the_sentence_says_which_permissions_are_for_services() -> None:
    owners = {permission for permission in KNOWN if covers(ROLES["owner"], permission)}
    assert {permission for permission, text in KNOWN.items() if "Only for services" not in text} == owners


def test_each_built_in_role_has_all_of_the_one_below() -> None:
    ranked = [role.permissions for role in STANDARD.values()]
    assert [beyond(above, below) for above, below in pairwise(ranked)] == [[], [], []]
    assert STANDARD.keys() == ROLES.keys()


WITHIN = {
    "equal": ({"a:read"}, {"a:read"}, {"a:read"}),
    "nothing": ({"a:read"}, set(), set()),
    "wildcard in the limit": ({"a:read", "b:read"}, {"a:*"}, {"a:read"}),
    "wildcard granted": ({"a:*"}, {"a:read", "b:read"}, {"a:read"}),
    "wildcard in both": ({"a:*"}, {"a:*", "a:read"}, {"a:*", "a:read"}),
    "prefix of an area": ({"ab:read"}, {"a:*"}, set()),
}


@pytest.mark.parametrize(("granted", "limit", "left"), WITHIN.values(), ids=WITHIN)
def test_what_lies_within(granted: set[str], limit: set[str], left: set[str]) -> None:
    assert within(frozenset(granted), frozenset(limit)) == left
    assert within(frozenset(limit), frozenset(granted)) == left


def test_a_membership_gives_what_its_role_gives() -> None:
    assert of({"role": "viewer", "role_permissions": None}) == ROLES["viewer"]
    assert of({"role": "custom", "role_permissions": ["agents:read"]}) == {"agents:read"}


@pytest.mark.parametrize("permission", ["", "*", ":", ":*", "agents", "agents:", "agents:fly", "Agents:read", "*:read"])
def test_what_is_no_permission(permission: str) -> None:
    assert not is_known(permission)
