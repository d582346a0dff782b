"""Whether what a token says still stands: PostgreSQL's own word, for auth itself and for whoever cannot ask Redis."""

from uuid import UUID

from services.auth.store import standing as rows
from services.runtime.caller import Principal
from services.runtime.errors import TokenRevoked
from services.runtime.postgres import Database
from services.runtime.verifier import CACHE_SECONDS


class Standing:
    """Looks at the session and at the membership."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def check(self, _token: str, principal: Principal) -> float:
        """A Verifier's Check."""
        session_id, user_id = UUID(principal.session_id), UUID(principal.subject)
        async with self._database.tenant(principal.tenant, read_only=True) as statements:
            row = await rows.select(statements, session_id, principal.tenant, user_id)
        if row is None or not row["open"] or row["version"] is None or row["version"] > principal.version:
            raise TokenRevoked
        return CACHE_SECONDS
