"""Verifying callers: what is remembered, for how long, what makes it forget, and when keys are asked for again."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from services.auth.tokens import SigningKey
from services.runtime.caller import Principal
from services.runtime.errors import ServiceUnavailable, TokenExpired, TokenInvalid, TokenRevoked
from services.runtime.verification import PublicKeys
from services.runtime.verified import SIZE, Verified
from services.runtime.verifier import CACHE_SECONDS, KEY_AGE_SECONDS, Verifier
from tests.services.runtime.authority import ORGANIZATION, SESSION, USER, Authority


@pytest.fixture
def authority() -> Authority:
    return Authority()


async def test_keys_are_fetched_once_and_again_for_an_unknown_one(authority: Authority) -> None:
    verifier = authority.verifier()
    for _ in range(3):
        await verifier.verify(authority.token())
    assert authority.asked == 1
    authority.keys.append(SigningKey.generate())
    authority.now += 2
    await verifier.verify(authority.token())
    assert authority.asked == 2


async def test_whoever_comes_first_shares_one_fetch(authority: Authority) -> None:
    verifier = authority.verifier()
    await asyncio.gather(*(verifier.verify(authority.token()) for _ in range(5)))
    assert authority.asked == 1


async def test_unknown_keys_do_not_make_it_ask_all_the_time(authority: Authority) -> None:
    verifier = authority.verifier()
    stranger = Authority()
    for _ in range(5):
        with pytest.raises(TokenInvalid):
            await verifier.verify(stranger.token())
    assert authority.asked == 1


async def test_a_withdrawn_key_is_good_for_no_token_any_more(authority: Authority) -> None:
    verifier = authority.verifier()
    await verifier.verify(authority.token())
    authority.now += KEY_AGE_SECONDS - 1
    token = authority.token()
    await verifier.verify(token)
    authority.keys = [SigningKey.generate()]
    authority.now += 2
    await verifier.verify(authority.token())
    with pytest.raises(TokenInvalid):
        await verifier.verify(token)


async def test_a_revoked_key_is_not_taken_back_from_an_auth_that_has_not_heard(authority: Authority) -> None:
    verifier, token = authority.verifier(), authority.token()
    await verifier.verify(token)
    verifier.forget(f"signing_key:{authority.keys[0].key_id}")
    authority.now += KEY_AGE_SECONDS + 1
    with pytest.raises(TokenInvalid):
        await verifier.verify(token)


@pytest.mark.parametrize("kind", ["token", "key"])
async def test_what_is_verified_is_remembered_for_thirty_seconds(authority: Authority, kind: str) -> None:
    verifier = authority.verifier()
    token = "nrctmy_live_x" if kind == "key" else authority.token()
    for seconds in (0, CACHE_SECONDS - 1, 2):
        authority.now += seconds
        await verifier.verify(token)
    assert authority.looked_up + authority.checked == 2


async def test_nothing_is_remembered_past_its_end(authority: Authority) -> None:
    verifier = authority.verifier()
    token = authority.token(lifetime=10)
    await verifier.verify(token)
    authority.now += 10
    with pytest.raises(TokenExpired):
        await verifier.verify(token)


FORGETS = {
    f"session:{SESSION}": (True, False),
    f"member:{ORGANIZATION}/{USER}": (True, True),
    "api_key:nrctmy_live_x": (False, True),
    "session:another": (False, False),
    f"member:{ORGANIZATION}/another": (False, True),
    f"member:another/{USER}": (False, False),
    "nonsense": (False, False),
}
"""What is revoked -> whether the user's token and the organization's key are asked about again."""


@pytest.mark.parametrize("name", FORGETS)
async def test_a_revocation_makes_it_forget_whom_it_concerns(authority: Authority, name: str) -> None:
    verifier, token = authority.verifier(), authority.token()
    for each in (token, "nrctmy_live_x"):
        await verifier.verify(each)
    verifier.forget(name)
    for each in (token, "nrctmy_live_x"):
        await verifier.verify(each)
    assert (authority.checked == 2, authority.looked_up == 2) == FORGETS[name]


async def test_a_revoked_token_is_refused_once_it_is_forgotten(authority: Authority) -> None:
    verifier, token = authority.verifier(), authority.token()
    await verifier.verify(token)
    authority.revoked = True
    verifier.forget_all()
    with pytest.raises(TokenRevoked):
        await verifier.verify(token)


async def test_an_answer_from_before_a_revocation_is_not_remembered(authority: Authority) -> None:
    token = authority.token()

    async def check(_token: str, _principal: Principal) -> float:
        verifier.forget(f"session:{SESSION}")
        return CACHE_SECONDS

    verifier = Verifier(authority.public, check, authority.api_key, clock=lambda: authority.now)
    await verifier.verify(token)
    assert verifier.known(token) is None


async def test_without_keys_nobody_is_let_in_and_it_goes_on_when_they_come(authority: Authority) -> None:
    down = True

    async def keys() -> PublicKeys:
        if down:
            raise ServiceUnavailable("auth")
        return await authority.public()

    verifier = Verifier(keys, authority.check, authority.api_key, clock=lambda: authority.now)
    with pytest.raises(ServiceUnavailable):
        await verifier.verify(authority.token())
    down = False
    assert await verifier.verify(authority.token())


def test_there_is_an_end_to_what_is_remembered() -> None:
    remembered = Verified(lambda: 0.0)
    for number in range(SIZE + 1):
        principal = Principal(str(number), "api_key", None, frozenset(), "", 0.0)
        remembered.keep(str(number), principal, 1.0)
    assert remembered.get("0") is None
    assert remembered.get("1") is not None
    assert len(remembered._entries) == SIZE
    remembered.forget("api_keys:None")
    assert (remembered._entries, remembered._marked) == ({}, {})


async def test_refusals_are_counted_by_reason(authority: Authority) -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("tokens_refused_total", {"reason": "TOKEN_INVALID"}) or 0.0

    before = counted()
    with pytest.raises(TokenInvalid):
        await authority.verifier().verify("nonsense")
    assert counted() == before + 1
