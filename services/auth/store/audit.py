"""SQL of the audit log; the database links the entries (migrations/0002_audit.sql)."""

from services.runtime.postgres import Statements

INSERT = """
INSERT INTO audit_entries (organization_id, action, actor, actor_type, target, address, details)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""


async def insert(statements: Statements, *values: object) -> None:
    """Append one entry; values in the order of the statement."""
    await statements.execute("INSERT audit_entry", INSERT, *values)
