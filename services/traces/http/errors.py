"""What went wrong, as HTTP says it."""

import grpc
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.runtime.errors import DomainError

STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


async def refused(_: Request, error: Exception) -> Response:
    """A domain error, as the API tells it."""
    assert isinstance(error, DomainError)
    status = STATUSES[error.code]
    headers = {"www-authenticate": "Bearer"} if status == 401 else {}
    return _response(status, error.code.name, error.reason, str(error), headers)


async def unrouted(_: Request, error: Exception) -> Response:
    """What no route takes: there is no domain error for it."""
    assert isinstance(error, HTTPException)
    code = "NOT_FOUND" if error.status_code == 404 else "INVALID_ARGUMENT"
    return _response(error.status_code, code, "", error.detail, dict(error.headers or {}))


def _response(status: int, code: str, reason: str, message: str, headers: dict[str, str]) -> Response:
    body = {"error": {"code": code, "reason": reason, "message": message}}
    return JSONResponse(body, status_code=status, headers=headers)
