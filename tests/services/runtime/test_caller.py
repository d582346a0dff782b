"""What a principal may do, and what a header must look like."""

import pytest

from services.runtime.caller import Principal, bearer
from services.runtime.errors import PermissionMissing, TokenInvalid, TokenMissing


def test_permissions_and_the_wildcard_of_an_area() -> None:
    principal = Principal("someone", "user", None, frozenset({"agents:*", "graph:read"}), "", 0.0)
    assert principal.allows("agents:publish")
    assert principal.allows("graph:read")
    assert not principal.allows("graph:write")
    with pytest.raises(PermissionMissing):
        principal.require("knowledge:read")


@pytest.mark.parametrize("header", [None, ""])
def test_no_header_is_no_token(header: str | None) -> None:
    with pytest.raises(TokenMissing):
        bearer(header)


@pytest.mark.parametrize("header", ["Basic abc", "Bearer", "Bearer ", f"Bearer {'x' * 10_000}"])
def test_what_is_no_bearer_token_is_invalid(header: str) -> None:
    with pytest.raises(TokenInvalid):
        bearer(header)
