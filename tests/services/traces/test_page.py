"""The page of the traces service in a real browser, as someone uses it who has been paged."""

import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect
from uuid_utils import uuid4

from deploy.local.stack import Stack
from neurectomy.traces.v1.traces_pb2_grpc import TracesServiceStub
from tests.conftest import Connect, service_token
from tests.services.traces.pages import Another, batch, keep, report

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MARKUP = "<img src=x onerror=window.bitten=true>"
PATIENCE = 60_000

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here; `make tools` installs it")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        await running.close()


class Seen:
    """What an operation and its trace are called here."""

    def __init__(self) -> None:
        self.name = f"Page{uuid4().hex[:12]} {MARKUP}"
        self.operation = f"query {self.name} 3f9a61c2"
        self.trace_id = str(uuid4().hex)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def seen(stack: Stack, connect_as: Connect) -> Seen:
    """Requests in the figures, and one trace with a log line."""
    made = Seen()
    gateway = connect_as(TracesServiceStub, await service_token(stack, "gateway"))
    await gateway.ReportLatency(report(made.operation, 5_000, made.trace_id))
    await keep(stack.traces_url, made.trace_id, made.operation, f"too deep {MARKUP}")
    return made


@asynccontextmanager
async def visit(browser: Browser, url: str, quiet: bool = True, **options: Any) -> AsyncIterator[Page]:
    """A page that must not speak to another host, break its own policy nor, if `quiet`, complain of anything."""
    context = await browser.new_context(**options)
    page = await context.new_page()
    page.set_default_timeout(PATIENCE)
    complaints: list[str] = []
    asked: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    try:
        await page.goto(url)
        yield page
        elsewhere = [each for each in asked if not each.startswith(url.partition("#")[0])]
        assert not elsewhere
        assert not quiet or not complaints, complaints
        assert not [text for text in complaints if "Content Security Policy" in text]
        assert not await page.evaluate("window.bitten")
    finally:
        await context.close()


def at(stack: Stack, hash_: str = "") -> str:
    return f"{stack.traces_url}/{hash_}"


async def test_from_the_bar_to_the_trace_by_keyboard(browser: Browser, stack: Stack, seen: Seen) -> None:
    async with visit(browser, at(stack, "#/?window=900")) as page:
        link = page.get_by_role("link", name=seen.name, exact=True)
        await link.focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_contain_text(seen.name)
        await expect(page.locator(".verdict")).to_contain_text("graph/neo4j owes")
        await expect(page.locator(".blame tbody th").first).to_have_text("graph/neo4j")

        step = page.get_by_role("button", name="5,000 requests")
        await page.locator(".columns button").first.focus()
        await page.keyboard.press("End")
        for _ in range(30):
            if await step.evaluate("one => one === document.activeElement"):
                break
            await page.keyboard.press("ArrowLeft")
        await expect(step).to_be_focused()
        await page.keyboard.press("Enter")
        await page.wait_for_url("**end=**")
        await expect(page.get_by_role("link", name="Back to live")).to_be_visible()
        await expect(page.locator(".figures")).to_contain_text("5,000")

        slowest = page.locator(".traces tbody a").first
        await expect(slowest).to_have_attribute("href", re.compile("end="))  # not the one from before the step
        await slowest.focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("[role=treeitem]")).to_have_count(3)
        await expect(page.locator(".identity")).to_contain_text(seen.trace_id)
        await page.locator("[role=treeitem]").first.focus()
        for key in ("ArrowLeft", "ArrowRight", "ArrowDown", "ArrowDown", "Enter"):
            await page.keyboard.press(key)
        details = page.get_by_role("complementary", name="Span details")
        await expect(details).to_contain_text("MATCH paths")
        await expect(details).to_contain_text("Failed: too deep")
        await expect(details).to_contain_text("db.system.name")
        await expect(details).to_contain_text("25.0 ms, 63 % of the trace")
        await expect(page.locator(".logs li")).to_contain_text(["ERROR"])
        assert "span=0000000000000003" in page.url

        await page.keyboard.press("Escape")
        await expect(details).to_have_count(0)
        await expect(page.locator("[role=treeitem]").nth(2)).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("link", name="Back to live")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("link", name="Back to live")).to_have_count(0)
        await page.keyboard.press("Escape")
        await expect(page.locator(".operations")).to_be_visible()


async def test_an_address_can_be_sent_to_a_colleague(browser: Browser, stack: Stack, seen: Seen) -> None:
    """Who may be in another zone."""
    place = at(stack, f"#/trace/{seen.trace_id}?span=0000000000000002")
    async with visit(browser, place, timezone_id="Asia/Kolkata") as page:
        await expect(page.get_by_role("complementary", name="Span details")).to_contain_text("Traverse")
        await expect(page.locator(".figures")).to_contain_text("GMT+5:30")


