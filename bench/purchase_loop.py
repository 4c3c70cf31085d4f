"""Buyers of the bench: a closed loop of whole purchases at a sandbox.

A purchase: the buyer sends /buy, presses the plan's button, pays the invoice (Telegram asks the bot by a pre-checkout),
and reads the confirmation. The next purchase of the loop begins then.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Final

from sandbox.client import SandboxClient

AT_ONCE: Final = 25
"""The buyers who are under way at the same time, each with one purchase: as in the mission's line about 25 at once."""
ANSWER_SECONDS: Final = 120.0
"""A bot that is silent for so long has failed."""
_BALANCE_STARS: Final = 100_000
_FEED_PAUSE_SECONDS: Final = 0.01
"""The pause between two readings of the sandbox's feed: a reading for each event would keep the sandbox busy."""


class Buyers:
    """The buyers at one sandbox; each buys once, so that no limit of the bot's on one person's messages counts.

    `payment_seconds` are the times from the pressed Pay to the payment, which the pre-checkout takes.
    """

    def __init__(self, client: SandboxClient, *, is_confirmation_awaited: bool = True) -> None:
        """Make the buyers; without `is_confirmation_awaited` a purchase ends with its payment."""
        self._client = client
        self._is_confirmation_awaited = is_confirmation_awaited
        self._inboxes: dict[int, asyncio.Queue[int]] = {}
        self.payment_seconds: list[float] = []

    async def purchase(self, count: int, at_once: int = AT_ONCE) -> float:
        """Make so many purchases, `at_once` at a time; return their seconds. Raises ValueError for a wrong ending."""
        buyers = [
            (await self._client.add_person("Ann", balance_stars=_BALANCE_STARS, started=True)).id for _ in range(count)
        ]
        waiting = list(buyers)

        async def buy_on() -> None:
            while waiting:
                await self._buy(waiting.pop())

        async with self._following():
            began = perf_counter()
            await asyncio.gather(*(buy_on() for _ in range(at_once)))
            seconds = perf_counter() - began
        if self._is_confirmation_awaited:
            await self._check(buyers[0])
        return seconds

    async def _buy(self, buyer_id: int) -> None:
        inbox = self._inboxes[buyer_id] = asyncio.Queue()
        wish = await self._client.send_text(buyer_id, "/buy")
        plans = await _next(inbox, wish.message_id)
        await self._client.press(buyer_id, plans)
        invoice = await _next(inbox, plans)
        began = perf_counter()
        await self._client.start_payment(buyer_id, message_id=invoice)
        payment = await _next(inbox, invoice)
        self.payment_seconds.append(perf_counter() - began)
        if self._is_confirmation_awaited:
            await _next(inbox, payment)
        del self._inboxes[buyer_id]

    async def _check(self, buyer_id: int) -> None:
        """Check that a buyer has paid and has read the confirmation, and nothing else."""
        *_, payment, confirmation = await self._client.chat(buyer_id)
        if "successful_payment" not in payment.message or not confirmation.by_bot or not confirmation.text():
            raise ValueError(f"a purchase ended with {confirmation.message}")

    @asynccontextmanager
    async def _following(self) -> AsyncIterator[None]:
        """Put the ids of new messages into the inboxes of their chats, beside the block."""
        last, _ = await self._client.events()

        async def follow() -> None:
            nonlocal last
            while True:
                last, events = await self._client.events(after=last, timeout_seconds=ANSWER_SECONDS)
                for event in events:
                    if event["topic"] == "message" and event["chat_id"] in self._inboxes:
                        self._inboxes[event["chat_id"]].put_nowait(event["message_id"])
                await asyncio.sleep(_FEED_PAUSE_SECONDS)

        following = asyncio.create_task(follow())
        try:
            yield
        finally:
            following.cancel()


async def _next(inbox: asyncio.Queue[int], after: int) -> int:
    """Wait for a chat's next message behind the message `after`; return its id. Raises TimeoutError."""
    async with asyncio.timeout(ANSWER_SECONDS):
        while (message_id := await inbox.get()) <= after:
            pass
        return message_id
