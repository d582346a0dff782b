"""What can go wrong, in one tree; the errors scope turns everything else into it.

    DomainError
    ├── TokenMissing  TokenInvalid  TokenExpired  TokenRevoked  CredentialsInvalid
    │   SecondFactorRequired  SecondFactorInvalid                                   UNAUTHENTICATED
    ├── PermissionMissing  AnonymousAccessDisabled                                  PERMISSION_DENIED
    ├── UserNotFound  OrganizationNotFound  SessionNotFound  ApiKeyNotFound
    │   InvitationNotFound  RoleNotFound  SigningKeyNotFound
    │   AgentNotFound  VersionNotFound  ExecutionNotFound
    │   CollectionNotFound  OperationNotFound  TraceNotFound                        NOT_FOUND
    ├── EmailTaken  RoleNameTaken  AlreadyMember  CollectionNameTaken               ALREADY_EXISTS
    ├── InvalidFields  CodeInvalid  DimensionMismatch  PageTokenInvalid             INVALID_ARGUMENT
    ├── StaleEtag                                                                   ABORTED
    ├── RequestIdReused  ExecutionFinished  RoleInUse  LastOwner
    │   SecondFactorEnrolled  SecondFactorMissing  LastSigningKey                   FAILED_PRECONDITION
    ├── TooLarge  TooManyAttempts  Overloaded                                       RESOURCE_EXHAUSTED
    ├── StoreUnavailable  ServiceUnavailable                                        UNAVAILABLE
    ├── DeadlineExceeded                                                            DEADLINE_EXCEEDED
    └── Internal                                                                    INTERNAL

The reason of each, as `google.rpc.ErrorInfo` carries it, is the class's name in upper snake case and a member of
`neurectomy.errors.v1.Reason`; `tests/contracts` holds the two against each other.
"""

import asyncio
import re
from types import TracebackType
from typing import ClassVar

import grpc
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "neurectomy"
DETAILS_KEY = "grpc-status-details-bin"
LONGEST_NAME = 100
"""How much of a name that a caller made up is repeated: trailers past 8 KiB kill the answer."""