async def test_of_a_large_trace_what_is_asked_for_is_drawn(browser: Browser, stack: Stack) -> None:
    trace_id, start = str(uuid4().hex), time.time_ns()
    records = [
        {
            "traceId": trace_id,
            "spanId": f"{number:016x}",
            "parentSpanId": f"{max(1, number // 3):016x}" if number > 1 else "",
            "name": f"span {number}",
            "startTimeUnixNano": str(start + number),
            "endTimeUnixNano": str(start + (9_000 if number == 1 else number + 5)),
        }
        for number in range(1, 3_001)
    ]
    async with httpx.AsyncClient(base_url=stack.traces_url, trust_env=False, timeout=60) as client:
        body = {"resourceSpans": [batch("shop", "scopeSpans", "spans", records)]}
        assert (await client.post("/v1/traces", json=body)).status_code == 200
    async with visit(browser, at(stack, f"#/trace/{trace_id}?span={3_000:016x}")) as page:
        row = page.locator("[role=treeitem][aria-selected=true]")
        await expect(row).to_contain_text("span 3000")
        await row.focus()
        await page.keyboard.press("Home")
        await expect(page.locator("[role=treeitem]").first).to_be_focused()
        await page.keyboard.press("ArrowLeft")
        await expect(page.locator("[role=treeitem]")).to_have_count(1)


async def test_markup_is_text(browser: Browser, stack: Stack, seen: Seen) -> None:
    async with visit(browser, at(stack, f"#/trace/{seen.trace_id}")) as page:
        await expect(page.locator("h1")).to_contain_text(MARKUP)
        await expect(page.locator(".logs")).to_contain_text(MARKUP)
        assert await page.locator("main img").count() == 0


async def test_dark_and_light(browser: Browser, stack: Stack, seen: Seen) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    async with visit(browser, at(stack), color_scheme="dark") as page:
        dark = await page.evaluate(background)
        await page.get_by_role("button", name="Dark or light").click()
        light = await page.evaluate(background)
        assert (dark, light) == ("rgb(21, 23, 28)", "rgb(255, 255, 255)")
        await page.reload()
        assert await page.evaluate(background) == light


async def test_tail_and_median_and_help(browser: Browser, stack: Stack, seen: Seen) -> None:
    async with visit(browser, at(stack, "#/?window=900")) as page:
        bar = page.get_by_role("img", name=f"P99 of {seen.name}: graph/neo4j")
        await expect(bar).to_be_visible()
        await page.keyboard.press("t")
        await expect(page.get_by_role("img", name=f"P50 of {seen.name}: gateway")).to_be_visible()
        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog", name="Keys")).to_have_count(0)


async def test_a_phone_need_not_scroll_sideways(browser: Browser, stack: Stack, seen: Seen) -> None:
    for place in (
        "#/?window=900",
        f"#/operation?name={quote(seen.operation)}&window=900",
        f"#/trace/{seen.trace_id}?span=" + "0" * 15 + "3",
    ):
        async with visit(browser, at(stack, place), viewport={"width": 360, "height": 740}) as page:
            await expect(page.locator("main h2").first).to_be_visible()
            assert await page.evaluate("document.documentElement.scrollWidth") == 360, place


async def test_what_is_missing_says_what_to_do(browser: Browser, stack: Stack) -> None:
    said = {
        f"#/trace/{'0' * 32}": ("This trace was not kept", "traceparent"),
        f"#/trace/00-{'F' * 32}-{'0' * 16}-01": ("This trace was not kept", f"00-{'f' * 32}-00f067aa0ba902b7-01"),
        "#/trace/nothing": ("This is no trace id", "32 hexadecimal digits"),
        "#/trace/": ("This is no trace id", "has none"),
        "#/trace/%": ("This is no trace id", '"%"'),
        "#/operation?name=nothing": ("No such request", "Look back 15 min"),
        "#/?window=60&end=1000": ("No requests yet", "Back to now"),
    }
    for place, (title, advice) in said.items():
        async with visit(browser, at(stack, place), quiet=False) as page:
            await expect(page.locator("h1")).to_have_text(title)
            await expect(page.locator("main")).to_contain_text(advice)


async def test_a_token_is_asked_for_and_a_service_that_is_away_is_waited_for(
    browser: Browser, stack: Stack, tmp_path: Path
) -> None:
    async with (
        Another(stack, tmp_path, {"OPEN_PAGE": "false"}) as another,
        visit(browser, f"{another.url}/", quiet=False) as page,
    ):
        await expect(page.locator("h1")).to_have_text("A token is needed")
        await expect(page.locator("main")).to_contain_text("neurectomy token")
        await expect(page.get_by_label("Token")).to_be_focused()
        await page.keyboard.type("wrong")
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_contain_text("That token was refused")
        await page.get_by_label("Token").fill(await service_token(stack, "cli"))
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_have_text("No requests yet")
        await expect(page.locator("main")).to_contain_text("make bench")

        await another.process.stop()
        await page.keyboard.press("t")
        await expect(page.locator("h1")).to_have_text("The traces service does not answer")
        await expect(page.locator("main")).to_contain_text("neurectomy up")
        await another.process.start()
        await expect(page.locator("h1")).to_have_text("No requests yet")
