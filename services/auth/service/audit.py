"""The RPCs of AuditService: proto in, call, proto out."""

import json
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from neurectomy.auth.v1 import audit_pb2 as pb
from neurectomy.auth.v1.audit_pb2_grpc import AuditServiceServicer
from services.auth import audit_chains, audit_events
from services.auth.audit_chains import Break, Head, Verified
from services.auth.service import messages
from services.runtime.caller import current_principal
from services.runtime.errors import InvalidFields
from services.runtime.postgres import Database, Row
from services.runtime.scopes import Context

MAX_KNOWN = 10_000
HASH_BYTES = 32


class AuditRpcs(AuditServiceServicer):
    """See the proto for what each RPC does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ListAuditEvents(self, request: pb.ListAuditEventsRequest, context: Context) -> pb.ListAuditEventsResponse:
        page = await audit_events.page(
            self._database, current_principal().tenant, _filter(request.filter), request.page_size, request.page_token
        )
        return pb.ListAuditEventsResponse(
            events=[_event(row, row["at"], row["details"]) for row in page.events],
            next_page_token=page.next_token,
            page_tokens=page.tokens,
        )

    async def VerifyAuditLog(
        self, request: pb.VerifyAuditLogRequest, context: Context
    ) -> AsyncIterator[pb.VerifyAuditLogResponse]:
        async for chain in audit_chains.verify(self._database, _known(request.known)):
            yield _verified(chain)


def _filter(wanted: pb.AuditFilter) -> audit_events.Filter:
    start = _moment("start_time", wanted.start_time) if wanted.HasField("start_time") else None
    end = _moment("end_time", wanted.end_time) if wanted.HasField("end_time") else None
    return audit_events.Filter(list(wanted.actions), wanted.actor, start, end)


def _moment(field: str, timestamp: Timestamp) -> datetime:
    try:
        return timestamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise InvalidFields(**{field: "is no moment"}) from None


def _known(heads: Iterable[pb.AuditHead]) -> dict[UUID, Head]:
    known = {messages.uuid(head.organization_id): Head(head.sequence, head.hash) for head in heads}
    if None in known or any(head.sequence < 1 or len(head.hash) != HASH_BYTES for head in known.values()):
        raise InvalidFields(known="each has an organization, a sequence number from 1 and a hash of 32 bytes")
    if len(known) > MAX_KNOWN:
        raise InvalidFields(known=f"must be at most {MAX_KNOWN:,}")
    return {organization: head for organization, head in known.items() if organization}


def _event(row: Row, at: datetime | None, details: object) -> pb.AuditEvent:
    return pb.AuditEvent(
        sequence=row["sequence"],
        time=messages.moment(at) if at else None,
        action=row["action"],
        actor=row["actor"],
        actor_type=row["actor_type"],
        target=row["target"],
        address=row["address"],
        details={name: str(value) for name, value in details.items()} if isinstance(details, dict) else {},
    )


def _verified(chain: Verified) -> pb.VerifyAuditLogResponse:
    head = pb.AuditHead(organization_id=str(chain.organization_id), sequence=chain.head.sequence, hash=chain.head.hash)
    answer = pb.VerifyAuditLogResponse(head=head, organization_name=chain.name)
    if chain.broken is not None:
        answer.first_break.CopyFrom(_break(chain.broken))
    return answer


def _break(broken: Break) -> pb.AuditBreak:
    kind = pb.AuditBreakKind.Value(f"AUDIT_BREAK_KIND_{broken.kind}")
    message = pb.AuditBreak(kind=kind, sequence=broken.sequence)
    if (entry := broken.entry) is not None:
        at, details = audit_chains.moment_of(entry["at_sent"]), json.loads(entry["details_text"])
        message.event.CopyFrom(_event(entry, at, details))
    return message
