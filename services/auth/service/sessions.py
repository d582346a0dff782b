"""The RPCs of SessionsService: proto in, call, proto out."""

from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1 import sessions_pb2 as pb
from neurectomy.auth.v1.sessions_pb2_grpc import SessionsServiceServicer
from services.auth.open_sessions import OpenSessions
from services.auth.origin import origin_of
from services.auth.refreshing import Refreshing
from services.auth.service import messages
from services.runtime.caller import Principal, current_principal
from services.runtime.postgres import Row
from services.runtime.scopes import Context


class SessionsRpcs(SessionsServiceServicer):
    """See the proto for what each RPC does."""

    def __init__(self, refreshing: Refreshing, open_sessions: OpenSessions) -> None:
        self._refreshing = refreshing
        self._open_sessions = open_sessions

    async def Refresh(self, request: pb.RefreshRequest, context: Context) -> pb.RefreshResponse:
        issued = await self._refreshing.refresh(request.refresh_token, origin_of(context))
        return pb.RefreshResponse(
            access_token=messages.token(issued.access_token), refresh_token=messages.refresh_token(issued.refresh_token)
        )

    async def LogOut(self, request: pb.LogOutRequest, context: Context) -> pb.LogOutResponse:
        await self._open_sessions.log_out(current_principal(), origin_of(context))
        return pb.LogOutResponse()

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Context) -> pb.ListSessionsResponse:
        caller = current_principal()
        found = await self._open_sessions.list(caller, request.user_id)
        return pb.ListSessionsResponse(sessions=[_session(row, caller) for row in found])

    async def RevokeSession(self, request: pb.RevokeSessionRequest, context: Context) -> pb.RevokeSessionResponse:
        caller = current_principal()
        row = await self._open_sessions.revoke(caller, request.id, origin_of(context))
        return pb.RevokeSessionResponse(session=_session(row, caller))

    async def RevokeSessions(self, request: pb.RevokeSessionsRequest, context: Context) -> pb.RevokeSessionsResponse:
        caller, origin = current_principal(), origin_of(context)
        ended = await self._open_sessions.revoke_all(caller, request.user_id, request.include_current, origin)
        return pb.RevokeSessionsResponse(ended_count=ended)

    async def SwitchOrganization(
        self, request: pb.SwitchOrganizationRequest, context: Context
    ) -> pb.SwitchOrganizationResponse:
        account = await self._open_sessions.switch(current_principal(), request.organization_id, origin_of(context))
        return pb.SwitchOrganizationResponse(**messages.logged_in(account))


def _session(row: Row, caller: Principal) -> pb.Session:
    return pb.Session(
        id=str(row["session_id"]),
        user_id=str(row["user_id"]),
        organization=auth_pb2.Organization(id=str(row["organization_id"]), name=row["organization_name"]),
        device=row["device"],
        address=row["address"],
        create_time=messages.moment(row["created_at"]),
        use_time=messages.moment(row["used_at"]),
        expire_time=messages.moment(row["expires_at"]),
        end_time=messages.moment(row["ended_at"]) if row["ended_at"] else None,
        current=str(row["session_id"]) == caller.session_id,
    )
