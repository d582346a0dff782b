"""Roles: what the auth service answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from ariadne import MutationType, ObjectType, QueryType
from google.protobuf.field_mask_pb2 import FieldMask

from gateway.context import Info
from gateway.resolvers.messages import null_when_empty
from neurectomy.auth.v1 import roles_pb2 as pb

query, mutation, role = QueryType(), MutationType(), ObjectType("Role")
bindables = [query, mutation, role]

null_when_empty(role, "etag")

Input = Mapping[str, Any]


@query.field("permissions")
async def list_permissions(_: None, info: Info) -> Sequence[pb.Permission]:
    return (await info.context.services.roles.ListPermissions(pb.ListPermissionsRequest())).permissions


@query.field("roles")
async def list_roles(_: None, info: Info) -> Sequence[pb.Role]:
    return (await info.context.services.roles.ListRoles(pb.ListRolesRequest())).roles


@mutation.field("createRole")
async def create_role(_: None, info: Info, input: Input) -> pb.Role:
    request = pb.CreateRoleRequest(role=pb.Role(**input))
    return (await info.context.services.roles.CreateRole(request)).role


@mutation.field("updateRole")
async def update_role(_: None, info: Info, input: Input) -> pb.Role:
    given = {name: value for name, value in input.items() if value is not None}
    mask = FieldMask(paths=sorted(given.keys() - {"id", "etag"}))
    request = pb.UpdateRoleRequest(role=pb.Role(**given), update_mask=mask)
    return (await info.context.services.roles.UpdateRole(request)).role


@mutation.field("deleteRole")
async def delete_role(_: None, info: Info, id: str, etag: str | None = None) -> str:
    await info.context.services.roles.DeleteRole(pb.DeleteRoleRequest(id=id, etag=etag or ""))
    return id
