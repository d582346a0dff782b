"""The audit log: what the auth service answers to those who may read it."""

from collections.abc import Mapping
from typing import Any

from ariadne import ObjectType, QueryType

from gateway.context import Info, page_size
from gateway.resolvers.auth import users
from gateway.resolvers.connections import Connection, connection
from gateway.resolvers.messages import null_when_empty, timestamp
from neurectomy.auth.v1 import audit_pb2 as pb

query, event = QueryType(), ObjectType("AuditEvent")
bindables = [query, event]

null_when_empty(event, "actor", "target", "address")


@query.field("auditEvents")
async def audit_events(
    _: None, info: Info, first: int, after: str | None = None, filter: Mapping[str, Any] | None = None
) -> Connection:
    wanted = _filter(filter or {})
    request = pb.ListAuditEventsRequest(page_size=page_size(first), page_token=after or "", filter=wanted)
    page = await info.context.services.audit.ListAuditEvents(request)
    return connection(page.events, page.page_tokens, page.next_page_token, after)


@event.field("user")
def user(source: pb.AuditEvent, info: Info) -> Any:
    return info.context.load(users, source.actor) if source.actor_type == "user" else None


def _filter(given: Mapping[str, Any]) -> pb.AuditFilter:
    return pb.AuditFilter(
        actions=given.get("actions") or (),
        actor=given.get("actor") or "",
        start_time=timestamp(given.get("start_time")),
        end_time=timestamp(given.get("end_time")),
    )
