"""What a client is told when something fails: one table, and the one place where errors become JSON.

Whatever is not in the table is a fault of ours: it is logged with its trace id, which is all that the client is told.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import grpc
import structlog
from google.rpc import error_details_pb2, status_pb2
from graphql import FieldNode, GraphQLError

from services.runtime.errors import DETAILS_KEY, DomainError, InvalidFields
from services.runtime.telemetry import current_trace_id

log = structlog.get_logger()

MASKED = "internal error"
INTERNAL = "INTERNAL_SERVER_ERROR"

CODES: Mapping[str, str] = {
    "TOKEN_MISSING": "UNAUTHENTICATED",
    "TOKEN_INVALID": "UNAUTHENTICATED",
    "TOKEN_EXPIRED": "UNAUTHENTICATED",
    "TOKEN_REVOKED": "UNAUTHENTICATED",
    "CREDENTIALS_INVALID": "UNAUTHENTICATED",
    "SECOND_FACTOR_REQUIRED": "UNAUTHENTICATED",
    "SECOND_FACTOR_INVALID": "UNAUTHENTICATED",
    "PERMISSION_MISSING": "FORBIDDEN",
    "ANONYMOUS_ACCESS_DISABLED": "FORBIDDEN",
    "USER_NOT_FOUND": "NOT_FOUND",
    "ORGANIZATION_NOT_FOUND": "NOT_FOUND",
    "SESSION_NOT_FOUND": "NOT_FOUND",
    "API_KEY_NOT_FOUND": "NOT_FOUND",
    "INVITATION_NOT_FOUND": "NOT_FOUND",
    "ROLE_NOT_FOUND": "NOT_FOUND",
    "SIGNING_KEY_NOT_FOUND": "NOT_FOUND",
    "AGENT_NOT_FOUND": "NOT_FOUND",
    "VERSION_NOT_FOUND": "NOT_FOUND",
    "EXECUTION_NOT_FOUND": "NOT_FOUND",
    "COLLECTION_NOT_FOUND": "NOT_FOUND",
    "OPERATION_NOT_FOUND": "NOT_FOUND",
    "TRACE_NOT_FOUND": "NOT_FOUND",
    "EMAIL_TAKEN": "CONFLICT",
    "ROLE_NAME_TAKEN": "CONFLICT",
    "ALREADY_MEMBER": "CONFLICT",
    "COLLECTION_NAME_TAKEN": "CONFLICT",
    "STALE_ETAG": "CONFLICT",
    "REQUEST_ID_REUSED": "CONFLICT",
    "EXECUTION_FINISHED": "CONFLICT",
    "ROLE_IN_USE": "CONFLICT",
    "LAST_OWNER": "CONFLICT",
    "SECOND_FACTOR_ENROLLED": "CONFLICT",
    "SECOND_FACTOR_MISSING": "CONFLICT",
    "LAST_SIGNING_KEY": "CONFLICT",
    "INVALID_FIELDS": "BAD_USER_INPUT",
    "CODE_INVALID": "BAD_USER_INPUT",
    "DIMENSION_MISMATCH": "BAD_USER_INPUT",
    "PAGE_TOKEN_INVALID": "BAD_USER_INPUT",
    "TOO_LARGE": "LIMIT_EXCEEDED",
    "TOO_MANY_ATTEMPTS": "RESOURCE_EXHAUSTED",
    "OVERLOADED": "RESOURCE_EXHAUSTED",
    "STORE_UNAVAILABLE": "SERVICE_UNAVAILABLE",
    "SERVICE_UNAVAILABLE": "SERVICE_UNAVAILABLE",
    "DEADLINE_EXCEEDED": "DEADLINE_EXCEEDED",
    "INTERNAL": INTERNAL,
}
"""A service's reason -> `extensions.code`."""

REASONS: Mapping[grpc.StatusCode, str] = {
    grpc.StatusCode.UNAVAILABLE: "SERVICE_UNAVAILABLE",
    grpc.StatusCode.DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "TOO_LARGE",
}
"""What gRPC itself reports, where no service had its say -> the reason that it means."""

TEXTS: Mapping[str, str] = {
    "SERVICE_UNAVAILABLE": "{service} does not answer",
    "DEADLINE_EXCEEDED": "the time for this request was up before {service} answered",
    "TOO_LARGE": "the message is too large for {service}",
}


