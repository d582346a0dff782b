"""Whom a request comes from: a table of what proxies say, and what auth is told in the end."""

from ipaddress import ip_network
from typing import Any

import httpx
import pytest

from deploy.local.stack import Stack
from gateway.clients import Clients
from services.runtime import postgres
from tests.gateway.clients import PASSWORD, Client, register
from tests.gateway.running import gateway

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48"))
XFF, FORWARDED = b"x-forwarded-for", b"forwarded"

SAID: dict[str, tuple[str, list[tuple[bytes, bytes]], str]] = {
    "nobody in between": ("192.0.2.1", [], "192.0.2.1"),
    "a stranger who pretends": ("192.0.2.1", [(XFF, b"198.51.100.1")], "192.0.2.1"),
    "one proxy": ("10.0.0.1", [(XFF, b"198.51.100.1")], "198.51.100.1"),
    "two proxies": ("10.0.0.1", [(XFF, b"198.51.100.1, 10.0.0.2")], "198.51.100.1"),
    "a client who pretends behind a proxy": ("10.0.0.1", [(XFF, b"203.0.113.9, 198.51.100.1")], "198.51.100.1"),
    "the same in two lines": ("10.0.0.1", [(XFF, b"203.0.113.9"), (XFF, b"198.51.100.1")], "198.51.100.1"),
    "a proxy that says nothing": ("10.0.0.1", [], "10.0.0.1"),
    "nonsense": ("10.0.0.1", [(XFF, b"198.51.100.1, unknown")], "10.0.0.1"),
    "not in that header": ("10.0.0.1", [(FORWARDED, b"for=198.51.100.1")], "10.0.0.1"),
    "all are proxies": ("10.0.0.1", [(XFF, b"10.0.0.3, 10.0.0.2")], "10.0.0.3"),
    "with a port": ("10.0.0.1", [(XFF, b"198.51.100.1:4711")], "198.51.100.1"),
    "IPv6": ("2001:db8:1::1", [(XFF, b"2001:db8:2::1")], "2001:db8:2::1"),
    "IPv4 in IPv6": ("::ffff:10.0.0.1", [(XFF, b"::ffff:198.51.100.1")], "198.51.100.1"),
    "no peer": ("", [(XFF, b"198.51.100.1")], ""),
}


@pytest.mark.parametrize(("peer", "headers", "expected"), SAID.values(), ids=SAID)
def test_the_nearest_address_that_is_no_proxy(peer: str, headers: list[tuple[bytes, bytes]], expected: str) -> None:
    assert Clients(TRUSTED).of({"client": (peer, 1), "headers": headers}).address == expected


ELEMENTS = {
    "plain": (b"for=198.51.100.1;proto=https", "198.51.100.1"),
    "quoted with a port": (b'proto=https; For="[2001:db8:2::1]:4711"', "2001:db8:2::1"),
    "two": (b"for=203.0.113.9, for=198.51.100.1;by=10.0.0.1", "198.51.100.1"),
    "hidden": (b"for=_secret", "10.0.0.1"),
}


@pytest.mark.parametrize(("line", "expected"), ELEMENTS.values(), ids=ELEMENTS)
def test_forwarded(line: bytes, expected: str) -> None:
    scope: Any = {"client": ("10.0.0.1", 1), "headers": [(FORWARDED, line), (XFF, b"203.0.113.7")]}
    assert Clients(TRUSTED, "forwarded").of(scope).address == expected


AGENTS = {b"Browser/1.0": "Browser/1.0", b"caf\xc3\xa9\r\n": "caf????", b"x" * 500: "x" * 300}


@pytest.mark.parametrize(("agent", "expected"), AGENTS.items(), ids=range(len(AGENTS)))
def test_devices_fit_into_metadata(agent: bytes, expected: str) -> None:
    assert Clients().of({"client": ("192.0.2.1", 1), "headers": [(b"user-agent", agent)]}).device == expected


LOG_IN = "mutation ($input: LogInInput!) { logIn(input: $input) { accessToken } }"
SESSION = """
SELECT s.address, s.device, e.address AS audited FROM sessions s JOIN audit_entries e ON e.target = s.session_id::text
WHERE s.user_id = $1::text::uuid ORDER BY s.created_at DESC LIMIT 1
"""


async def test_auth_is_told(stack: Stack, stranger: Client) -> None:
    _, answer, email = await register(stranger)
    async with gateway(stack, TRUSTED_PROXIES='["127.0.0.0/8"]') as running:
        headers = {"x-forwarded-for": "203.0.113.9, 198.51.100.1", "user-agent": "Browser/1.0"}
        body = {"query": LOG_IN, "variables": {"input": {"email": email, "password": PASSWORD}}}
        response: httpx.Response = await running.client.post(body, **headers)
        assert "errors" not in response.json()
    async with (
        postgres.connect(stack.database_url("auth"), max_size=5) as database,
        database.all_tenants() as statements,
    ):
        row = await statements.fetchrow("look", SESSION, answer["user"]["id"])
    assert row is not None
    assert tuple(row) == ("198.51.100.1", "Browser/1.0", "198.51.100.1")
