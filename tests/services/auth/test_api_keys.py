"""API keys over real gRPC: what each may do, when it ends, and who learns of it."""

import asyncio
import re
import time
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest

from deploy.local.stack import Stack
from neurectomy.auth.v1 import api_keys_pb2 as pb
from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1.api_keys_pb2_grpc import ApiKeysServiceStub
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from services.auth.api_keys import ApiKeys
from services.auth.key_format import digest, generate
from services.auth.key_uses import KeyUses
from services.auth.revocations import Revocations
from services.runtime import postgres
from services.runtime.postgres import Database
from tests.conftest import Connect, Tenant, reason
from tests.services.auth.conftest import AUDIT, do, join, log_in, refused, unknown_ids

KEY_REVOCATION = "SELECT FROM revocations WHERE kind = 'api_key' AND key = $1"
SET_ROLE = "UPDATE memberships SET role = $3 WHERE organization_id = $1 AND user_id = $2"
LEAVE = "DELETE FROM memberships WHERE organization_id = $1 AND user_id = $2"
OLD_KEY = """
INSERT INTO api_keys (api_key_id, organization_id, creator_id, name, prefix, sha256, scopes)
VALUES ($1, $2, $3, 'old', 'nrctmy_live_old', $4, '{agents:*}')
"""


def keys(connect_as: Connect, caller: Tenant | str) -> Any:
    return connect_as(ApiKeysServiceStub, caller)


async def create(connect_as: Connect, caller: Tenant | str, **fields: Any) -> pb.CreateApiKeyResponse:
    request = pb.CreateApiKeyRequest(**{"name": "script", **fields})
    answer: pb.CreateApiKeyResponse = await keys(connect_as, caller).CreateApiKey(request)
    return answer


async def allowed(database: Database, key: str) -> set[str]:
    """What the database says of a key now; the server remembers its answers for a while."""
    uses = KeyUses(database)
    return set((await ApiKeys(database, Revocations(600), uses).principal(key)).permissions)


async def listed(connect_as: Connect, caller: Tenant | str) -> dict[str, pb.ApiKey]:
    answer = await keys(connect_as, caller).ListApiKeys(pb.ListApiKeysRequest())
    return {each.id: each for each in answer.api_keys}


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_scanners_find_a_key_by_what_the_proto_says() -> None:
    text = (Path(__file__).parents[3] / "protos/neurectomy/auth/v1/api_keys.proto").read_text()
    documented = re.search(r"regular expression `(.+?)`", text)
    assert documented is not None
    key = generate()
    assert re.search(documented[1], f'token = "{key}"')
    assert key[-8:] == f"{zlib.crc32(key[12:-8].encode()):08x}"


async def test_keys_are_listed_without_their_secrets(connect_as: Connect, tenant: Tenant, other_tenant: Tenant) -> None:
    made = await create(connect_as, tenant, scopes=["agents:read"], expire_time=in_seconds(60))
    later = await create(connect_as, tenant, name="later")
    await create(connect_as, other_tenant)
    found = await listed(connect_as, tenant)
    assert list(found) == [later.id, made.id]
    assert found[made.id] == made.api_key
    assert made.key.startswith(made.api_key.prefix)
    assert len(made.api_key.prefix) == 18
    assert (made.api_key.name, list(made.api_key.scopes)) == ("script", ["agents:read"])
    assert made.api_key.state == pb.API_KEY_STATE_ACTIVE
    assert made.api_key.creator_id == made.api_key.user_id == tenant.user_id
    assert not later.api_key.HasField("expire_time")
    assert not later.api_key.HasField("use_time")


BAD = {
    "no name": {"name": ""},
    "endless name": {"name": "x" * 201},
    "NUL in the name": {"name": "a\0b"},
    "an unknown area": {"scopes": ["agent:read"]},
    "an unknown deed": {"scopes": ["agents:fly"]},
    "everything": {"scopes": ["*"]},
    "all of nothing": {"scopes": ["nothing:*"]},
    "no scope": {"scopes": [""]},
    "an endless scope": {"scopes": ["x" * 100_000]},
    "a hundred strange scopes": {"scopes": [str(number) + "\U0001f600" * 100 for number in range(100)]},
    "too many scopes": {"scopes": ["agents:read"] * 101},
    "a past end": {"expire_time": datetime(2020, 1, 1, tzinfo=UTC)},
}


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD)
async def test_what_is_no_key_is_refused(connect_as: Connect, tenant: Tenant, fields: dict[str, Any]) -> None:
    assert await refused(create(connect_as, tenant, **fields)) == "INVALID_FIELDS"


