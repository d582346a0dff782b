"""What a caller costs, by the product's own functions: `python -m benchmarks micro auth`, or as a program of pyperf."""

import time
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

import pyperf

from services.auth.key_format import digest, generate
from services.auth.passwords import HashingPool, Passwords, Profile
from services.auth.permissions import ROLES
from services.auth.tokens import Grant, SigningKey, Tokens
from services.runtime.caller import Principal, act_as, current_principal
from services.runtime.verification import PublicKeys, parse_key_set, take_apart, verified
from services.runtime.verifier import CACHE_SECONDS, Verifier

PROFILE = Profile.RFC_9106_LOW_MEMORY
PASSWORD = "correct horse battery staple"  # noqa: S105 - nobody's
USER = UUID("01980000-0000-7000-8000-000000000002")
GRANT = Grant(str(USER), "user", ROLES["owner"], USER, str(USER), 1)
LIMITS = {
    "cached verification": 1e-6,
    "first verification": 150e-6,
    "permission check": 1e-6,
}
"""Seconds of CPU that each may take at most."""


def add_to(runner: pyperf.Runner) -> None:
    """All rows, in the order in which a request meets them."""
    _tokens(runner)
    _bench(runner, "API key digest", digest, generate())
    _passwords(runner)


def _tokens(runner: pyperf.Runner) -> None:
    tokens = Tokens([SigningKey.generate()], 600)
    token, keys = tokens.issue(GRANT).token, parse_key_set(tokens.key_set())
    verifier, (key,) = _verifier(keys), keys.values()

    def first() -> None:
        verifier.remembered.clear()
        _done(verifier.verify(token))

    first()
    act_as(verifier.known(token), token)
    _bench(runner, "cached verification", verifier.known, token)
    _bench(runner, "permission check", current_principal().require, "agents:publish")
    _bench(runner, "first verification", first)
    _bench(runner, "of it, signature and claims", lambda: verified(take_apart(token), key))
    _bench(runner, "token issue", tokens.issue, GRANT)


def _bench(runner: pyperf.Runner, name: str, function: Callable[..., object], *values: object) -> None:
    """By the process's own CPU time, which others on the machine do not lengthen as they do the clock's."""

    def timed(loops: int) -> float:
        start = time.process_time()
        for _ in range(loops):
            function(*values)
        return time.process_time() - start

    runner.bench_time_func(name, timed)


def _passwords(runner: pyperf.Runner) -> None:
    with HashingPool(PROFILE.megabytes, PROFILE.megabytes, 1) as pool:
        passwords = Passwords(PROFILE, pool)
        stored = passwords._hasher.hash(PASSWORD)
        runner.bench_func(f"Argon2id hash, {PROFILE}, by the clock", passwords._hasher.hash, PASSWORD)
        runner.bench_func(f"Argon2id verify, {PROFILE}, by the clock", passwords._matches, stored, PASSWORD)


def _verifier(keys: PublicKeys) -> Verifier:
    """Knows its keys, and need not ask about revocations: both are a matter of other processes."""

    async def fetch() -> PublicKeys:
        return keys

    async def check(_token: str, _principal: Principal) -> float:
        return CACHE_SECONDS

    async def no_api_key(_key: str) -> Principal:
        raise NotImplementedError

    verifier = Verifier(fetch, check, no_api_key)
    verifier._keys._known, verifier._keys._fetched = keys, float("inf")
    return verifier


def _done(work: Coroutine[Any, Any, object]) -> None:
    """Run what never waits, without a loop."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


if __name__ == "__main__":
    add_to(pyperf.Runner(processes=4, values=4, program_args=("-m", "benchmarks.micro.auth")))
