"""The verifier that every process but auth has, put together."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc

from services.runtime.channels import KeySet, Tokens
from services.runtime.redis import connect
from services.runtime.revocations import Checked, Hearing
from services.runtime.settings import ServiceSettings
from services.runtime.verifier import Verifier


@asynccontextmanager
async def verifying(auth: grpc.aio.Channel, settings: ServiceSettings) -> AsyncIterator[Verifier]:
    """Verifies with the keys that `auth`, a channel without a token, tells, and hears of revocations meanwhile."""
    tokens, hearing = Tokens(auth), None
    async with AsyncExitStack() as stack:
        if settings.redis_url is not None:
            hearing = Hearing(await stack.enter_async_context(connect(settings.redis_url.get_secret_value())))
        verifier = Verifier(KeySet(auth).fetch, Checked(hearing, tokens.principal).check, tokens.principal)
        if hearing is not None:
            await stack.enter_async_context(hearing.running(verifier))
        yield verifier
