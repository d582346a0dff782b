"""How often a secret may be guessed: pauses that grow with each failure, and end; nobody is locked out for good.

    async with attempts.attempt(account, origin):     # raises TooManyAttempts before anything is looked at
        ...                        # any error is a failure, but Overloaded and SecondFactorRequired

The same by hand: `await attempts.check(account, origin)`, then one of `failed`, `succeeded` and `withdrawn`. An attempt
is counted before its outcome is known, so that a thousand at once are no more than one after another.

An address that has logged in to an account is familiar to it: it is held up by its own failures there, and not by what
strangers do to the account, or others behind the same address. `account` is whatever is guessed for: an e-mail address
for passwords, `factor USER_ID` for codes. Whether it exists makes no difference.
"""

import hmac
import math
import unicodedata
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv6Address, ip_address

from services.auth.origin import Origin
from services.auth.store.attempts import Counted, Counters, Limit, Operation
from services.runtime.errors import Overloaded, SecondFactorRequired, TooManyAttempts

NOT_JUDGED = (Overloaded, SecondFactorRequired)
"""What says that nothing was found out. Any other error counts: a deadline that passes in time would hide a failure."""
LONGEST_SECONDS = 900.0
IPV6_NETWORK_BITS = 64
"""Whoever has one address of IPv6 has all that share its first half."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many attempts are free before pauses begin."""

    pair: int = 10
    """By one address on one account. Then 1, 2, 4 s and so on, up to 15 minutes."""
    address: int = 30
    """By one address on all accounts. Then the same."""
    account: int = 20
    """On one account by all addresses. Then up to 30 s: a stranger can slow its owner down, and not lock them out."""
    account_seconds: float = 30.0
    """The longest of these pauses."""
    deeds: int = 20
    """Of what needs no secret and costs us something: registrations and unknown tokens, by one address."""
    first_seconds: float = 1.0
    """The first pause of all but resets."""
    resets: int = 3
    """Requests to reset one account's password. Then 20 minutes, 40, and an hour."""


class Attempts:
    """Counts attempts by account, by address, and by both."""

    def __init__(self, counters: Counters, key: bytes, limits: Limits) -> None:
        self._counters = counters
        self._key = key
        self._limits = limits

    @asynccontextmanager
    async def attempt(self, account: str, origin: Origin) -> AsyncIterator[None]:
        """An attempt on a secret is made inside. Raises TooManyAttempts."""
        await self.check(account, origin)
        try:
            yield
        except NOT_JUDGED:
            await self.withdrawn(account, origin)
            raise
        except Exception:
            await self.failed(account, origin)
            raise
        await self.succeeded(account, origin)

    async def check(self, account: str, origin: Origin) -> None:
        """Count an attempt that is about to be made. Raises TooManyAttempts, of which none is counted."""
        await self._check(self._guess(account, origin))

    async def failed(self, account: str, origin: Origin) -> None:
        """The secret was wrong: the pause begins now."""
        await self._do("failed", account, origin)

    async def succeeded(self, account: str, origin: Origin) -> None:
        """The secret was right: the address's failures on the account are forgotten, and it is familiar from now on."""
        await self._do("succeeded", account, origin)

    async def withdrawn(self, account: str, origin: Origin) -> None:
        """Nothing was found out, for a reason of ours or because more is asked for first."""
        await self._do("withdrawn", account, origin)

    async def deed(self, kind: str, origin: Origin) -> None:
        """Count what an address does without a secret of an account: `register`, `refresh`. Raises TooManyAttempts."""
        limit = Limit(self._limits.deeds, self._limits.first_seconds, LONGEST_SECONDS)
        await self._check(self._counted((f"{kind} address {_network(origin.address)}", limit)))

    async def reset(self, account: str) -> None:
        """Count a request to reset an account's password. Raises TooManyAttempts."""
        limit = Limit(self._limits.resets, 1_200.0, 3_600.0)
        await self._check(self._counted((f"reset account {_folded(account)}", limit)))

    def digest(self, account: str) -> str:
        """What stands for an account where its e-mail address must not: the same for each spelling of it."""
        return self._digest(f"account {_folded(account)}")

    async def _check(self, counted: Counted) -> None:
        if wait := await self._counters.do("check", counted):
            raise TooManyAttempts(math.ceil(wait))

    async def _do(self, operation: Operation, account: str, origin: Origin) -> None:
        await self._counters.do(operation, self._guess(account, origin))

    def _guess(self, account: str, origin: Origin) -> Counted:
        account, address, limits = _folded(account), _network(origin.address), self._limits
        return self._counted(
            (f"pair {address} {account}", Limit(limits.pair, limits.first_seconds, LONGEST_SECONDS)),
            (f"address {address}", Limit(limits.address, limits.first_seconds, LONGEST_SECONDS)),
            (f"account {account}", Limit(limits.account, limits.first_seconds, limits.account_seconds)),
        )

    def _counted(self, *counters: tuple[str, Limit]) -> Counted:
        named = [(f"auth:attempts:{self._digest(name)}", limit) for name, limit in counters]
        return Counted(f"auth:familiar:{self._digest(counters[0][0])}", named)

    def _digest(self, name: str) -> str:
        """Keyed: whoever reads Redis cannot try e-mail addresses out."""
        return urlsafe_b64encode(hmac.digest(self._key, name.encode(), sha256)[:18]).decode()


def _folded(account: str) -> str:
    """One spelling for all that the database may take for the same; accents that it tells apart cost nothing here."""
    folded = unicodedata.normalize("NFKD", account.strip().casefold())
    return "".join(each for each in folded if not unicodedata.combining(each))


def _network(address: str) -> str:
    """What one caller is likely to have all of. What is no address is one caller."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return ""
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped else str(int(parsed) >> IPV6_NETWORK_BITS)
