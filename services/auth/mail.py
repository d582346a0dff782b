"""Stands in for helper `login`'s mail, with the same interface, until it is merged."""

from collections.abc import Mapping
from datetime import datetime

from services.runtime.postgres import Statements


class Mail:
    """Notes mails that are to be sent."""

    async def enqueue(
        self,
        statements: Statements,
        recipient: str,
        template: str,
        values: Mapping[str, str],
        expires_at: datetime | None = None,
    ) -> None:
        """Sends nothing."""
