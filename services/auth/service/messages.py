"""Between protos and our own values, for all services of this process."""

from datetime import datetime
from typing import Any
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from neurectomy.auth.v1 import auth_pb2 as pb
from neurectomy.auth.v1 import roles_pb2
from services.auth.accounts import LoggedIn, User
from services.auth.roles import Role
from services.auth.tokens import IssuedToken
from services.runtime.caller import Principal
from services.runtime.errors import CredentialsInvalid
from services.runtime.postgres import Row


def uuid(text: str) -> UUID | None:
    """None for what is none."""
    try:
        return UUID(text)
    except ValueError:
        return None


def organization_id(text: str) -> UUID | None:
    """None where none was asked for; a malformed one is no better than an unknown one."""
    known = uuid(text)
    if text and known is None:
        raise CredentialsInvalid
    return known


def seconds(since_1970: float) -> Timestamp:
    """A moment, to the second."""
    return Timestamp(seconds=int(since_1970))


def moment(at: datetime) -> Timestamp:
    """A moment, to the microsecond."""
    timestamp = Timestamp()
    timestamp.FromDatetime(at)
    return timestamp


def token(issued: IssuedToken) -> pb.AccessToken:
    """An access token."""
    return pb.AccessToken(token=issued.token, expire_time=seconds(issued.expires))


def refresh_token(issued: IssuedToken) -> pb.RefreshToken:
    """A refresh token."""
    return pb.RefreshToken(token=issued.token, expire_time=seconds(issued.expires))


def user(row: Row, with_email: bool) -> pb.User:
    """A user as others see them, or as those do who may know the address."""
    return pb.User(
        id=str(row["user_id"]),
        email=row["email"] if with_email else "",
        display_name=row["display_name"],
        create_time=moment(row["created_at"]),
    )


def own_user(found: User) -> pb.User:
    """A user for their own eyes."""
    return pb.User(
        id=str(found.user_id),
        email=found.email,
        display_name=found.display_name,
        create_time=moment(found.created_at),
    )


def role(found: Role) -> roles_pb2.Role:
    """A role."""
    return roles_pb2.Role(
        id=found.role_id,
        name=found.name,
        description=found.description,
        permissions=sorted(found.permissions),
        built_in=found.built_in,
        etag=found.etag,
    )


def logged_in(account: LoggedIn) -> dict[str, Any]:
    """The fields of the answer to whoever has just logged in."""
    return {
        "user": own_user(account.user),
        "organization": pb.Organization(id=str(account.organization_id), name=account.organization_name),
        "access_token": token(account.issued.access_token),
        "refresh_token": refresh_token(account.issued.refresh_token),
    }


def principal(verified: Principal) -> pb.Principal:
    """On whose behalf a call is made."""
    return pb.Principal(
        subject=verified.subject,
        subject_type=pb.SubjectType.Value(f"SUBJECT_TYPE_{verified.subject_type.upper()}"),
        organization_id=str(verified.organization_id or ""),
        permissions=sorted(verified.permissions),
        session_id=verified.session_id,
        expire_time=seconds(verified.expires),
    )
