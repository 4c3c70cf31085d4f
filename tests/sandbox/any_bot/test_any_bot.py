"""Bots without Starledger, each with its own library, before the sandbox: they sell, refund, read the ledger."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from sandbox.checkout import PaymentState
from sandbox.client import SandboxClient
from sandbox.people import Person
from sandbox.server import SandboxServer
from tests.sandbox.any_bot import shop_aiogram, shop_ptb

GRAMMY = Path(__file__).with_name("grammy")
NPM_SECONDS = 120
NPM_OPTIONS = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"]
SKIP_WORDS_LENGTH = 300
Shop = Callable[[SandboxServer], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def python_shop(
    run: Callable[[str, str], Coroutine[None, None, None]], server: SandboxServer
) -> AsyncIterator[None]:
    running = asyncio.create_task(run(server.token, server.url))
    try:
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@pytest.fixture(scope="session")
def grammy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install grammY as its lock says; gives the folder with the shop in it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no Node.js with npm here")
    folder = tmp_path_factory.mktemp("any_bot") / "grammy"
    shutil.copytree(GRAMMY, folder)
    command = ["npm", "ci", *NPM_OPTIONS, "--fetch-retry-mintimeout=1000"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=NPM_SECONDS)  # noqa: S603 - as the lock says
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not get grammY within {NPM_SECONDS} s")
    except subprocess.CalledProcessError as failure:
        pytest.skip(f"npm cannot get grammY here: {' '.join(failure.stderr.split())[:SKIP_WORDS_LENGTH]}")
    return folder


@asynccontextmanager
async def grammy_shop(folder: Path, server: SandboxServer) -> AsyncIterator[None]:
    environment = {**os.environ, "BOT_TOKEN": server.token, "BOT_API_URL": server.url}
    process = await asyncio.create_subprocess_exec("node", "shop.js", cwd=folder, env=environment)
    try:
        yield
        assert process.returncode is None
    finally:
        process.kill()
        await process.wait()


@pytest.fixture(params=["aiogram", "python-telegram-bot", "grammY"])
def shop(request: pytest.FixtureRequest) -> Shop:
    match request.param:
        case "aiogram":
            return partial(python_shop, shop_aiogram.run)
        case "python-telegram-bot":
            return partial(python_shop, shop_ptb.run)
    return partial(grammy_shop, request.getfixturevalue("grammy"))


async def test_any_bot_sells_refunds_and_reads_the_ledger(
    shop: Shop, server: SandboxServer, client: SandboxClient, ann: Person
) -> None:
    async with shop(server):
        await client.start(ann.id)
        welcome = await client.wait_for_text(ann.id, "Welcome. Send /buy or /join.")
        assert welcome.message["entities"][0]["type"] == "bold"

        await client.send_text(ann.id, "/buy")
        invoice = await client.wait_for(ann.id, lambda found: found.offer_id is not None)
        bought = await client.pay(ann.id, message_id=invoice.message_id)
        assert (bought.state, (await client.person(ann.id)).balance_stars) == (PaymentState.PAID, 950)
        assert bought.charge_id is not None
        await client.wait_for_text(ann.id, f"Thank you: {bought.charge_id}")

        await client.send_text(ann.id, "/join")
        club = await client.wait_for(ann.id, lambda found: bool(found.buttons()))
        joined = await client.pay(ann.id, offer=club.buttons()[0]["url"])
        assert (joined.state, (await client.person(ann.id)).balance_stars) == (PaymentState.PAID, 880)
        await client.wait_for_text(ann.id, f"Thank you: {joined.charge_id}")

        await client.send_text(ann.id, f"/refund {bought.charge_id}")
        await client.wait_for_text(ann.id, "It went back")
        assert (await client.person(ann.id)).balance_stars == 930
        await client.send_text(ann.id, f"/refund {bought.charge_id}")
        # In Telegram's words, some of which python-telegram-bot spells its own way.
        await client.wait_for(ann.id, lambda found: "CHARGE_ALREADY_REFUNDED" in found.text().upper())

        await client.send_text(ann.id, "/ledger")
        await client.wait_for_text(ann.id, "3 rows, 70 Stars")
        await client.wait_until_confirmed()
