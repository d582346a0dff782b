"""Organizations and their members: what the auth service answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from ariadne import MutationType, ObjectType, QueryType

from gateway.context import Info, page_size
from gateway.resolvers.connections import Connection, connection
from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1 import members_pb2 as members_pb
from neurectomy.auth.v1 import organizations_pb2 as pb

query, mutation, organization = QueryType(), MutationType(), ObjectType("Organization")
bindables = [query, mutation, organization]

Input = Mapping[str, Any]


@query.field("organizations")
async def list_organizations(_: None, info: Info) -> Sequence[pb.OrganizationMembership]:
    request = pb.ListOrganizationsRequest()
    return (await info.context.services.organizations.ListOrganizations(request)).memberships


@mutation.field("createOrganization")
async def create_organization(_: None, info: Info, input: Input) -> auth_pb2.Organization:
    request = pb.CreateOrganizationRequest(**input)
    return (await info.context.services.organizations.CreateOrganization(request)).organization


@mutation.field("updateOrganization")
async def update_organization(_: None, info: Info, input: Input) -> auth_pb2.Organization:
    request = pb.UpdateOrganizationRequest(**input)
    return (await info.context.services.organizations.UpdateOrganization(request)).organization


@query.field("members")
async def list_members(_: None, info: Info, first: int, after: str | None = None) -> Connection:
    return await _page(info, first, after)


@organization.field("members")
async def members_of(source: auth_pb2.Organization, info: Info, first: int, after: str | None = None) -> Connection:
    return await _page(info, first, after, source.id)


async def _page(info: Info, first: int, after: str | None, organization_id: str = "") -> Connection:
    request = members_pb.ListMembersRequest(
        page_size=page_size(first), page_token=after or "", organization_id=organization_id
    )
    page = await info.context.services.members.ListMembers(request)
    return connection(page.members, page.page_tokens, page.next_page_token, after)


@mutation.field("setRole")
async def set_role(_: None, info: Info, input: Input) -> members_pb.Member:
    request = members_pb.SetMemberRoleRequest(user_id=input["user_id"], role_id=input["role"])
    return (await info.context.services.members.SetMemberRole(request)).member


@mutation.field("removeMember")
async def remove_member(_: None, info: Info, user_id: str) -> str:
    await info.context.services.members.RemoveMember(members_pb.RemoveMemberRequest(user_id=user_id))
    return user_id


@mutation.field("leaveOrganization")
async def leave_organization(_: None, info: Info) -> str:
    answer = await info.context.services.members.LeaveOrganization(members_pb.LeaveOrganizationRequest())
    return answer.organization_id
