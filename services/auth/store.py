"""SQL of the auth service."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from services.auth.tokens import SigningKey
from services.runtime.errors import EmailTaken
from services.runtime.postgres import Database, Row

INSERT_ACCOUNT = """
WITH organization AS (
    INSERT INTO organizations (organization_id, name) VALUES ($1, $2)
), "user" AS (
    INSERT INTO users (user_id, email, display_name, password_hash) VALUES ($3, $4, $5, $6)
    RETURNING user_id, email, display_name, created_at
), membership AS (
    INSERT INTO memberships (organization_id, user_id, role) VALUES ($1, $3, $7)
)
SELECT user_id, email, display_name, created_at FROM "user"
"""

INSERT_MEMBER = """
WITH "user" AS (
    INSERT INTO users (user_id, email, display_name, password_hash) VALUES ($2, $3, $4, $5)
    RETURNING user_id
)
INSERT INTO memberships (organization_id, user_id, role) SELECT $1, user_id, $6 FROM "user"
"""

SELECT_CREDENTIALS = """
SELECT u.user_id, u.email, u.display_name, u.created_at, u.password_hash,
       m.organization_id, m.role, o.name AS organization_name
FROM users u JOIN memberships m USING (user_id) JOIN organizations o USING (organization_id)
WHERE lower(u.email) = lower($1) AND ($2::uuid IS NULL OR m.organization_id = $2)
ORDER BY m.created_at, m.organization_id
LIMIT 1
"""

SELECT_MEMBERS = """
SELECT u.user_id, u.email, u.display_name, u.created_at
FROM memberships m JOIN users u USING (user_id)
WHERE m.organization_id = $1 AND m.user_id = ANY($2::uuid[])
"""

SELECT_ORGANIZATION = "SELECT organization_id, name FROM organizations WHERE organization_id = $1"

INSERT_API_KEY = """
INSERT INTO api_keys (api_key_id, organization_id, creator_id, name, prefix, sha256, scopes, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""

SELECT_API_KEY = "SELECT api_key_id, organization_id, scopes, expires_at FROM api_keys WHERE sha256 = $1"

INSERT_FIRST_SIGNING_KEY = """
INSERT INTO signing_keys (key_id, private_key)
SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM signing_keys)
"""

SELECT_SIGNING_KEYS = "SELECT key_id, private_key FROM signing_keys ORDER BY created_at, key_id"


class AuthStore:
    """The rows of the auth schema."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_account(
        self, organization_id: UUID, organization: str, user_id: UUID, email: str, name: str, password_hash: str
    ) -> Row:
        """A new organization with its owner; returns the user. Raises EmailTaken."""
        values = (organization_id, organization, user_id, email, name, password_hash, "owner")
        try:
            async with self._database.tenant(organization_id) as statements:
                row = await statements.fetchrow("INSERT account", INSERT_ACCOUNT, *values)
        except asyncpg.UniqueViolationError as error:
            raise EmailTaken from error
        assert row is not None
        return row

    async def create_member(
        self, organization_id: UUID, user_id: UUID, email: str, name: str, password_hash: str, role: str
    ) -> None:
        """A new user in an organization that exists. Raises EmailTaken."""
        values = (organization_id, user_id, email, name, password_hash, role)
        try:
            async with self._database.tenant(organization_id) as statements:
                await statements.execute("INSERT member", INSERT_MEMBER, *values)
        except asyncpg.UniqueViolationError as error:
            raise EmailTaken from error

    async def credentials(self, email: str, organization_id: UUID | None) -> Row | None:
        """The user of an e-mail address with one of their memberships, the oldest unless named."""
        async with self._database.all_tenants(read_only=True) as statements:
            return await statements.fetchrow("SELECT credentials", SELECT_CREDENTIALS, email, organization_id)

    async def members(self, organization_id: UUID, user_ids: Sequence[UUID]) -> list[Row]:
        """Those of the users who are members."""
        async with self._database.tenant(organization_id, read_only=True) as statements:
            return await statements.fetch("SELECT members", SELECT_MEMBERS, organization_id, user_ids)

    async def organization(self, organization_id: UUID) -> Row | None:
        """An organization."""
        async with self._database.tenant(organization_id, read_only=True) as statements:
            return await statements.fetchrow("SELECT organization", SELECT_ORGANIZATION, organization_id)

    async def create_api_key(
        self,
        api_key_id: UUID,
        organization_id: UUID,
        creator_id: str,
        name: str,
        prefix: str,
        sha256: bytes,
        scopes: Sequence[str],
        expires_at: datetime | None,
    ) -> None:
        """Keep a key's hash."""
        values = (api_key_id, organization_id, creator_id, name, prefix, sha256, scopes, expires_at)
        async with self._database.tenant(organization_id) as statements:
            await statements.execute("INSERT api_key", INSERT_API_KEY, *values)

    async def api_key(self, sha256: bytes) -> Row | None:
        """The key with this hash."""
        async with self._database.all_tenants(read_only=True) as statements:
            return await statements.fetchrow("SELECT api_key", SELECT_API_KEY, sha256)

    async def signing_keys(self) -> list[SigningKey]:
        """All keys, the newest last; the first one is made here, once, however many processes start at once."""
        new = SigningKey.generate()
        async with self._database.all_tenants() as statements:
            await statements.execute("LOCK signing_keys", "LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE")
            await statements.execute("INSERT signing_key", INSERT_FIRST_SIGNING_KEY, new.key_id, new.pem())
            rows = await statements.fetch("SELECT signing_keys", SELECT_SIGNING_KEYS)
        return [SigningKey.from_pem(row["key_id"], row["private_key"]) for row in rows]
