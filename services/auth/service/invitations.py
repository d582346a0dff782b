"""The RPCs of InvitationsService: proto in, call, proto out."""

from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1 import invitations_pb2 as pb
from neurectomy.auth.v1.invitations_pb2_grpc import InvitationsServiceServicer
from services.auth import roles
from services.auth.invitations import Invitations
from services.auth.joining import Joined, Joining
from services.auth.origin import origin_of
from services.auth.service import messages
from services.runtime.caller import Principal, bearer, current_principal
from services.runtime.postgres import Row
from services.runtime.scopes import Context
from services.runtime.verifier import Verifier


class InvitationsRpcs(InvitationsServiceServicer):
    """See the proto for what each RPC does."""

    def __init__(self, invitations: Invitations, joining: Joining, verifier: Verifier) -> None:
        self._invitations = invitations
        self._joining = joining
        self._verifier = verifier

    async def CreateInvitation(
        self, request: pb.CreateInvitationRequest, context: Context
    ) -> pb.CreateInvitationResponse:
        asked = (request.email, request.role_id, origin_of(context))
        row = await self._invitations.create(current_principal(), *asked)
        return pb.CreateInvitationResponse(invitation=_invitation(row))

    async def ListInvitations(self, request: pb.ListInvitationsRequest, context: Context) -> pb.ListInvitationsResponse:
        found = await self._invitations.all_open(current_principal())
        return pb.ListInvitationsResponse(invitations=map(_invitation, found))

    async def RevokeInvitation(
        self, request: pb.RevokeInvitationRequest, context: Context
    ) -> pb.RevokeInvitationResponse:
        await self._invitations.revoke(current_principal(), request.id, origin_of(context))
        return pb.RevokeInvitationResponse()

    async def AcceptInvitation(
        self, request: pb.AcceptInvitationRequest, context: Context
    ) -> pb.AcceptInvitationResponse:
        given = (request.code, request.password, request.display_name)
        joined = await self._joining.accept(*given, await self._caller(context), origin_of(context))
        return _joined(joined)

    async def _caller(self, context: Context) -> Principal | None:
        """Open to anyone, this RPC finds no verified caller, although there may be one."""
        header = dict(context.invocation_metadata() or ()).get("authorization")
        return await self._verifier.verify(bearer(str(header))) if header else None


def _invitation(row: Row) -> pb.Invitation:
    return pb.Invitation(
        id=str(row["invitation_id"]),
        email=row["email"],
        role=messages.role(roles.of_row(row)),
        inviter_id=str(row["inviter_id"]),
        create_time=messages.moment(row["created_at"]),
        expire_time=messages.moment(row["expires_at"]),
    )


def _joined(joined: Joined) -> pb.AcceptInvitationResponse:
    answer = pb.AcceptInvitationResponse(
        user=messages.own_user(joined.user),
        organization=auth_pb2.Organization(id=str(joined.organization_id), name=joined.organization_name),
        role=messages.role(joined.role),
    )
    if joined.issued is not None:
        answer.access_token.CopyFrom(messages.token(joined.issued.access_token))
        answer.refresh_token.CopyFrom(messages.refresh_token(joined.issued.refresh_token))
    return answer
