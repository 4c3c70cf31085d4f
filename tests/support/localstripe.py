"""localstripe, a stateful Stripe over HTTP, in a process of its own, because it cannot start within another."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.support.ports import free_port, until_listening
from tests.support.stripe_account import KEY

_CARD = {"card[number]": "4242424242424242", "card[exp_month]": "12", "card[exp_year]": "34", "card[cvc]": "123"}


@dataclass(frozen=True)
class LocalStripe:
    """A running localstripe."""

    url: str

    async def charge(self, amount: int, currency: str) -> str:
        """Charge a card; return the charge's id."""
        method = await self.call("POST", "payment_methods", {"type": "card", **_CARD})
        charge = {"amount": str(amount), "currency": currency, "source": str(method["id"])}
        return str((await self.call("POST", "charges", charge))["id"])

    async def call(self, method: str, path: str, form: dict[str, str] | None = None) -> dict[str, object]:
        """Call Stripe's API as the seller's own program does."""
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
            session.request(method, f"{self.url}/v1/{path}", data=form) as response,
        ):
            response.raise_for_status()
            said: dict[str, object] = await response.json()
            return said


@asynccontextmanager
async def running_localstripe(directory: Path) -> AsyncIterator[LocalStripe]:
    """Run it beside the block, with nothing in it; its log goes to `directory`."""
    port = free_port()
    with (directory / "localstripe.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("localstripe"),
            *("--port", str(port), "--from-scratch"),
            stdout=log,
            stderr=log,
        )
    try:
        await until_listening(process, port, (directory / "localstripe.log").read_text)
        yield LocalStripe(f"http://127.0.0.1:{port}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