async def test_moments_of_no_calendar_are_refused(connect_as: Connect, tenant: Tenant) -> None:
    for seconds, nanos in ((2**62, 0), (-(2**62), 0), (253_402_300_800, 0), (1, -5)):
        request = pb.CreateApiKeyRequest(name="script")
        request.expire_time.seconds, request.expire_time.nanos = seconds, nanos
        assert await refused(keys(connect_as, tenant).CreateApiKey(request)) == "INVALID_FIELDS"


async def test_an_unknown_scope_is_named(connect_as: Connect, tenant: Tenant) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await create(connect_as, tenant, scopes=["agents:read", "agents:fly"])
    assert "agents:fly" in (caught.value.details() or "")


async def test_a_key_makes_no_key_beyond_itself(connect_as: Connect, tenant: Tenant) -> None:
    scopes, ends = ["api_keys:*", "agents:read"], in_seconds(300)
    maker = await create(connect_as, tenant, scopes=scopes, expire_time=ends)
    assert await refused(create(connect_as, maker.key, scopes=["agents:write"])) == "PERMISSION_MISSING"
    made = await create(connect_as, maker.key, expire_time=in_seconds(3_600))
    forever = await create(connect_as, maker.key)
    for each in (made.api_key, forever.api_key):
        assert sorted(each.scopes) == sorted(scopes)
        assert each.expire_time == maker.api_key.expire_time
        assert (each.creator_id, each.user_id) == (maker.id, tenant.user_id)


async def test_a_revoked_key_takes_along_what_was_made_with_it(
    connect_as: Connect, tenant: Tenant, database: Database
) -> None:
    maker = await create(connect_as, tenant, name="maker")
    made = await create(connect_as, maker.key, name="made")
    grandchild = await create(connect_as, made.key, name="grandchild")
    other = await create(connect_as, tenant, name="other")
    for _ in range(2):
        answer = await keys(connect_as, tenant).RevokeApiKey(pb.RevokeApiKeyRequest(id=maker.id))
        assert answer.api_key.state == pb.API_KEY_STATE_REVOKED
    states = {name: each.state for name, each in ((e.name, e) for e in (await listed(connect_as, tenant)).values())}
    assert {name for name, state in states.items() if state == pb.API_KEY_STATE_REVOKED} == {
        "maker",
        "made",
        "grandchild",
    }
    entries = await do(database, AUDIT, tenant.organization_id, "api_key.revoke")
    assert {entry["target"] for entry in entries} == {maker.id, made.id, grandchild.id}
    assert len(entries) == 3
    for each in (maker, made, grandchild):
        assert len(await do(database, KEY_REVOCATION, each.id)) == 1
    assert not await do(database, KEY_REVOCATION, other.id)
    assert await refused(create(connect_as, made.key)) in {"TOKEN_REVOKED", "TOKEN_INVALID"}


async def test_a_revoked_key_is_told_from_one_that_never_was(connect_as: Connect, tenant: Tenant) -> None:
    made = await create(connect_as, tenant)
    await keys(connect_as, tenant).RevokeApiKey(pb.RevokeApiKeyRequest(id=made.id))
    verify = connect_as(AuthServiceStub).VerifyToken
    assert await refused(verify(auth_pb2.VerifyTokenRequest(token=made.key))) == "TOKEN_REVOKED"
    assert await refused(verify(auth_pb2.VerifyTokenRequest(token=generate()))) == "TOKEN_INVALID"


async def test_keys_of_others_are_not_there(connect_as: Connect, tenant: Tenant, other_tenant: Tenant) -> None:
    others = await create(connect_as, other_tenant)
    caller = keys(connect_as, tenant)
    for wrong in unknown_ids(others.id):
        assert await refused(caller.RevokeApiKey(pb.RevokeApiKeyRequest(id=wrong))) == "API_KEY_NOT_FOUND"
        assert await refused(caller.RotateApiKey(pb.RotateApiKeyRequest(id=wrong))) == "API_KEY_NOT_FOUND"
    assert (await listed(connect_as, other_tenant))[others.id].state == pb.API_KEY_STATE_ACTIVE


