"""Organizations as wholes over real gRPC: a user's own, another one, and a new name."""

from typing import Any

import pytest

from neurectomy.auth.v1 import api_keys_pb2 as keys
from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1 import organizations_pb2 as pb
from neurectomy.auth.v1.api_keys_pb2_grpc import ApiKeysServiceStub
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from neurectomy.auth.v1.organizations_pb2_grpc import OrganizationsServiceStub
from tests.conftest import Connect, Tenant, register
from tests.services.auth.people import People, refused


async def _mine(connect_as: Connect, caller: Tenant) -> list[tuple[str, str, str]]:
    answer = await connect_as(OrganizationsServiceStub, caller).ListOrganizations(pb.ListOrganizationsRequest())
    return [(each.organization.id, each.organization.name, each.role.id) for each in answer.memberships]


async def test_a_user_has_several_organizations_with_a_role_in_each(
    connect_as: Connect, people: People, owner: Tenant
) -> None:
    guest = await register(connect_as)
    await people.accept(await people.invite(owner, "viewer", guest.email), caller=guest)
    request = pb.CreateOrganizationRequest(name="Second")
    made = (await connect_as(OrganizationsServiceStub, guest).CreateOrganization(request)).organization
    mine = await _mine(connect_as, guest)
    assert [(each[0], each[2]) for each in mine] == [
        (str(guest.organization_id), "owner"),
        (str(owner.organization_id), "viewer"),
        (made.id, "owner"),
    ]
    again = auth_pb2.LogInRequest(email=guest.email, password=guest.password, organization_id=made.id)
    assert (await connect_as(AuthServiceStub).LogIn(again)).organization.name == "Second"
    assert await people.audited(made.id) == ["organization.create", "session.create"]


async def test_an_organization_gets_another_name(connect_as: Connect, people: People) -> None:
    owner = await register(connect_as)
    organizations = connect_as(OrganizationsServiceStub, owner)
    renamed = (await organizations.UpdateOrganization(pb.UpdateOrganizationRequest(name="Other"))).organization
    assert (renamed.id, renamed.name) == (str(owner.organization_id), "Other")
    assert await _mine(connect_as, owner) == [(str(owner.organization_id), "Other", "owner")]
    assert (await people.audited(owner.organization_id))[-1] == "organization.update"


@pytest.mark.parametrize("name", ["", "x" * 201, "a\0b"])
async def test_a_bad_name_is_refused(connect_as: Connect, owner: Tenant, name: str) -> None:
    organizations = connect_as(OrganizationsServiceStub, owner)
    calls = [
        organizations.CreateOrganization(pb.CreateOrganizationRequest(name=name)),
        organizations.UpdateOrganization(pb.UpdateOrganizationRequest(name=name)),
    ]
    assert [await refused(call) for call in calls] == ["INVALID_FIELDS"] * 2


async def test_only_owners_rename(connect_as: Connect, admin: Tenant) -> None:
    organizations = connect_as(OrganizationsServiceStub, admin)
    renaming = organizations.UpdateOrganization(pb.UpdateOrganizationRequest(name="taken over"))
    assert await refused(renaming) == "PERMISSION_MISSING"


async def test_who_is_no_user_has_no_organizations(connect_as: Connect, owner: Tenant) -> None:
    key = (await connect_as(ApiKeysServiceStub, owner).CreateApiKey(keys.CreateApiKeyRequest(name="script"))).key
    request = auth_pb2.CreateAnonymousTokenRequest()
    anonymous = (await connect_as(AuthServiceStub).CreateAnonymousToken(request)).access_token.token
    for caller in (key, anonymous):
        organizations = connect_as(OrganizationsServiceStub, caller)
        calls: list[Any] = [
            organizations.CreateOrganization(pb.CreateOrganizationRequest(name="script's")),
            organizations.ListOrganizations(pb.ListOrganizationsRequest()),
        ]
        assert [await refused(call) for call in calls] == ["USER_NOT_FOUND"] * 2


async def test_there_is_an_end_to_a_users_organizations(connect_as: Connect, people: People) -> None:
    busy = await register(connect_as)
    async with people.database() as database:
        sql = """
        WITH made AS (
            INSERT INTO auth.organizations (organization_id, name)
            SELECT gen_random_uuid(), 'one of many' FROM generate_series(1, 99) RETURNING organization_id
        )
        INSERT INTO auth.memberships (organization_id, user_id, role) SELECT organization_id, $1, 'owner' FROM made
        """
        await database.execute(sql, busy.user_id)
    organizations = connect_as(OrganizationsServiceStub, busy)
    making = organizations.CreateOrganization(pb.CreateOrganizationRequest(name="one more"))
    assert await refused(making) == "TOO_LARGE"
