"""Organizations, members, roles and invitations as a client of the gateway sees them."""

from dataclasses import dataclass, replace
from uuid import uuid4

import pytest_asyncio

from deploy.local.stack import Stack
from tests.conftest import Connect
from tests.gateway.clients import CREATE_COLLECTION, PASSWORD, Client, make_agent, register
from tests.services.auth.people import People

ROLES = "{ roles { id name permissions builtIn etag } }"
CREATE_ROLE = "mutation ($input: CreateRoleInput!) { createRole(input: $input) { id etag } }"
UPDATE_ROLE = "mutation ($input: UpdateRoleInput!) { updateRole(input: $input) { name description permissions etag } }"
DELETE_ROLE = "mutation ($id: ID!, $etag: String) { deleteRole(id: $id, etag: $etag) }"
INVITE = "mutation ($input: InviteInput!) { invite(input: $input) { id email role { name } inviter { id } } }"
ACCEPT = """
mutation ($input: AcceptInvitationInput!) {
  acceptInvitation(input: $input) { user { id } organization { id } role { id } logIn { accessToken user { id } } }
}
"""
MEMBERS = """
query ($first: Int!, $after: String) {
  members(first: $first, after: $after) {
    nodes { user { id email } role { id } joinTime } edges { cursor node { user { id } } }
    pageInfo { hasNextPage hasPreviousPage endCursor }
  }
}
"""
SET_ROLE = "mutation ($input: SetRoleInput!) { setRole(input: $input) { user { id } role { id } } }"
REMOVE = "mutation ($id: ID!) { removeMember(userId: $id) }"
ME = "{ me { role { id } organization { id name members { nodes { user { id } } } } } }"
EXPLAIN = """
query ($permission: String!, $resource: ID, $subject: ID) {
  explainAccess(permission: $permission, resource: $resource, subject: $subject) {
    allowed cause explanation role { id } matchedPermission rolesThatWould { id }
  }
}
"""


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def people(stack: Stack, connect_as: Connect) -> People:
    return People(stack, connect_as)


async def _join(people: People, owner: Client, stranger: Client, role_id: str) -> tuple[Client, str]:
    email = f"{uuid4()}@example.org"
    invited = (await owner.data(INVITE, input={"email": email, "role": role_id}))["invite"]
    given = {"code": await people.code(invited["id"]), "password": PASSWORD, "displayName": "Joined"}
    joined = (await stranger.data(ACCEPT, input=given))["acceptInvitation"]
    assert joined["role"]["id"] == role_id
    assert joined["logIn"]["user"] == joined["user"]
    return replace(stranger, token=joined["logIn"]["accessToken"]), joined["user"]["id"]


async def test_members_are_invited_listed_changed_and_removed(people: People, stranger: Client) -> None:
    owner, answer, _ = await register(stranger)
    viewer, viewer_id = await _join(people, owner, stranger, "viewer")
    page = (await owner.data(MEMBERS, first=1))["members"]
    assert [each["user"]["id"] for each in page["nodes"]] == [answer["user"]["id"]]
    assert page["pageInfo"] == {"hasNextPage": True, "hasPreviousPage": False, "endCursor": page["edges"][0]["cursor"]}
    rest = (await viewer.data(MEMBERS, first=5, after=page["pageInfo"]["endCursor"]))["members"]
    assert [(each["user"]["id"], each["role"]["id"]) for each in rest["nodes"]] == [(viewer_id, "viewer")]
    me = (await viewer.data(ME))["me"]
    assert me["role"]["id"] == "viewer"
    assert [each["user"]["id"] for each in me["organization"]["members"]["nodes"]] == [answer["user"]["id"], viewer_id]
    changed = await owner.data(SET_ROLE, input={"userId": viewer_id, "role": "editor"})
    assert changed["setRole"] == {"user": {"id": viewer_id}, "role": {"id": "editor"}}
    assert await owner.data(REMOVE, id=viewer_id) == {"removeMember": viewer_id}
    error = await owner.error(REMOVE, id=viewer_id)
    assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("NOT_FOUND", "USER_NOT_FOUND")
    leaving = await owner.error("mutation { leaveOrganization }")
    assert (leaving["extensions"]["code"], leaving["extensions"]["reason"]) == ("CONFLICT", "LAST_OWNER")


async def test_whoever_has_an_account_joins_by_their_token_and_may_leave(people: People, stranger: Client) -> None:
    owner, answer, _ = await register(stranger)
    guest, theirs, email = await register(stranger)
    invited = (await owner.data(INVITE, input={"email": email, "role": "admin"}))["invite"]
    assert invited["inviter"] == {"id": answer["user"]["id"]}
    code = await people.code(invited["id"])
    error = await owner.error(ACCEPT, input={"code": code})
    assert error["extensions"]["reason"] == "CREDENTIALS_INVALID"
    joined = (await guest.data(ACCEPT, input={"code": code}))["acceptInvitation"]
    assert (joined["user"]["id"], joined["organization"], joined["logIn"]) == (
        theirs["user"]["id"],
        answer["organization"],
        None,
    )
    mine = (await guest.data("{ organizations { organization { id } role { id } } }"))["organizations"]
    assert [each["role"]["id"] for each in mine] == ["owner", "admin"]
    other = await guest.answer("{ organizations { organization { id members { nodes { user { id } } } } } }")
    own, foreign = other["data"]["organizations"]
    assert own["organization"]["members"]["nodes"]
    assert foreign["organization"]["members"] is None
    assert [error["extensions"]["reason"] for error in other["errors"]] == ["ORGANIZATION_NOT_FOUND"]