async def test_a_key_may_do_what_its_answerer_may_do_now(
    connect_as: Connect, tenant: Tenant, other_tenant: Tenant, database: Database
) -> None:
    await join(database, other_tenant, tenant.organization_id, "admin")
    admin = (await log_in(connect_as, other_tenant, tenant.organization_id)).access_token.token
    scopes = ["agents:*", "members:read", "api_keys:write"]
    made = await create(connect_as, admin, scopes=scopes)
    by_key = await create(connect_as, made.key, scopes=["agents:write", "agents:read"])
    assert set(scopes) <= await allowed(database, made.key)
    where = (tenant.organization_id, UUID(other_tenant.user_id))
    await do(database, SET_ROLE, *where, "viewer")
    assert await allowed(database, made.key) == {"agents:read", "members:read"}
    assert await allowed(database, by_key.key) == {"agents:read"}
    await do(database, LEAVE, *where)
    assert await allowed(database, made.key) == set()
    assert await allowed(database, by_key.key) == set()


async def test_a_key_of_before_works_on(connect_as: Connect, tenant: Tenant, database: Database) -> None:
    key, api_key_id = generate(), uuid4()
    await do(database, OLD_KEY, api_key_id, tenant.organization_id, tenant.user_id, digest(key))
    principal = (await connect_as(AuthServiceStub).VerifyToken(auth_pb2.VerifyTokenRequest(token=key))).principal
    assert (principal.subject, principal.organization_id) == (str(api_key_id), str(tenant.organization_id))
    assert "agents:*" in principal.permissions
    assert (await listed(connect_as, tenant))[str(api_key_id)].user_id == tenant.user_id


async def test_rotation_lets_both_work_for_a_while(connect_as: Connect, tenant: Tenant, database: Database) -> None:
    old = await create(connect_as, tenant, scopes=["members:read"], expire_time=in_seconds(1_000_000))
    answer = await keys(connect_as, tenant).RotateApiKey(pb.RotateApiKeyRequest(id=old.id))
    assert (answer.api_key.name, answer.api_key.scopes) == (old.api_key.name, old.api_key.scopes)
    assert answer.old_api_key.expire_time.seconds == pytest.approx(time.time() + 86_400, abs=60)
    for key in (old.key, answer.key):
        assert await connect_as(AuthServiceStub, key).BatchGetUsers(auth_pb2.BatchGetUsersRequest())
    [entry] = await do(database, AUDIT, tenant.organization_id, "api_key.rotate")
    assert (entry["target"], entry["details"]["old"]) == (answer.id, old.id)
    assert len(await do(database, KEY_REVOCATION, old.id)) == 1
    again = await keys(connect_as, tenant).RotateApiKey(pb.RotateApiKeyRequest(id=old.id, overlap_seconds=604_800))
    assert again.old_api_key.expire_time == answer.old_api_key.expire_time
    for each in (answer, again):
        assert each.api_key.expire_time.seconds == pytest.approx(time.time() + 1_000_000, abs=60)


async def test_rotation_without_overlap_ends_the_old_one_at_once(connect_as: Connect, tenant: Tenant) -> None:
    old = await create(connect_as, tenant)
    request = pb.RotateApiKeyRequest(id=old.id, overlap_seconds=0)
    answer = await keys(connect_as, tenant).RotateApiKey(request)
    assert (answer.old_api_key.state, answer.api_key.state) == (pb.API_KEY_STATE_EXPIRED, pb.API_KEY_STATE_ACTIVE)
    verify = connect_as(AuthServiceStub).VerifyToken(auth_pb2.VerifyTokenRequest(token=old.key))
    assert await refused(verify) == "TOKEN_EXPIRED"
    assert await refused(keys(connect_as, tenant).RotateApiKey(request)) == "INVALID_FIELDS"


@pytest.mark.parametrize("overlap", [-1, 604_801, 2**31 - 1])
async def test_an_overlap_has_its_bounds(connect_as: Connect, tenant: Tenant, overlap: int) -> None:
    request = pb.RotateApiKeyRequest(id=str(uuid4()), overlap_seconds=overlap)
    assert await refused(keys(connect_as, tenant).RotateApiKey(request)) == "INVALID_FIELDS"


