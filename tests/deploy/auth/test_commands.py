"""The commands as they are typed: keys, and an audit log that somebody changed, in a database of its own."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.local.stack import Stack
from neurectomy.auth.v1 import audit_pb2
from services.auth.audit import INSTALLATION
from tests.conftest import Tenant
from tests.deploy.traces.test_commands import command
from tests.gateway.running import listening
from tests.services.auth.databases import OwnDatabase, own_database

TAMPER = """
SET session_replication_role = replica;
UPDATE audit_entries SET target = 'x' WHERE organization_id = '00000000-0000-0000-0000-000000000000' AND sequence = 1
"""


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def own(stack: Stack) -> AsyncIterator[OwnDatabase]:
    async with own_database(stack) as database:
        yield database


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def elsewhere(stack: Stack, own: OwnDatabase) -> AsyncIterator[dict[str, str]]:
    """An auth process on that database, as it is reached from elsewhere."""
    async with listening("services.auth", {**stack.environment("auth"), "DATABASE_URL": own.url()}) as (_, address):
        yield {"AUTH_TARGET": address, "SERVICE_SECRET": stack.secrets.services["cli"], "COLUMNS": "120"}


async def _keys(elsewhere: dict[str, str]) -> list[tuple[str, str]]:
    found = (await command("keys", "list", "--json", **elsewhere)).json
    return [(key["id"], key["state"].removeprefix("SIGNING_KEY_STATE_")) for key in found]


async def test_keys_are_listed_rotated_and_revoked(elsewhere: dict[str, str]) -> None:
    ((first, _),) = await _keys(elsewhere)
    rotated = await command("keys", "rotate", **elsewhere)
    assert (rotated.status, " next " in rotated.out) == (0, True)
    again = await command("keys", "rotate", **elsewhere)
    assert (again.status, "under way already" in again.err) == (0, True)
    (_, (second, state)) = await _keys(elsewhere)
    assert state == "NEXT"
    assert second in rotated.out
    refused = await command("keys", "revoke", first, **elsewhere)
    assert (refused.status, "replace it" in refused.err) == (1, True)
    unknown = await command("keys", "revoke", "nothing", **elsewhere)
    assert (unknown.status, "no signing key nothing" in unknown.err) == (1, True)
    revoked = await command("keys", "revoke", first, "--replace", **elsewhere)
    assert (revoked.status, "revoked" in revoked.out) == (0, True)
    assert sorted(state for _, state in await _keys(elsewhere)) == ["NEXT", "REVOKED", "SIGNING"]


async def test_a_whole_log_is_whole_and_its_heads_are_kept(elsewhere: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "heads.json"
    said = await command("audit", "verify", "--save", str(file), **elsewhere)
    assert (said.status, "(the installation)" in said.out, "whole" in said.out) == (0, True, True)
    assert (await command("audit", "verify", "--against", str(file), **elsewhere)).status == 0
    saved = json.loads(file.read_text())
    saved["heads"][0]["hash"] = f"{'A' * 43}="
    file.write_text(json.dumps(saved))
    said = await command("audit", "verify", "--against", str(file), **elsewhere)
    assert (said.status, "was rewritten or cut" in said.out) == (1, True)


@pytest.mark.parametrize("content", ["", "{}", '{"heads": [1]}', '{"heads": [{"hash": 1}]}', None])
async def test_a_file_that_holds_no_heads(elsewhere: dict[str, str], tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "heads.json"
    if content is not None:
        file.write_text(content)
    said = await command("audit", "verify", "--against", str(file), **elsewhere)
    assert (said.status, str(file) in said.err.replace("\n", "")) == (1, True)


async def test_a_changed_byte_is_named_and_nothing_is_saved(
    own: OwnDatabase, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "heads.json"
    async with own.superuser() as connection:
        await connection.execute(TAMPER)
    said = await command("audit", "verify", "--save", str(file), **elsewhere)
    assert said.status == 1
    words = " ".join(said.out.split())
    assert "BROKEN (the installation): entry 1 was altered. Entry 1 says now: 20" in words
    assert "signing_key.create by service service:auth." in words
    assert not file.exists()
    (chain,) = json.loads((await command("audit", "verify", "--json", **elsewhere)).out)
    assert chain["head"]["organization_id"] == str(INSTALLATION)
    assert chain["first_break"]["kind"] == audit_pb2.AuditBreakKind.Name(audit_pb2.AUDIT_BREAK_KIND_ALTERED)


async def test_the_stacks_own_folder_is_enough(stack: Stack, tenant: Tenant) -> None:
    here = ("--state", str(stack.state.path))
    said = await command("audit", "verify", "--json", *here)
    assert str(tenant.organization_id) in said.out
    assert (await command("keys", "list", *here)).status == 0