async def test_invitations_are_listed_and_revoked(stranger: Client) -> None:
    owner, *_ = await register(stranger)
    invited = (await owner.data(INVITE, input={"email": "somebody@example.org", "role": "viewer"}))["invite"]
    listed = "{ invitations { id email role { name } inviter { id } } }"
    assert (await owner.data(listed))["invitations"] == [invited]
    revoke = "mutation ($id: ID!) { revokeInvitation(id: $id) }"
    assert await owner.data(revoke, id=invited["id"]) == {"revokeInvitation": invited["id"]}
    assert (await owner.data(listed))["invitations"] == []
    assert (await owner.error(revoke, id=invited["id"]))["extensions"]["reason"] == "INVITATION_NOT_FOUND"


async def test_roles_of_ones_own(people: People, stranger: Client) -> None:
    owner, *_ = await register(stranger)
    made = (await owner.data(CREATE_ROLE, input={"name": "Curator", "permissions": ["knowledge:*"]}))["createRole"]
    change = {"id": made["id"], "etag": made["etag"], "description": "Keeps knowledge.", "name": None}
    changed = (await owner.data(UPDATE_ROLE, input=change))["updateRole"]
    assert (changed["name"], changed["description"]) == ("Curator", "Keeps knowledge.")
    error = await owner.error(UPDATE_ROLE, input={**change, "description": "late"})
    assert error["extensions"]["metadata"] == {"etag": changed["etag"]}
    roles = (await owner.data(ROLES))["roles"]
    assert [(role["name"], role["builtIn"], role["etag"] is None) for role in roles] == [
        *((name, True, True) for name in ("owner", "admin", "editor", "viewer")),
        ("Curator", False, False),
    ]
    permissions = (await owner.data("{ permissions { name description } }"))["permissions"]
    assert "knowledge:write" in {each["name"] for each in permissions}
    await _join(people, owner, stranger, made["id"])
    assert (await owner.error(DELETE_ROLE, id=made["id"]))["extensions"]["code"] == "CONFLICT"


async def test_another_organization_and_another_name(stranger: Client) -> None:
    owner, answer, _ = await register(stranger)
    create = "mutation ($input: CreateOrganizationInput!) { createOrganization(input: $input) { id name } }"
    made = (await owner.data(create, input={"name": "Second"}))["createOrganization"]
    assert made["name"] == "Second"
    rename = "mutation ($input: UpdateOrganizationInput!) { updateOrganization(input: $input) { id name } }"
    renamed = (await owner.data(rename, input={"name": "First"}))["updateOrganization"]
    assert renamed == {"id": answer["organization"]["id"], "name": "First"}
    assert (await owner.error(rename, input={"name": ""}))["extensions"]["code"] == "BAD_USER_INPUT"


@dataclass(frozen=True, slots=True)
class Holdings:
    """An organization with something in the agent store and in vector search."""

    client: Client
    user_id: str
    agent_id: str
    collection_id: str


async def _holdings(stranger: Client) -> Holdings:
    client, answer, _ = await register(stranger)
    collection = (await client.data(CREATE_COLLECTION, input={"name": "docs"}))["createCollection"]
    return Holdings(client, answer["user"]["id"], await make_agent(client), collection["id"])


async def test_access_is_explained_by_the_service_that_has_the_resource(stranger: Client) -> None:
    world, other_world = await _holdings(stranger), await _holdings(stranger)
    rows = [
        ("agents:read", world.agent_id, "ROLE"),
        ("agents:read", other_world.agent_id, "RESOURCE_NOT_FOUND"),
        ("agents:read", world.collection_id, "RESOURCE_NOT_FOUND"),
        ("agents:read", "x", "RESOURCE_NOT_FOUND"),
        ("agents:read", str(uuid4()), "RESOURCE_NOT_FOUND"),
        ("executions:write", world.agent_id, "ROLE"),
        ("knowledge:read", world.collection_id, "ROLE"),
        ("knowledge:read", other_world.collection_id, "RESOURCE_NOT_FOUND"),
        ("graph:read", world.user_id, "ROLE"),
        ("graph:read", other_world.user_id, "RESOURCE_NOT_FOUND"),
        ("members:read", other_world.user_id, "RESOURCE_NOT_FOUND"),
        ("events:read", world.agent_id, "ROLE_LACKS"),
        ("agents:fly", world.agent_id, "PERMISSION_UNKNOWN"),
    ]
    for permission, resource, cause in rows:
        data = await world.client.data(EXPLAIN, permission=permission, resource=resource)
        found = data["explainAccess"]
        assert (found["cause"], found["allowed"]) == (cause, cause == "ROLE"), (permission, resource)
        assert (found["matchedPermission"] is None) == (cause != "ROLE")


async def test_another_members_access_is_explained(people: People, stranger: Client) -> None:
    owner, *_ = await register(stranger)
    viewer, viewer_id = await _join(people, owner, stranger, "viewer")
    found = (await owner.data(EXPLAIN, permission="agents:write", subject=viewer_id))["explainAccess"]
    assert (found["allowed"], found["cause"], found["role"]) == (False, "ROLE_LACKS", {"id": "viewer"})
    assert [role["id"] for role in found["rolesThatWould"]] == ["owner", "admin", "editor"]
    own = (await viewer.data(EXPLAIN, permission="agents:read"))["explainAccess"]
    assert (own["allowed"], own["matchedPermission"]) == (True, "agents:read")
