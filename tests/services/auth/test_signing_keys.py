"""Signing keys: sealed at rest, rotated with an overlap, revoked at once, by however many replicas."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import asyncpg
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from deploy.local.stack import Stack
from services.auth.audit import Entry
from services.auth.revocations import Revocations
from services.auth.sealing import Keyring
from services.auth.signing_keys import SLACK_SECONDS, Life, SealedOtherwise, SigningKeys
from services.auth.tokens import Grant, Tokens
from services.runtime import postgres
from services.runtime.errors import LastSigningKey, SigningKeyNotFound
from tests.services.auth.databases import OwnDatabase, own_database

SECRET = "s" * 32
GRANT = Grant("someone", "user", frozenset({"agents:read"}))
OPERATOR = Entry("", "service:cli", "service")
LIFE = Life(token_seconds=600, notice_seconds=90, rotation_days=30)


class Replica:
    """What one auth process knows of keys."""

    def __init__(self, database: postgres.Database, secret: str = SECRET, life: Life = LIFE) -> None:
        self.tokens = Tokens([], life.token_seconds)
        self.keys = SigningKeys(database, Keyring(secret), self.tokens, Revocations(life.token_seconds), life)

    def signs_with(self) -> str:
        return str(jwt.get_unverified_header(self.tokens.issue(GRANT).token)["kid"])

    async def published(self) -> list[str]:
        await self.keys.reload()
        return [key["kid"] for key in json.loads(self.tokens.key_set())["keys"]]

    async def states(self) -> list[str]:
        return [row["state"] for row in await self.keys.reload()]


class World:
    """A database, and replicas on it."""

    def __init__(self, own: OwnDatabase, database: postgres.Database) -> None:
        self.own = own
        self.database = database

    async def replica(self, secret: str = SECRET, life: Life = LIFE) -> Replica:
        replica = Replica(self.database, secret, life)
        await replica.keys.load()
        return replica

    async def passes(self, seconds: float) -> None:
        """Let all that was done be so much longer ago."""
        async with self.own.superuser() as connection:
            await connection.execute("UPDATE signing_keys SET signs_at = signs_at - make_interval(secs => $1)", seconds)

    async def actions(self) -> Sequence[str]:
        async with self.own.superuser() as connection:
            rows = await connection.fetch("SELECT action FROM audit_entries ORDER BY sequence")
        return [row["action"] for row in rows]


def _pem(private: Ed25519PrivateKey) -> str:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest_asyncio.fixture(loop_scope="session")
async def world(stack: Stack) -> AsyncIterator[World]:
    async with AsyncExitStack() as resources:
        own = await resources.enter_async_context(own_database(stack))
        connected = postgres.connect(own.url(), init=postgres.jsonb_as_objects)
        yield World(own, await resources.enter_async_context(connected))


async def test_replicas_that_start_at_once_have_one_key(world: World) -> None:
    replicas = await asyncio.gather(*(world.replica() for _ in range(5)))
    assert len({replica.signs_with() for replica in replicas}) == 1
    assert await replicas[0].states() == ["signing"]
    assert await world.actions() == ["signing_key.create"]


async def test_no_private_half_lies_in_the_database(world: World) -> None:
    replica = await world.replica()
    async with world.own.superuser() as connection:
        (row,) = await connection.fetch("SELECT * FROM signing_keys")
    (key,) = replica.tokens._keys
    assert row["private_key"] is None
    assert key.private_bytes() not in row["sealed_key"]


async def test_whoever_writes_to_the_database_cannot_plant_a_key(world: World) -> None:
    replica = await world.replica()
    first = await replica.published()
    pem = _pem(Ed25519PrivateKey.generate())
    insert = "INSERT INTO signing_keys (key_id, private_key) VALUES ('planted', $1)"
    async with world.database.all_tenants() as statements:
        with pytest.raises(asyncpg.CheckViolationError):
            await statements.execute("plant", insert, pem)
    forged = Keyring("guess" * 8).sealed(Ed25519PrivateKey.generate().private_bytes_raw(), "signing key", "planted")
    async with world.own.superuser() as connection:
        await connection.execute("INSERT INTO signing_keys (key_id, sealed_key) VALUES ('planted', $1)", forged)
    assert await replica.published() == await (await world.replica()).published() == first
    assert replica.signs_with() == first[0]


async def test_a_new_key_is_published_before_it_signs_and_the_old_one_stays_as_long_as_its_tokens(world: World) -> None:
    one, other = await world.replica(), await world.replica()
    old = one.signs_with()
    made, created = await one.keys.rotate(OPERATOR)
    new = made["key_id"]
    assert created
    assert await other.published() == [old, new]
    assert (one.signs_with(), other.signs_with()) == (old, old)
    await world.passes(LIFE.notice_seconds)
    assert await other.states() == ["verifying", "signing"]
    assert await one.published() == [old, new]
    assert (one.signs_with(), other.signs_with()) == (new, new)
    await world.passes(LIFE.token_seconds + SLACK_SECONDS - 5)
    assert await one.published() == [old, new]
    await world.passes(6)
    assert await one.published() == [new]


async def test_what_has_ended_is_deleted_once(world: World) -> None:
    one, other = await world.replica(), await world.replica()
    await one.keys.rotate(OPERATOR)
    await world.passes(2_000)
    found = await one.keys.reload()
    assert [row["state"] for row in found] == ["ended", "signing"]
    await asyncio.gather(one.keys._tend(found), other.keys._tend(found))
    assert await one.states() == ["signing"]
    assert await world.actions() == ["signing_key.create", "signing_key.rotate", "signing_key.delete"]


async def test_a_replica_that_cannot_reload_goes_over_by_its_own_clock(world: World) -> None:
    replica = await world.replica(life=Life(notice_seconds=1))
    made, _ = await replica.keys.rotate(OPERATOR)
    await asyncio.sleep(1.1)
    assert replica.signs_with() == made["key_id"]
    assert await replica.states() == ["verifying", "signing"]


async def test_a_rotation_that_is_under_way_is_not_begun_again(world: World) -> None:
    one, other = await world.replica(), await world.replica()
    answers = await asyncio.gather(one.keys.rotate(OPERATOR), other.keys.rotate(OPERATOR), one.keys.rotate(OPERATOR))
    assert len({row["key_id"] for row, _ in answers}) == 1
    assert sorted(created for _, created in answers) == [False, False, True]


async def test_replicas_rotate_once_when_it_is_time(world: World) -> None:
    replicas = [await world.replica() for _ in range(3)]
    await asyncio.gather(*[replica.keys._tend(await replica.keys.reload()) for replica in replicas])
    assert await replicas[0].states() == ["signing"]
    await world.passes(30 * 86_400 + 1)
    found = await replicas[0].keys.reload()
    await asyncio.gather(*(replica.keys._tend(found) for replica in replicas))
    assert await replicas[0].states() == ["signing", "next"]
    never = await world.replica(life=Life(rotation_days=0))
    await world.passes(3_650 * 86_400)
    await never.keys._tend(await never.keys.reload())
    assert (await never.states())[-1] == "signing"


async def test_a_key_that_verifies_is_revoked_and_one_that_signs_is_replaced(world: World) -> None:
    one, other = await world.replica(), await world.replica()
    first = one.signs_with()
    with pytest.raises(LastSigningKey):
        await one.keys.revoke(first, False, OPERATOR)
    with pytest.raises(SigningKeyNotFound):
        await one.keys.revoke("nothing", True, OPERATOR)
    revoked = await one.keys.revoke(first, True, OPERATOR)
    again = await other.keys.revoke(first, True, OPERATOR)
    assert (revoked["state"], again["state"], again["revoked_at"]) == ("revoked", "revoked", revoked["revoked_at"])
    assert revoked["sealed_key"] is None
    assert first not in await other.published()
    assert one.signs_with() == other.signs_with() != first
    assert await world.actions() == ["signing_key.create", "signing_key.replace", "signing_key.revoke"]
    async with world.own.superuser() as connection:
        assert await connection.fetchval("SELECT (kind, key)::text FROM revocations") == f"(signing_key,{first})"


async def test_a_next_key_that_is_revoked_leaves_the_signing_one(world: World) -> None:
    replica = await world.replica()
    first = replica.signs_with()
    made, _ = await replica.keys.rotate(OPERATOR)
    await replica.keys.revoke(made["key_id"], False, OPERATOR)
    assert await replica.published() == [first]
    await world.passes(1_000)
    assert (await replica.published(), replica.signs_with()) == ([first], first)


async def test_longer_tokens_lengthen_the_overlap(world: World) -> None:
    replica = await world.replica(life=Life(token_seconds=60))
    await replica.keys.rotate(OPERATOR)
    await (await world.replica(life=Life(token_seconds=3_600))).published()
    await world.passes(1_000)
    assert await replica.states() == ["verifying", "signing"]


async def test_another_secret_is_refused_in_plain_words_and_a_running_replica_goes_on(world: World) -> None:
    replica = await world.replica()
    first = replica.signs_with()
    with pytest.raises(SealedOtherwise, match="ENCRYPTION_SECRET"):
        await world.replica("t" * 32)
    async with world.own.superuser() as connection:
        await connection.execute("UPDATE signing_keys SET sealed_key = sealed_key || '\\x00'")
    await asyncio.sleep(1.1)
    assert first in await replica.keys.key_set()


async def test_deleted_rows_are_made_anew(world: World) -> None:
    replica = await world.replica()
    first = replica.signs_with()
    async with world.own.superuser() as connection:
        await connection.execute("DELETE FROM signing_keys")
    await replica.keys._tend(await replica.keys.reload())
    assert await replica.states() == ["signing"]
    assert replica.signs_with() != first


async def test_the_upgrade_seals_what_lay_open_logs_nobody_out_and_gets_rid_of_it(stack: Stack) -> None:
    private = Ed25519PrivateKey.generate()
    token = jwt.encode({"sub": "someone"}, private, "EdDSA", {"kid": "old"})
    async with own_database(stack, up_to="0003") as own:
        async with own.superuser() as connection:
            await connection.execute("INSERT INTO signing_keys (key_id, private_key) VALUES ('old', $1)", _pem(private))
        await own.migrate()
        async with postgres.connect(own.url(), init=postgres.jsonb_as_objects) as database:
            replicas = [Replica(database), Replica(database)]
            await asyncio.gather(*(replica.keys.load() for replica in replicas))
            keys = jwt.PyJWKSet.from_json(replicas[0].tokens.key_set())
            assert jwt.decode(token, keys["old"], ["EdDSA"]) == {"sub": "someone"}
            assert replicas[1].signs_with() == "old"
            assert await replicas[1].states() == ["signing", "next"]
        async with own.superuser() as connection:
            assert await connection.fetchval("SELECT count(private_key) FROM signing_keys") == 0
