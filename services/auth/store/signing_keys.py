"""SQL of signing keys."""

from services.runtime.postgres import Row, Statements

LOCK = "LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE"

INSERT_FIRST = """
INSERT INTO signing_keys (key_id, private_key)
SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM signing_keys)
"""

SELECT = "SELECT key_id, private_key FROM signing_keys ORDER BY created_at, key_id"


async def with_first(statements: Statements, key_id: str, private_key: str) -> list[Row]:
    """All keys, the newest last; the given one is the first where there is none, however many processes ask at once."""
    await statements.execute("LOCK signing_keys", LOCK)
    await statements.execute("INSERT signing_key", INSERT_FIRST, key_id, private_key)
    return await statements.fetch("SELECT signing_keys", SELECT)
