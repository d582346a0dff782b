"""Why someone may do something, or may not: a row for each cause."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
import pytest_asyncio

from neurectomy.auth.v1 import api_keys_pb2 as keys
from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1 import explanations_pb2 as pb
from neurectomy.auth.v1 import members_pb2 as members
from neurectomy.auth.v1 import roles_pb2 as roles
from neurectomy.auth.v1.api_keys_pb2_grpc import ApiKeysServiceStub
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from neurectomy.auth.v1.explanations_pb2_grpc import ExplanationsServiceStub
from neurectomy.auth.v1.members_pb2_grpc import MembersServiceStub
from services.auth.explanations import Cause, Explanations, Question
from services.auth.permissions import ROLES
from services.runtime import postgres
from services.runtime.caller import Principal
from tests.conftest import Connect, Tenant, register, service_token
from tests.services.auth.people import People, refused


@dataclass(frozen=True, slots=True)
class Cast:
    """Who asks, and about whom."""

    owner: Tenant
    viewer: Tenant
    curator: Tenant
    curators: roles.Role
    key: str
    key_id: str
    orphan_id: str
    ended_id: str
    revoked_id: str
    anonymous: str
    service: str
    stranger: Tenant


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def cast(connect_as: Connect, people: People, owner: Tenant, viewer: Tenant) -> Cast:
    curators = await people.role(owner, "knowledge:*", "api_keys:write", "audit:read")
    curator = await people.join(owner, curators.id)
    key = await _key(connect_as, owner, "agents:read", "members:read")
    former = await people.join(owner, "admin")
    orphan = await _key(connect_as, former, "api_keys:read")
    demotion = members.SetMemberRoleRequest(user_id=former.user_id, role_id="viewer")
    await connect_as(MembersServiceStub, owner).SetMemberRole(demotion)
    ended, revoked = [await _key(connect_as, owner, "agents:read") for _ in range(2)]
    async with people.database() as database:
        sql = "UPDATE auth.api_keys SET expires_at = now() WHERE api_key_id = $1"
        await database.execute(sql, UUID(ended.id))
        revoking = "UPDATE auth.api_keys SET revoked_at = now() WHERE api_key_id = $1"
        await database.execute(revoking, UUID(revoked.id))
    request = auth_pb2.CreateAnonymousTokenRequest()
    anonymous = (await connect_as(AuthServiceStub).CreateAnonymousToken(request)).access_token.token
    service = await service_token(people.stack, "cli")
    stranger = await register(connect_as)
    return Cast(
        owner, viewer, curator, curators, key.key, key.id, orphan.id, ended.id, revoked.id, anonymous, service, stranger
    )


async def _key(connect_as: Connect, caller: Tenant, *scopes: str) -> keys.CreateApiKeyResponse:
    request = keys.CreateApiKeyRequest(name="script", scopes=scopes)
    answer: keys.CreateApiKeyResponse = await connect_as(ApiKeysServiceStub, caller).CreateApiKey(request)
    return answer


def _ask(permission: str, subject: str = "", resource: str = "") -> pb.ExplainAccessRequest:
    return pb.ExplainAccessRequest(permission=permission, subject_id=subject, resource_id=resource)


Asked = Callable[[Cast], tuple[Any, pb.ExplainAccessRequest]]

CAUSES: dict[str, tuple[Asked, Cause, str]] = {
    "a built-in role": (lambda c: (c.viewer, _ask("agents:read")), Cause.ROLE, "agents:read"),
    "a wildcard": (lambda c: (c.owner, _ask("roles:manage")), Cause.ROLE, "roles:*"),
    "a role of one's own": (lambda c: (c.curator, _ask("knowledge:write")), Cause.ROLE, "knowledge:*"),
    "a wildcard itself": (lambda c: (c.curator, _ask("knowledge:*")), Cause.ROLE, "knowledge:*"),
    "another's role": (lambda c: (c.viewer, _ask("audit:read", c.owner.user_id)), Cause.ROLE, "audit:read"),
    "one's own id": (lambda c: (c.curator, _ask("audit:read", c.curator.user_id)), Cause.ROLE, "audit:read"),
    "a role that lacks it": (lambda c: (c.viewer, _ask("agents:write")), Cause.ROLE_LACKS, ""),
    "a role that lacks the wildcard": (lambda c: (c.viewer, _ask("agents:*")), Cause.ROLE_LACKS, ""),
    "what no role gives": (lambda c: (c.owner, _ask("events:read")), Cause.ROLE_LACKS, ""),
    "a scope": (lambda c: (c.key, _ask("agents:read")), Cause.API_KEY_SCOPE, "agents:read"),
    "a scope of another": (lambda c: (c.owner, _ask("agents:read", c.key_id)), Cause.API_KEY_SCOPE, "agents:read"),
    "no scope": (lambda c: (c.key, _ask("agents:write")), Cause.SCOPE_LACKS, ""),
    "a demoted creator": (lambda c: (c.owner, _ask("api_keys:read", c.orphan_id)), Cause.CREATOR_LACKS, ""),
    "a key past its end": (lambda c: (c.owner, _ask("agents:read", c.ended_id)), Cause.API_KEY_ENDED, ""),
    "a revoked key": (lambda c: (c.owner, _ask("agents:read", c.revoked_id)), Cause.API_KEY_ENDED, ""),
    "a service": (lambda c: (c.service, _ask("traces:read")), Cause.SERVICE, "traces:read"),
    "a service without it": (lambda c: (c.service, _ask("agents:read")), Cause.NOT_GRANTED, ""),
    "an anonymous reader": (lambda c: (c.anonymous, _ask("agents:read")), Cause.ANONYMOUS, "agents:read"),
    "an anonymous writer": (lambda c: (c.anonymous, _ask("agents:write")), Cause.NOT_GRANTED, ""),
    "another organization's": (lambda c: (c.owner, _ask("agents:read", c.stranger.user_id)), Cause.NOT_A_MEMBER, ""),
    "nobody": (lambda c: (c.owner, _ask("agents:read", str(uuid4()))), Cause.NOT_A_MEMBER, ""),
    "no id": (lambda c: (c.owner, _ask("agents:read", "x" * 100)), Cause.NOT_A_MEMBER, ""),
    "no permission": (lambda c: (c.owner, _ask("agents:fly")), Cause.PERMISSION_UNKNOWN, ""),
    "no area": (lambda c: (c.owner, _ask("*")), Cause.PERMISSION_UNKNOWN, ""),
    "a member": (lambda c: (c.owner, _ask("members:manage", "", c.viewer.user_id)), Cause.ROLE, "members:*"),
    "another's member": (
        lambda c: (c.owner, _ask("members:manage", "", c.stranger.user_id)),
        Cause.RESOURCE_NOT_FOUND,
        "",
    ),
    "a role": (lambda c: (c.owner, _ask("roles:manage", "", c.curators.id)), Cause.ROLE, "roles:*"),
    "a built-in role as resource": (lambda c: (c.owner, _ask("roles:manage", "", "viewer")), Cause.ROLE, "roles:*"),
    "another's role as resource": (
        lambda c: (c.owner, _ask("roles:manage", "", str(uuid4()))),
        Cause.RESOURCE_NOT_FOUND,
        "",
    ),
    "a key": (lambda c: (c.owner, _ask("api_keys:write", "", c.key_id)), Cause.ROLE, "api_keys:*"),
    "no key": (lambda c: (c.owner, _ask("api_keys:write", "", "x")), Cause.RESOURCE_NOT_FOUND, ""),
    "the organization": (
        lambda c: (c.owner, _ask("organization:write", "", str(c.owner.organization_id))),
        Cause.ROLE,
        "organization:*",
    ),
    "another organization": (
        lambda c: (c.owner, _ask("organization:write", "", str(c.stranger.organization_id))),
        Cause.RESOURCE_NOT_FOUND,
        "",
    ),
}


@pytest.mark.parametrize(("asked", "cause", "matched"), CAUSES.values(), ids=CAUSES)
async def test_the_cause_is_named(connect_as: Connect, cast: Cast, asked: Asked, cause: Cause, matched: str) -> None:
    caller, request = asked(cast)
    answer = await connect_as(ExplanationsServiceStub, caller).ExplainAccess(request)
    assert pb.AccessCause.Name(answer.cause) == f"ACCESS_CAUSE_{cause.name}"
    assert (answer.allowed, answer.matched_permission) == (bool(matched), matched)
    assert answer.explanation
    assert "{" not in answer.explanation


async def test_an_ended_session_is_named(people: People, cast: Cast) -> None:
    """By the rule itself, for verifiers that have heard of it let no such call in."""
    member = await people.join(cast.owner, "viewer")
    session_id = jwt.decode(member.token, options={"verify_signature": False})["sid"]
    async with people.database() as database:
        await database.execute("UPDATE auth.sessions SET ended_at = now() WHERE session_id = $1", UUID(session_id))
    caller = Principal(member.user_id, "user", member.organization_id, ROLES["viewer"], session_id, 0.0)
    async with postgres.connect(people.stack.database_url("auth")) as connected:
        found = await Explanations(connected).explain(caller, Question("agents:read"))
        others = await Explanations(connected).explain(caller, Question("agents:read", cast.viewer.user_id))
    assert (found.allowed, found.cause) == (False, Cause.SESSION_ENDED)
    assert (others.allowed, others.cause) == (True, Cause.ROLE)


async def test_which_roles_would_give_it_is_said(connect_as: Connect, cast: Cast) -> None:
    answer = await connect_as(ExplanationsServiceStub, cast.viewer).ExplainAccess(_ask("audit:read"))
    assert [role.id for role in answer.roles_that_would] == ["owner", "admin", cast.curators.id]
    assert answer.role.id == "viewer"
    assert all(name in answer.explanation for name in ("viewer", "audit:read", "owner", "admin", cast.curators.name))


async def test_others_access_is_for_those_who_may_see_members(connect_as: Connect, people: People, cast: Cast) -> None:
    explaining = connect_as(ExplanationsServiceStub, cast.curator)
    asking = explaining.ExplainAccess(_ask("agents:read", cast.viewer.user_id))
    assert await refused(asking) == "PERMISSION_MISSING"


@pytest.mark.parametrize(
    "request_", [_ask(""), _ask("x" * 101), _ask("agents:read", "x" * 101), _ask("agents:read", "", "x" * 201)]
)
async def test_bad_fields_are_refused(connect_as: Connect, cast: Cast, request_: pb.ExplainAccessRequest) -> None:
    assert await refused(connect_as(ExplanationsServiceStub, cast.owner).ExplainAccess(request_)) == "INVALID_FIELDS"


def test_each_cause_is_in_the_proto_and_has_a_row() -> None:
    assert {name.removeprefix("ACCESS_CAUSE_") for name in pb.AccessCause.keys()} - {"UNSPECIFIED"} == {  # noqa: SIM118
        cause.name for cause in Cause
    }
    assert {cause for _, cause, _ in CAUSES.values()} == set(Cause) - {Cause.SESSION_ENDED}
