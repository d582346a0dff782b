"""The auth process."""

from functools import partial

import uvloop

from services.auth.assembly import assembled
from services.auth.origin import OriginScope
from services.auth.service.registration import register
from services.auth.settings import AuthSettings
from services.runtime.server import serve
from services.runtime.settings import load


async def main() -> None:
    settings = load(AuthSettings)
    async with assembled(settings) as rules:
        scopes = [partial(OriginScope, verifier=rules.verifier)]
        await serve("auth", settings, rules.verifier, partial(register, rules), scopes=scopes)


if __name__ == "__main__":
    uvloop.run(main())
