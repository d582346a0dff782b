"""`neurectomy blame`, `trace` and `token`: what an operator asks of the traces service, here or elsewhere."""

import asyncio
from typing import Annotated

import typer

from deploy.terminal import DEFAULT_STATE, StateFolder, remark, show, told_plainly

app = typer.Typer()

TracesTarget = Annotated[
    str, typer.Option(envvar="TRACES_TARGET", help="The traces service of a system elsewhere, as host:port.")
]
AuthTarget = Annotated[
    str,
    typer.Option(
        envvar="AUTH_TARGET",
        help="The auth service of a system elsewhere; SERVICE_SECRET is to hold the secret of `cli`.",
    ),
]
Secret = Annotated[str, typer.Option(envvar="SERVICE_SECRET", hidden=True)]
Json = Annotated[bool, typer.Option("--json", help="For a program instead of a person.")]
NEEDED = ("AUTH_TARGET", "TRACES_TARGET", "SERVICE_SECRET")


@app.command()
def blame(
    operation: Annotated[str, typer.Argument(help="A part of its name; the most frequent operation if left out.")] = "",
    percentile: Annotated[
        float | None,
        typer.Option(help="From 50 up to, not including, 100.", show_default="99, or the baseline's"),
    ] = None,
    window: Annotated[str, typer.Option(help="How far back: 90s, 5m, 2h.")] = "5m",
    save: Annotated[str, typer.Option(metavar="NAME", help="Keep the answer as a baseline.")] = "",
    against: Annotated[str, typer.Option(metavar="NAME", help="Say what has changed since a baseline.")] = "",
    listed: Annotated[
        bool, typer.Option("--list", help="List the operations there are, or those of that name.")
    ] = False,
    as_json: Json = False,
    traces_target: TracesTarget = "",
    auth_target: AuthTarget = "",
    secret: Secret = "",
    state: StateFolder = DEFAULT_STATE,
) -> None:
    """Say which service an operation's P99 is owed to: the parts sum to it exactly."""
    with told_plainly():
        from deploy.traces import client
        from deploy.traces.asking import Question, ask, listing

        target = client.chosen(state, auth_target, traces_target, secret, NEEDED)
        question = Question(operation, percentile, client.seconds_of(window), save, against, as_json)
        if listed:
            show(asyncio.run(listing(target, question)))
            return
        answer, told = asyncio.run(ask(target, question, state))
        show(answer)
        if told:
            remark(told)


@app.command()
def trace(
    trace_id: Annotated[str, typer.Argument(help="32 hexadecimal digits, as in `traceresponse` and in every error.")],
    as_json: Json = False,
    traces_target: TracesTarget = "",
    auth_target: AuthTarget = "",
    secret: Secret = "",
    state: StateFolder = DEFAULT_STATE,
) -> None:
    """Draw a kept trace, with its critical path, and what was logged for it."""
    with told_plainly():
        from deploy.traces import client, figures, trace_table

        target = client.chosen(state, auth_target, traces_target, secret, NEEDED)
        answer = asyncio.run(client.trace_at(target, trace_id))
        show(figures.as_json(answer) if as_json else trace_table.trace_table(answer))


@app.command()
def token(
    auth_target: AuthTarget = "",
    secret: Secret = "",
    state: StateFolder = DEFAULT_STATE,
) -> None:
    """Print an operator's token, good for ten minutes: for the page of traces, and for `latencyBlame` and `trace`."""
    with told_plainly():
        from deploy.traces import client

        target = client.chosen(state, auth_target, "", secret, ("AUTH_TARGET", "SERVICE_SECRET"))
        show(asyncio.run(client.token_at(target)))
