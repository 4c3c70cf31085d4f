"""A real browser before a sandbox with its page, or before the demo; each is a process of its own.

Without a Chromium these tests are skipped. With SCREENSHOTS=FOLDER they write the pictures that the README shows there.
"""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiogram import Bot
from playwright.async_api import Browser, BrowserContext, Page, ViewportSize, async_playwright, expect

from sandbox.client import SandboxClient
from sandbox.settings import TOKEN
from tests.support.bots import talking_bot
from tests.support.browser import WAIT_MS, Program, running

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZES = {"desktop": ViewportSize(width=1180, height=600), "phone": ViewportSize(width=390, height=780)}

PICTURES = {
    "pay-phone-light",
    "pay-desktop-dark",
    "story-desktop-light",
    "story-phone-dark",
    "kill-desktop-dark",
    "behind-phone-light",
}
"""The pictures of the README, and of each view on both screens, light and dark."""

Shoot = Callable[[str], Awaitable[None]]


@pytest.fixture(params=SIZES)
def device(request: pytest.FixtureRequest) -> str:
    """Run the test on a wide screen and on a phone's."""
    name: str = request.param
    return name


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Give the one browser, whose start takes a second, to all tests of a worker."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here (Debian: apt-get install chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        expect.set_options(timeout=WAIT_MS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context(viewport=SIZES["desktop"], permissions=["clipboard-read", "clipboard-write"])
    context.set_default_timeout(WAIT_MS)
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext) -> AsyncIterator[Page]:
    """Give a browser tab; a script's error, or a request that leaves this machine, fails the test."""
    page = await context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: errors.append(request.url) if "//127.0.0.1:" not in request.url[:20] else None)
    yield page
    assert not errors


@pytest.fixture
def shoot(page: Page, request: pytest.FixtureRequest) -> Shoot:
    """Give a function that takes the pictures of a view, when pictures are wanted."""
    device = request.getfixturevalue("device") if "device" in request.fixturenames else "desktop"

    async def take(name: str) -> None:
        if folder := os.environ.get("SCREENSHOTS"):
            await expect(page.get_by_role("status")).to_have_count(0)
            for scheme in ("light", "dark"):
                if (full_name := f"{name}-{device}-{scheme}") in PICTURES:
                    await page.emulate_media(color_scheme=scheme)
                    await page.screenshot(path=Path(folder) / f"{full_name}.png", animations="disabled")

    return take


@pytest.fixture(scope="module")
def sandbox_program() -> Iterator[Program]:
    """Run a sandbox with its page; its tests make people of their own."""
    with running("sandbox", ["--port", "0", "--page-port", "0"], "Chat page") as program:
        yield program
        program.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def client(sandbox_program: Program) -> AsyncIterator[SandboxClient]:
    async with SandboxClient(sandbox_program.address("Control API")) as client:
        yield client
        await client.clear_faults()


@pytest_asyncio.fixture(loop_scope="session")
async def bot(client: SandboxClient) -> AsyncIterator[Bot]:
    """Give a bot without a program: the test says what it does."""
    async with talking_bot(client.url, TOKEN) as bot:
        yield bot


@pytest_asyncio.fixture(loop_scope="session")
async def opened(sandbox_program: Program, page: Page) -> Page:
    """Give the tab with the sandbox's page in it."""
    await page.goto(sandbox_program.address("Chat page"))
    return page


@pytest.fixture
def demo() -> Iterator[Program]:
    with running("sandbox.demo", ["--port", "0"], "Open ") as program:
        yield program
