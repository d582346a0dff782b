"""What the gateway serves beside GraphQL."""

import httpx
import pytest

from tests.gateway.clients import Client

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def test_a_browser_gets_graphiql_and_all_its_files(http: httpx.AsyncClient) -> None:
    page = await http.get("/graphql", headers=BROWSER)
    assert page.headers["content-type"].startswith("text/html")
    files = [part.split('"')[0] for mark in ('src="', 'href="/') for part in page.text.split(mark)[1:]]
    assert len(files) == 6
    for file in files:
        response = await http.get("/" + file.lstrip("/"))
        assert response.status_code == 200, file
        assert response.headers["content-type"].startswith(("text/css", "text/javascript", "application/javascript"))


async def test_a_browser_that_asks_a_query_gets_the_answer(http: httpx.AsyncClient) -> None:
    response = await http.get("/graphql", params={"query": "{ __typename }"}, headers=BROWSER)
    assert response.json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("path", ["/", "/nothing", "/graphiql/../../etc/passwd", "/graphiql/page/../../settings.py"])
async def test_there_is_nothing_else(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 404


async def test_requests_are_counted_by_method_path_and_status(stranger: Client) -> None:
    async def counted() -> dict[str, float]:
        text = (await stranger.http.get("/metrics")).text
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("http_"))
        return {name: float(value) for name, value in lines}

    async def rise(before: dict[str, float], name: str) -> float:
        return (await counted())[name] - before.get(name, 0.0)

    before = await counted()
    await stranger.post({"query": "{ __typename }"})
    await stranger.post([])
    await stranger.http.get("/health")
    await stranger.http.get("/no/such/path")
    for series in ('method="POST",path="/graphql",status="200"', 'method="GET",path="/health",status="200"'):
        assert await rise(before, f"http_requests_total{{{series}}}") == 1
    assert await rise(before, 'http_requests_total{method="POST",path="/graphql",status="400"}') == 1
    assert await rise(before, 'http_requests_total{method="GET",path="other",status="404"}') == 1
    duration = 'http_request_duration_seconds_{}{{{}method="POST",path="/graphql"}}'
    assert await rise(before, duration.format("count", "")) == 2
    assert await rise(before, duration.format("bucket", 'le="+Inf",')) == 2
