"""What the resolvers of one request share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from graphql import GraphQLResolveInfo

from gateway.changes import Changes
from gateway.loaders import Loaders
from gateway.remote import Services
from services.runtime.caller import Principal
from services.runtime.errors import InvalidFields

if TYPE_CHECKING:
    from gateway.fields import Fields


class Context:
    """Made anew for each request, and for each event of a subscription."""

    __slots__ = ("_loaders", "changes", "fields", "principal", "services", "truncated")

    def __init__(
        self, services: Services, changes: Changes, principal: Principal | None = None, fields: "Fields | None" = None
    ) -> None:
        self.services = services
        self.changes = changes
        self.principal = principal
        """The verified caller; None by HTTP for one without a token."""
        self.fields = fields
        """Where waiting fields are noted, if the request is recorded."""
        self.truncated: list[list[str | int]] = []
        """Paths of lists that a cap cut short."""
        self._loaders = Loaders(services)

    def load(self, fetch: Callable[..., Any], key: Any, *arguments: Any, limit: int = 1_000) -> Any:
        """See Loaders.load."""
        return self._loaders.load(fetch, key, *arguments, limit=limit)

    def extensions(self) -> dict[str, Any] | None:
        """What the answer says beside its data."""
        return {"truncated": self.truncated} if self.truncated else None


Info: TypeAlias = GraphQLResolveInfo[Context]
"""The second argument of every resolver."""


def page_size(first: int, most: int = 1_000) -> int:
    """The number of items asked for. Raises InvalidFields beyond 1 and `most`."""
    if not 1 <= first <= most:
        raise InvalidFields(first=f"must be 1 to {most:,}")
    return first
