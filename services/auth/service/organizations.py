"""The RPCs of OrganizationsService: proto in, call, proto out."""

from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1 import organizations_pb2 as pb
from neurectomy.auth.v1.organizations_pb2_grpc import OrganizationsServiceServicer
from services.auth import roles
from services.auth.organizations import Organizations
from services.auth.origin import origin_of
from services.auth.service import messages
from services.runtime.caller import current_principal
from services.runtime.postgres import Row
from services.runtime.scopes import Context


class OrganizationsRpcs(OrganizationsServiceServicer):
    """See the proto for what each RPC does."""

    def __init__(self, organizations: Organizations) -> None:
        self._organizations = organizations

    async def CreateOrganization(
        self, request: pb.CreateOrganizationRequest, context: Context
    ) -> pb.CreateOrganizationResponse:
        new_id = await self._organizations.create(current_principal(), request.name, origin_of(context))
        organization = auth_pb2.Organization(id=str(new_id), name=request.name)
        return pb.CreateOrganizationResponse(organization=organization)

    async def ListOrganizations(
        self, request: pb.ListOrganizationsRequest, context: Context
    ) -> pb.ListOrganizationsResponse:
        found = await self._organizations.of_user(current_principal())
        return pb.ListOrganizationsResponse(memberships=map(_membership, found))

    async def UpdateOrganization(
        self, request: pb.UpdateOrganizationRequest, context: Context
    ) -> pb.UpdateOrganizationResponse:
        caller = current_principal()
        await self._organizations.rename(caller, request.name, origin_of(context))
        organization = auth_pb2.Organization(id=str(caller.tenant), name=request.name)
        return pb.UpdateOrganizationResponse(organization=organization)


def _membership(row: Row) -> pb.OrganizationMembership:
    organization = auth_pb2.Organization(id=str(row["organization_id"]), name=row["organization_name"])
    return pb.OrganizationMembership(organization=organization, role=messages.role(roles.of_row(row)))