class RemoteError(Exception):
    """A call to one of our services failed."""

    def __init__(self, service: str, error: grpc.aio.AioRpcError) -> None:
        super().__init__(f"{service}: {error.code().name}: {error.details()}")
        self.service = service
        self.code = error.code()
        self.text = error.details() or ""
        self.trailers = error.trailing_metadata()


class RequestError(Exception):
    """The gateway itself refuses a request. Subclasses state how."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "BAD_REQUEST"
    reason: ClassVar[str | None] = None

    def extensions(self) -> dict[str, Any]:
        """What travels beside the text."""
        return {"code": self.code, **({"reason": self.reason} if self.reason else {})}


def format_error(error: GraphQLError) -> dict[str, Any]:
    """The error as GraphQL over HTTP sends it; what we did not mean to be seen is logged and masked."""
    message, extensions = describe(error)
    extensions["traceId"] = current_trace_id()
    formatted: dict[str, Any] = {"message": message, "extensions": extensions}
    if error.locations:
        formatted["locations"] = [{"line": at.line, "column": at.column} for at in error.locations]
    if error.path is not None:
        formatted["path"] = error.path
    return formatted


def error_of(error: Exception) -> dict[str, Any]:
    """An error that no field had, as GraphQL over HTTP sends it."""
    return format_error(GraphQLError(str(error), original_error=error))


def describe(error: Exception) -> tuple[str, dict[str, Any]]:
    """Text and extensions for the client."""
    cause = _cause(error)
    match cause:
        case RequestError():
            return str(cause), cause.extensions()
        case RemoteError():
            return _remote(cause)
        case DomainError():
            return _domain(cause)
        case GraphQLError() if "code" in (cause.extensions or ()) or not _ours(cause):
            return cause.message, {"code": "BAD_USER_INPUT", **(cause.extensions or {})}
    log.error("unexpected error", exc_info=cause)
    return MASKED, {"code": INTERNAL}


def _cause(error: Exception) -> Exception:
    while isinstance(error, GraphQLError) and isinstance(error.original_error, Exception):
        error = error.original_error
    return error


def _ours(error: GraphQLError) -> bool:
    """A resolver's answer did not fit the schema. What a client did wrong points at an argument or a variable."""
    return isinstance(next(iter(error.nodes or ()), None), FieldNode)


def _domain(error: DomainError) -> tuple[str, dict[str, Any]]:
    extensions: dict[str, Any] = {"code": CODES[error.reason], "reason": error.reason}
    if isinstance(error, InvalidFields):
        extensions["violations"] = [_violation(field, what) for field, what in error.violations.items()]
    if error.metadata:
        extensions["metadata"] = error.metadata
    return str(error), extensions


def _remote(error: RemoteError) -> tuple[str, dict[str, Any]]:
    """A service's own words where it had its say; otherwise what gRPC saw."""
    info, fields = _details(error.trailers)
    reason = info.reason if info else REASONS.get(error.code, "INTERNAL")
    code = CODES.get(reason, INTERNAL)
    extensions: dict[str, Any] = {"code": code, "reason": reason, "service": error.service}
    if code == INTERNAL:
        log.error("a service failed", service=error.service, status=error.code.name, text=error.text)
        return MASKED, extensions
    if fields is not None:
        extensions["violations"] = [_violation(each.field, each.description) for each in fields.field_violations]
    if info and info.metadata:
        extensions["metadata"] = dict(info.metadata)
    return error.text if info else TEXTS[reason].format(service=error.service), extensions


def _violation(field: str, what: str) -> dict[str, str]:
    """Proto names are snake case, GraphQL's are camel case."""
    head, *tail = field.split("_")
    return {"field": head + "".join(word.capitalize() for word in tail), "message": what}


def _details(trailers: Any) -> tuple[error_details_pb2.ErrorInfo | None, error_details_pb2.BadRequest | None]:
    info, fields = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    status = status_pb2.Status()
    status.ParseFromString(next((value for key, value in trailers or () if key == DETAILS_KEY), b""))
    found = {type(kind): kind for detail in status.details for kind in (info, fields) if detail.Unpack(kind)}
    return found.get(type(info)), found.get(type(fields))