async def test_rotation_gives_nobody_more_than_they_have(
    connect_as: Connect, tenant: Tenant, other_tenant: Tenant, database: Database
) -> None:
    await join(database, other_tenant, tenant.organization_id, "admin")
    admin = (await log_in(connect_as, other_tenant, tenant.organization_id)).access_token.token
    owners = await create(connect_as, tenant, name="owners")
    rotate = pb.RotateApiKeyRequest(id=owners.id)
    assert await refused(keys(connect_as, admin).RotateApiKey(rotate)) == "PERMISSION_MISSING"
    narrow = await create(connect_as, tenant, scopes=["agents:read"])
    answer = await keys(connect_as, admin).RotateApiKey(pb.RotateApiKeyRequest(id=narrow.id))
    assert answer.api_key.user_id == other_tenant.user_id


async def test_a_key_that_rotates_itself_does_not_outlive_itself(connect_as: Connect, tenant: Tenant) -> None:
    made = await create(connect_as, tenant, scopes=["api_keys:write"], expire_time=in_seconds(300))
    request = pb.RotateApiKeyRequest(id=made.id)
    answers = await asyncio.gather(*(keys(connect_as, made.key).RotateApiKey(request) for _ in range(5)))
    assert {answer.api_key.expire_time.seconds for answer in answers} == {made.api_key.expire_time.seconds}
    assert len({answer.key for answer in answers}) == 5


async def test_nothing_is_made_with_a_key_while_it_is_revoked(connect_as: Connect, tenant: Tenant) -> None:
    makers = [await create(connect_as, tenant) for _ in range(10)]
    calls = [
        keys(connect_as, maker.key).CreateApiKey(pb.CreateApiKeyRequest(name="made"))
        if turn % 3
        else keys(connect_as, tenant).RevokeApiKey(pb.RevokeApiKeyRequest(id=maker.id))
        for turn in range(6)
        for maker in makers
    ]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    refusals = {reason(each) for each in answers if isinstance(each, grpc.aio.AioRpcError)}
    assert refusals <= {"TOKEN_REVOKED", "TOKEN_INVALID"}
    alive = [each for each in (await listed(connect_as, tenant)).values() if each.state == pb.API_KEY_STATE_ACTIVE]
    assert not alive


async def test_last_use_is_written_for_many_at_once_and_never_set_back(
    connect_as: Connect, tenant: Tenant, database: Database
) -> None:
    ids = [(await create(connect_as, tenant)).id for _ in range(3)]
    now = time.time()
    moments = [now, now - 100]
    for at in moments:
        uses = KeyUses(database, lambda at=at: at)  # type: ignore[misc]
        for each in ids:
            uses.note(UUID(each))
        await uses.write()
        await uses.write()
    found = await listed(connect_as, tenant)
    assert [found[each].use_time.ToNanoseconds() / 1e9 for each in ids] == pytest.approx([now] * 3, abs=0.001)


async def test_a_process_that_ends_writes_the_last_uses(connect_as: Connect, tenant: Tenant, stack: Stack) -> None:
    made = await create(connect_as, tenant)
    await connect_as(AuthServiceStub).VerifyToken(auth_pb2.VerifyTokenRequest(token=made.key))
    await stack.stop("auth")
    await stack.start("auth")
    await _answers(connect_as)
    assert (await listed(connect_as, tenant))[made.id].HasField("use_time")


async def _answers(connect_as: Connect) -> None:
    """Return when the channel has found the process again."""
    while True:
        try:
            await connect_as(AuthServiceStub).GetKeySet(auth_pb2.GetKeySetRequest())
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            await asyncio.sleep(0.1)
        else:
            return


async def test_uses_that_cannot_be_written_wait(connect_as: Connect, tenant: Tenant, stack: Stack) -> None:
    made = await create(connect_as, tenant)
    async with postgres.connect(stack.database_url("auth"), init=postgres.jsonb_as_objects) as broken:
        uses = KeyUses(broken)
        uses.note(UUID(made.id))
        await stack.kill("postgres")
        try:
            async with uses.written():
                pass
        finally:
            await stack.start("postgres")
        await uses.write()
    assert (await listed(connect_as, tenant))[made.id].HasField("use_time")
