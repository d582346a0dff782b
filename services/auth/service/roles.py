"""The RPCs of RolesService: proto in, call, proto out."""

from neurectomy.auth.v1 import roles_pb2 as pb
from neurectomy.auth.v1.roles_pb2_grpc import RolesServiceServicer
from services.auth.origin import origin_of
from services.auth.permissions import grantable
from services.auth.roles import Role, Roles
from services.auth.service import messages
from services.runtime.caller import current_principal
from services.runtime.scopes import Context


class RolesRpcs(RolesServiceServicer):
    """See the proto for what each RPC does."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles

    async def ListPermissions(self, request: pb.ListPermissionsRequest, context: Context) -> pb.ListPermissionsResponse:
        found = [pb.Permission(name=name, description=description) for name, description in grantable().items()]
        return pb.ListPermissionsResponse(permissions=found)

    async def ListRoles(self, request: pb.ListRolesRequest, context: Context) -> pb.ListRolesResponse:
        found = await self._roles.all(current_principal())
        return pb.ListRolesResponse(roles=map(messages.role, found))

    async def CreateRole(self, request: pb.CreateRoleRequest, context: Context) -> pb.CreateRoleResponse:
        role = await self._roles.create(current_principal(), _wanted(request.role), origin_of(context))
        return pb.CreateRoleResponse(role=messages.role(role))

    async def UpdateRole(self, request: pb.UpdateRoleRequest, context: Context) -> pb.UpdateRoleResponse:
        wanted, mask = _wanted(request.role), list(request.update_mask.paths)
        role = await self._roles.update(current_principal(), wanted, mask, origin_of(context))
        return pb.UpdateRoleResponse(role=messages.role(role))

    async def DeleteRole(self, request: pb.DeleteRoleRequest, context: Context) -> pb.DeleteRoleResponse:
        await self._roles.delete(current_principal(), request.id, request.etag, origin_of(context))
        return pb.DeleteRoleResponse()


def _wanted(role: pb.Role) -> Role:
    return Role(role.id, role.name, role.description, frozenset(role.permissions), role.etag)
