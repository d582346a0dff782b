"""What `neurectomy keys` and `neurectomy audit` print."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Group, RenderableType

from deploy.traces.figures import as_dict, figures, numbers, plain
from neurectomy.auth.v1 import audit_pb2
from neurectomy.auth.v1 import signing_keys_pb2 as pb

SHOWN_OF_A_HASH = 6
UUID_WIDTH = 36
INSTALLATION = "00000000-0000-0000-0000-000000000000"
WRONG = {
    audit_pb2.AUDIT_BREAK_KIND_ALTERED: "was altered",
    audit_pb2.AUDIT_BREAK_KIND_MISSING: "is missing",
    audit_pb2.AUDIT_BREAK_KIND_INSERTED: "was inserted",
    audit_pb2.AUDIT_BREAK_KIND_UNLINKED: "does not follow the one before it: one of the two was replaced",
    audit_pb2.AUDIT_BREAK_KIND_WRONG_HEAD: "is not the end that was noted",
    audit_pb2.AUDIT_BREAK_KIND_NOT_AS_KNOWN: "is not what was seen before: the chain was rewritten or cut",
}


def as_json(messages: Iterable[Message]) -> str:
    """For a program."""
    return json.dumps([as_dict(each) for each in messages], indent=2)


def keys_table(keys: Iterable[pb.SigningKey]) -> RenderableType:
    """Signing keys, in the order in which they sign."""
    table = figures()
    table.add_column("key", no_wrap=True, min_width=UUID_WIDTH)
    table.add_column("state", no_wrap=True, min_width=len("verifying"))
    for heading in ("signs from", "until"):
        table.add_column(heading, overflow="fold")
    for key in keys:
        state = pb.SigningKeyState.Name(key.state).removeprefix("SIGNING_KEY_STATE_").lower()
        until = key.revoke_time if key.HasField("revoke_time") else key.end_time
        table.add_row(plain(key.id), state, moment(key.sign_time), moment(until))
    return table


def chains_table(chains: Sequence[audit_pb2.VerifyAuditLogResponse]) -> RenderableType:
    """Each chain with its last good entry, and below what is broken."""
    table = figures()
    table.add_column("organization", overflow="fold")
    numbers(table, "entries", "last hash")
    table.add_column("")
    for chain in chains:
        broken = chain.HasField("first_break")
        last = chain.head.hash.hex()[: 2 * SHOWN_OF_A_HASH]
        verdict = plain("BROKEN", "red") if broken else plain("whole")
        table.add_row(plain(_whose(chain)), f"{chain.head.sequence:,}", last, verdict)
    return Group(table, *(plain(_wrong(chain), "red") for chain in chains if chain.HasField("first_break")))


def moment(timestamp: Timestamp) -> str:
    """To the second, in UTC; nothing where there is none."""
    if not timestamp.ByteSize():
        return ""
    return timestamp.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _whose(chain: audit_pb2.VerifyAuditLogResponse) -> str:
    organization_id = chain.head.organization_id
    if organization_id == INSTALLATION:
        return "(the installation)"
    return f"{chain.organization_name} {organization_id}".strip()


def _wrong(chain: audit_pb2.VerifyAuditLogResponse) -> str:
    broken = chain.first_break
    told = f"{_whose(chain)}: entry {broken.sequence} {WRONG[broken.kind]}"
    if not broken.HasField("event"):
        return f"{told}."
    event = broken.event
    actor = f"by {event.actor_type} {event.actor}".strip()
    return f"{told}. Entry {event.sequence} says now: {moment(event.time)} {event.action} {actor}."
