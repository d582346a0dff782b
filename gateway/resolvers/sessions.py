"""Sessions: what the auth service answers."""

from collections.abc import Sequence

from ariadne import MutationType, ObjectType, QueryType

from gateway.context import Info
from gateway.resolvers.messages import null_when_empty, null_when_unset, read
from neurectomy.auth.v1 import sessions_pb2 as pb

query, mutation = QueryType(), MutationType()
session, tokens = ObjectType("Session"), ObjectType("Tokens")
bindables = [query, mutation, session, tokens]

null_when_empty(session, "device", "address")
null_when_unset(session, "end_time")
read(
    tokens,
    {
        "accessToken": "access_token.token",
        "expireTime": "access_token.expire_time",
        "refreshToken": "refresh_token.token",
        "refreshTokenExpireTime": "refresh_token.expire_time",
    },
)


@query.field("sessions")
async def list_sessions(_: None, info: Info, user_id: str | None = None) -> Sequence[pb.Session]:
    answer = await info.context.services.sessions.ListSessions(pb.ListSessionsRequest(user_id=user_id or ""))
    return answer.sessions


@mutation.field("refresh")
async def refresh(_: None, info: Info, refresh_token: str) -> pb.RefreshResponse:
    return await info.context.services.sessions.Refresh(pb.RefreshRequest(refresh_token=refresh_token))


@mutation.field("logOut")
async def log_out(_: None, info: Info) -> bool:
    await info.context.services.sessions.LogOut(pb.LogOutRequest())
    return True


@mutation.field("revokeSession")
async def revoke_session(_: None, info: Info, id: str) -> pb.Session:
    answer = await info.context.services.sessions.RevokeSession(pb.RevokeSessionRequest(id=id))
    return answer.session


@mutation.field("revokeSessions")
async def revoke_sessions(_: None, info: Info, include_current: bool, user_id: str | None = None) -> int:
    request = pb.RevokeSessionsRequest(user_id=user_id or "", include_current=include_current)
    return (await info.context.services.sessions.RevokeSessions(request)).ended_count


@mutation.field("switchOrganization")
async def switch_organization(_: None, info: Info, organization_id: str) -> pb.SwitchOrganizationResponse:
    request = pb.SwitchOrganizationRequest(organization_id=organization_id)
    return await info.context.services.sessions.SwitchOrganization(request)
