"""SQL of mails that are to be sent."""

from datetime import datetime
from uuid import UUID

from services.runtime.postgres import Row, Statements

INSERT = "INSERT INTO mails (mail_id, sealed, expires_at) VALUES ($1, $2, $3)"

TAKE = """
UPDATE mails SET tries = tries + 1, next_at = now() + make_interval(secs => least($2 * 2.0 ^ least(tries, 20), $3))
WHERE mail_id IN (SELECT mail_id FROM mails WHERE next_at <= now() ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING mail_id, sealed, created_at, expires_at, tries, expires_at <= now() AS expired
"""

DELETE = "DELETE FROM mails WHERE mail_id = $1"


async def insert(statements: Statements, mail_id: UUID, sealed: bytes, expires_at: datetime) -> None:
    """Keep one to be sent."""
    await statements.execute("INSERT mail", INSERT, mail_id, sealed, expires_at)


async def take(statements: Statements, limit: int, first_pause: float, longest_pause: float) -> list[Row]:
    """Those that are due, which are due again after a pause in seconds that doubles: unless they are deleted before."""
    return await statements.fetch("UPDATE mails", TAKE, limit, first_pause, longest_pause)


async def delete(statements: Statements, mail_id: UUID) -> None:
    """One is done with."""
    await statements.execute("DELETE mail", DELETE, mail_id)
