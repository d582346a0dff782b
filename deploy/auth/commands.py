"""`neurectomy keys` and `neurectomy audit`: what an operator asks of the auth service, here or elsewhere."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from deploy.terminal import DEFAULT_STATE, StateFolder, remark, show, told_plainly
from deploy.traces.commands import AuthTarget, Json, Secret

keys = typer.Typer(help="List, rotate and revoke the keys that tokens are signed with.", no_args_is_help=True)
audit = typer.Typer(help="Verify the audit log.", no_args_is_help=True)


@keys.command("list")
def list_keys(
    as_json: Json = False, auth_target: AuthTarget = "", secret: Secret = "", state: StateFolder = DEFAULT_STATE
) -> None:
    """Show each key, what it does now, and until when."""
    with told_plainly():
        from deploy.auth import client, tables

        found = asyncio.run(client.signing_keys(client.target_of(state, auth_target, secret)))
        show(tables.as_json(found) if as_json else tables.keys_table(found))


@keys.command()
def rotate(
    as_json: Json = False, auth_target: AuthTarget = "", secret: Secret = "", state: StateFolder = DEFAULT_STATE
) -> None:
    """Make a key that signs once all can know it; nobody is logged out, and nothing restarts."""
    with told_plainly():
        from deploy.auth import client, tables

        made = asyncio.run(client.rotate(client.target_of(state, auth_target, secret)))
        show(tables.as_json([made.signing_key]) if as_json else tables.keys_table([made.signing_key]))
        if not made.created:
            remark("A rotation was under way already; this is its key.")


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KID", help="The key's id, as `keys list` shows it.")],
    replace: Annotated[bool, typer.Option(help="Sign with a new key at once, if this is the one that signs.")] = False,
    as_json: Json = False,
    auth_target: AuthTarget = "",
    secret: Secret = "",
    state: StateFolder = DEFAULT_STATE,
) -> None:
    """Refuse all tokens of a key from now on, for example because it was stolen: its users refresh or log in again."""
    with told_plainly():
        from deploy.auth import client, tables

        key = asyncio.run(client.revoke(client.target_of(state, auth_target, secret), key_id, replace))
        show(tables.as_json([key]) if as_json else tables.keys_table([key]))


@audit.command()
def verify(
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Note where the chains end, unless one is broken.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="FILE", help="See that they go on from where they ended once.")
    ] = None,
    as_json: Json = False,
    auth_target: AuthTarget = "",
    secret: Secret = "",
    state: StateFolder = DEFAULT_STATE,
) -> None:
    """Compute every hash of the audit log anew; name the first entry of each chain that is not as it was written."""
    with told_plainly():
        from deploy.auth import client, heads, tables

        known = heads.read(against) if against else []
        chains = asyncio.run(client.verified_chains(client.target_of(state, auth_target, secret), known))
        show(tables.as_json(chains) if as_json else tables.chains_table(chains))
        if any(chain.HasField("first_break") for chain in chains):
            raise typer.Exit(1)
        if save:
            heads.save(save, (chain.head for chain in chains))
            remark(f"Saved to {save}. Keep it where nobody can write who can write to the database.")
