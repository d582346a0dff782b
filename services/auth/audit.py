"""Who did what: entries that are appended in the transaction of the deed, each holding the hash of the one before."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from services.auth.store import audit as rows
from services.runtime.postgres import Statements

INSTALLATION = UUID(int=0)
"""In whose chain is what belongs to no organization, such as a failed log-in of nobody's."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One deed."""

    action: str
    """Two words, for example `session.create` or `api_key.revoke`."""
    actor: str
    """The id of who did it; empty for a stranger."""
    actor_type: str = "user"
    """As Principal's, or `stranger`."""
    target: str = ""
    """The id of what it was done to."""
    address: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    """What else is worth knowing. Never a secret, and never the e-mail address of someone who has no account."""


async def append(statements: Statements, organization_id: UUID, entry: Entry) -> None:
    """Append to the organization's chain. Its writers wait for one another until their transactions end."""
    await rows.insert(
        statements,
        organization_id,
        entry.action,
        entry.actor,
        entry.actor_type,
        entry.target,
        entry.address,
        dict(entry.details),
    )


async def append_everywhere(statements: Statements, user_id: UUID, entry: Entry) -> None:
    """To the chains of all organizations that the user is a member of: what concerns the user concerns each."""
    for organization_id in await rows.organizations(statements, user_id):
        await append(statements, organization_id, entry)