class DomainError(Exception):
    """A failure that the caller can understand; its text is for people and is safe to show."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    reason: ClassVar[str]
    level: ClassVar[str] = "info"
    """How loud it is logged: `info` for what its caller can mend, `warning` and `error` for what we must."""
    text: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        cls.reason = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).upper()

    def __init__(self, text: str = "", **metadata: str) -> None:
        super().__init__(text or self.text)
        self.metadata = metadata

    def details(self) -> list[error_details_pb2.ErrorInfo | error_details_pb2.BadRequest]:
        """What travels beside code and text."""
        return [error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata)]


class TokenMissing(DomainError):
    code, text = grpc.StatusCode.UNAUTHENTICATED, "this call needs a token"


class TokenInvalid(DomainError):
    code, text = grpc.StatusCode.UNAUTHENTICATED, "the token is not valid"


class TokenExpired(DomainError):
    code, text = grpc.StatusCode.UNAUTHENTICATED, "the token has expired"


class TokenRevoked(DomainError):
    code = grpc.StatusCode.UNAUTHENTICATED
    text = "the session has ended, or what its bearer may do has changed: refresh, or log in again"


class CredentialsInvalid(DomainError):
    code, text = grpc.StatusCode.UNAUTHENTICATED, "the credentials are not valid"


class SecondFactorRequired(DomainError):
    code, text = grpc.StatusCode.UNAUTHENTICATED, "this account wants a code of its second factor, too"


class SecondFactorInvalid(DomainError):
    code, text = grpc.StatusCode.UNAUTHENTICATED, "the code of the second factor is not valid"


class PermissionMissing(DomainError):
    code = grpc.StatusCode.PERMISSION_DENIED

    def __init__(self, permission: str) -> None:
        super().__init__(f"this needs the permission {permission}", permission=permission)


class AnonymousAccessDisabled(DomainError):
    code, text = grpc.StatusCode.PERMISSION_DENIED, "anonymous access is off"


class _NotFound(DomainError):
    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, name: object) -> None:
        name = str(name)[:LONGEST_NAME]
        kind = self.reason.removesuffix("_NOT_FOUND").lower()
        super().__init__(f"there is no {kind.replace('_', ' ')} {name}", **{kind: name})


class UserNotFound(_NotFound):
    pass


class OrganizationNotFound(_NotFound):
    pass


class SessionNotFound(_NotFound):
    pass


class ApiKeyNotFound(_NotFound):
    pass


class InvitationNotFound(_NotFound):
    pass


class RoleNotFound(_NotFound):
    pass


class SigningKeyNotFound(_NotFound):
    pass


class AgentNotFound(_NotFound):
    pass


class VersionNotFound(_NotFound):
    pass


class ExecutionNotFound(_NotFound):
    pass


class CollectionNotFound(_NotFound):
    pass


class OperationNotFound(_NotFound):
    pass


class TraceNotFound(_NotFound):
    pass


class EmailTaken(DomainError):
    code, text = grpc.StatusCode.ALREADY_EXISTS, "a user with this e-mail address is registered already"


class RoleNameTaken(DomainError):
    code = grpc.StatusCode.ALREADY_EXISTS

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a role named {name!r} already", name=name)


class AlreadyMember(DomainError):
    code, text = grpc.StatusCode.ALREADY_EXISTS, "that user is a member already"


class CollectionNameTaken(DomainError):
    code = grpc.StatusCode.ALREADY_EXISTS

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a collection named {name!r} already", name=name)


class InvalidFields(DomainError):
    """Unacceptable input: what is wrong with each field, by its proto name."""

    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, **violations: str) -> None:
        super().__init__("; ".join(f"{field}: {what}" for field, what in violations.items()))
        self.violations = violations

    def details(self) -> list[error_details_pb2.ErrorInfo | error_details_pb2.BadRequest]:
        fields = [
            error_details_pb2.BadRequest.FieldViolation(field=field, description=what)
            for field, what in self.violations.items()
        ]
        return [*super().details(), error_details_pb2.BadRequest(field_violations=fields)]


class CodeInvalid(DomainError):
    code, text = grpc.StatusCode.INVALID_ARGUMENT, "the code is not valid: it is wrong, was used, or is too old"


class DimensionMismatch(DomainError):
    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, expected: int, actual: int) -> None:
        super().__init__(
            f"the vector has {actual} dimensions, the collection has {expected}",
            expected=str(expected),
            actual=str(actual),
        )


class PageTokenInvalid(DomainError):
    code, text = grpc.StatusCode.INVALID_ARGUMENT, "the page token does not belong to this list"


class StaleEtag(DomainError):
    code = grpc.StatusCode.ABORTED

    def __init__(self, current: str) -> None:
        super().__init__("the object has changed since it was read", etag=current)


class RequestIdReused(DomainError):
    code, text = grpc.StatusCode.FAILED_PRECONDITION, "this request_id was used before with another body"


class ExecutionFinished(DomainError):
    code, text = grpc.StatusCode.FAILED_PRECONDITION, "the execution has ended already, in another way"


class RoleInUse(DomainError):
    code, text = grpc.StatusCode.FAILED_PRECONDITION, "members or invitations still have this role"


class LastOwner(DomainError):
    code, text = grpc.StatusCode.FAILED_PRECONDITION, "an organization keeps at least one owner"


class SecondFactorEnrolled(DomainError):
    code, text = grpc.StatusCode.FAILED_PRECONDITION, "the account has a second factor already"


class SecondFactorMissing(DomainError):
    code, text = grpc.StatusCode.FAILED_PRECONDITION, "the account has no second factor, or its enrolment was not begun"


class LastSigningKey(DomainError):
    code = grpc.StatusCode.FAILED_PRECONDITION
    text = "tokens are signed with this key: replace it, or rotate and wait until the next one signs"


class TooLarge(DomainError):
    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class TooManyAttempts(DomainError):
    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(
            f"too many attempts; the next one is looked at in {retry_after_seconds} s",
            retry_after_seconds=str(retry_after_seconds),
        )


class Overloaded(DomainError):
    level = "warning"
    code, text = grpc.StatusCode.RESOURCE_EXHAUSTED, "too much is asked of this service now; try again in a second"


class StoreUnavailable(DomainError):
    code, level = grpc.StatusCode.UNAVAILABLE, "warning"

    def __init__(self, store: str) -> None:
        super().__init__(f"{store} does not answer", store=store)


class ServiceUnavailable(DomainError):
    code, level = grpc.StatusCode.UNAVAILABLE, "warning"

    def __init__(self, service: str) -> None:
        super().__init__(f"{service} does not answer", service=service)


class DeadlineExceeded(DomainError):
    level = "warning"
    code, text = grpc.StatusCode.DEADLINE_EXCEEDED, "the time for this call was up"


class Internal(DomainError):
    level = "error"
    code, text = grpc.StatusCode.INTERNAL, "internal error"


class CallerGone(asyncio.CancelledError):
    """An answer could not be sent: nobody is there to take it."""


def status_details(error: DomainError) -> bytes:
    """The `google.rpc.Status` of an error, as the value of the `grpc-status-details-bin` trailer."""
    status = status_pb2.Status(code=error.code.value[0], message=str(error))
    for detail in error.details():
        status.details.add().Pack(detail)
    return bytes(status.SerializeToString())


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason that one of our services states for a failure; empty where none had its say."""
    status, info = status_pb2.Status(), error_details_pb2.ErrorInfo()
    trailers = error.trailing_metadata() or ()
    status.ParseFromString(next((value for key, value in trailers if key == DETAILS_KEY), b""))
    return next((str(info.reason) for detail in status.details if detail.Unpack(info)), "")


def from_rpc(error: grpc.aio.AioRpcError, service: str) -> DomainError:
    """The domain error that another service's failure means to a service that called it."""
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return ServiceUnavailable(service)
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded()
    return Internal()


class ErrorsScope:
    """Lets domain errors out, and the cancellation by whoever called; anything else is Internal, whose text is mute."""

    __slots__ = ()

    def __init__(self, _call: object) -> None:
        pass

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, DomainError) or _ends_this_task(error):
            return
        if isinstance(error, grpc.aio.AioRpcError):
            raise from_rpc(error, "another service") from error
        if isinstance(error, Exception | asyncio.CancelledError | GeneratorExit):
            raise Internal from error


def _ends_this_task(error: BaseException) -> bool:
    """A cancellation of something else, which got this far, would leave the caller without an answer."""
    task = asyncio.current_task()
    cancelled = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
    return cancelled or isinstance(error, CallerGone)
