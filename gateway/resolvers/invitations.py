"""Invitations: what the auth service answers to those who invite, and to those who are invited."""

from collections.abc import Mapping, Sequence
from typing import Any

from ariadne import MutationType, ObjectType, QueryType

from gateway.context import Info
from gateway.resolvers.auth import users
from gateway.resolvers.messages import Read
from neurectomy.auth.v1 import invitations_pb2 as pb

query, mutation = QueryType(), MutationType()
invitation, accepted = ObjectType("Invitation"), ObjectType("AcceptedInvitation")
bindables = [query, mutation, invitation, accepted]

Input = Mapping[str, Any]


def _log_in(source: pb.AcceptInvitationResponse) -> pb.AcceptInvitationResponse | None:
    """The answer itself has all fields of a log-in."""
    return source if source.HasField("access_token") else None


accepted.set_field("logIn", Read(_log_in))


@query.field("invitations")
async def list_invitations(_: None, info: Info) -> Sequence[pb.Invitation]:
    return (await info.context.services.invitations.ListInvitations(pb.ListInvitationsRequest())).invitations


@invitation.field("inviter")
def inviter(source: pb.Invitation, info: Info) -> Any:
    return info.context.load(users, source.inviter_id)


@mutation.field("invite")
async def invite(_: None, info: Info, input: Input) -> pb.Invitation:
    request = pb.CreateInvitationRequest(email=input["email"], role_id=input["role"])
    return (await info.context.services.invitations.CreateInvitation(request)).invitation


@mutation.field("revokeInvitation")
async def revoke_invitation(_: None, info: Info, id: str) -> str:
    await info.context.services.invitations.RevokeInvitation(pb.RevokeInvitationRequest(id=id))
    return id


@mutation.field("acceptInvitation")
async def accept_invitation(_: None, info: Info, input: Input) -> pb.AcceptInvitationResponse:
    return await info.context.services.invitations.AcceptInvitation(pb.AcceptInvitationRequest(**input))
