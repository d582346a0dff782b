"""Page tokens by themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime import pages
from services.runtime.errors import PageTokenInvalid


@given(st.text(), st.binary(max_size=40))
def test_a_token_says_where_its_list_goes_on(listing: str, last: bytes) -> None:
    assert pages.decode(listing, pages.encode(listing, last), bytes) == last


@given(st.text(max_size=20), st.text(max_size=20), st.binary(min_size=16, max_size=16))
def test_a_token_of_another_list_is_refused(listing: str, other: str, last: bytes) -> None:
    if listing != other:
        with pytest.raises(PageTokenInvalid):
            pages.decode(other, pages.encode(listing, last), bytes)


@given(st.text())
def test_any_other_text_is_refused(token: str) -> None:
    with pytest.raises(PageTokenInvalid):
        pages.decode("agents", token, bytes)


@pytest.mark.parametrize("last", [b"", b"x", b"-1", b"0", b"1.5", b"9" * 40])
def test_a_well_sealed_token_that_makes_no_sense_is_refused(last: bytes) -> None:
    from services.agent_store.versions import _number

    with pytest.raises(PageTokenInvalid):
        pages.decode("versions", pages.encode("versions", last), _number)
