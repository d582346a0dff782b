"""The RPCs of MembersService: proto in, call, proto out."""

from neurectomy.auth.v1 import members_pb2 as pb
from neurectomy.auth.v1.members_pb2_grpc import MembersServiceServicer
from services.auth import roles
from services.auth.members import Members
from services.auth.origin import origin_of
from services.auth.service import messages
from services.runtime.caller import Principal, current_principal
from services.runtime.postgres import Row
from services.runtime.scopes import Context


class MembersRpcs(MembersServiceServicer):
    """See the proto for what each RPC does."""

    def __init__(self, members: Members) -> None:
        self._members = members

    async def ListMembers(self, request: pb.ListMembersRequest, context: Context) -> pb.ListMembersResponse:
        caller = current_principal()
        asked = (request.organization_id, request.page_size, request.page_token)
        page, token, tokens = await self._members.page(caller, *asked)
        members = [_member(row, caller) for row in page]
        return pb.ListMembersResponse(members=members, next_page_token=token, page_tokens=tokens)

    async def SetMemberRole(self, request: pb.SetMemberRoleRequest, context: Context) -> pb.SetMemberRoleResponse:
        caller = current_principal()
        row = await self._members.set_role(caller, request.user_id, request.role_id, origin_of(context))
        return pb.SetMemberRoleResponse(member=_member(row, caller))

    async def RemoveMember(self, request: pb.RemoveMemberRequest, context: Context) -> pb.RemoveMemberResponse:
        await self._members.remove(current_principal(), request.user_id, origin_of(context))
        return pb.RemoveMemberResponse()

    async def LeaveOrganization(
        self, request: pb.LeaveOrganizationRequest, context: Context
    ) -> pb.LeaveOrganizationResponse:
        caller = current_principal()
        await self._members.leave(caller, origin_of(context))
        return pb.LeaveOrganizationResponse(organization_id=str(caller.tenant))


def _member(row: Row, caller: Principal) -> pb.Member:
    with_email = caller.allows("members:manage") or str(row["user_id"]) == caller.subject
    return pb.Member(
        user=messages.user(row, with_email),
        role=messages.role(roles.of_row(row)),
        join_time=messages.moment(row["joined_at"]),
    )
