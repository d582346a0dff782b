"""What is over when members' rights change: what their tokens say, and what is remembered of their API keys."""

from collections.abc import Sequence

from services.auth.deeds import Deed
from services.auth.revocations import Revocations, of_api_key, of_member
from services.auth.store import memberships
from services.runtime.postgres import Row


async def take_back(deed: Deed, revocations: Revocations, members: Sequence[Row]) -> None:
    """Of each member, with the membership's new version, in the transaction of the change."""
    where = deed.organization_id
    keys = await memberships.keys_of(deed.statements, where, [member["user_id"] for member in members])
    over = [of_member(where, member["user_id"], member["version"]) for member in members]
    over += [of_api_key(where, key["api_key_id"]) for key in keys]
    await revocations.revoke_all(deed.statements, where, over)
