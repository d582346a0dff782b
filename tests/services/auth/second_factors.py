"""Users with a second factor, for the tests of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

import pyotp

from neurectomy.auth.v1 import auth_pb2
from neurectomy.auth.v1 import second_factor_pb2 as pb
from neurectomy.auth.v1.auth_pb2_grpc import AuthServiceStub
from neurectomy.auth.v1.second_factor_pb2_grpc import SecondFactorServiceStub
from tests.conftest import Connect, Tenant, register


@dataclass
class App:
    """An authenticator app that shows no code twice."""

    secret: str
    clock: Callable[[], float] = time.time
    last_step: int = 0

    def code(self) -> str:
        """The code of now, or of a moment later where that one was shown already."""
        totp = pyotp.TOTP(self.secret)
        self.last_step = max(self.last_step + 1, totp.timecode(self.clock()))
        return totp.generate_otp(self.last_step)

    def wrong_code(self) -> str:
        """One that is good for nothing in these minutes."""
        totp = pyotp.TOTP(self.secret)
        now = totp.timecode(self.clock())
        good = {totp.generate_otp(step) for step in range(now - 10, now + 10)}
        return next(code for number in range(100) if (code := f"{number:06}") not in good)


@dataclass
class Enrolled:
    """A user whose second factor is on."""

    tenant: Tenant
    app: App
    recovery_codes: list[str] = field(default_factory=list)

    def log_in(self, code: str = "", password: str | None = None) -> auth_pb2.LogInRequest:
        """What the user sends to log in."""
        password = self.tenant.password if password is None else password
        return auth_pb2.LogInRequest(email=self.tenant.email, password=password, second_factor_code=code)


async def enrolled(connect_as: Connect, tenant: Tenant | None = None) -> Enrolled:
    """A new user who has switched the second factor on, or the given one."""
    tenant = tenant or await register(connect_as)
    factor = connect_as(SecondFactorServiceStub, tenant)
    app = App((await factor.BeginTotp(pb.BeginTotpRequest(password=tenant.password))).secret)
    answer = await factor.ConfirmTotp(pb.ConfirmTotpRequest(code=app.code()))
    return Enrolled(tenant, app, list(answer.recovery_codes))


async def log_in(connect_as: Connect, request: auth_pb2.LogInRequest) -> Tenant:
    """The same user in a new session."""
    answer = await connect_as(AuthServiceStub).LogIn(request)
    return Tenant(
        UUID(answer.organization.id), answer.user.id, request.email, request.password, answer.access_token.token
    )
