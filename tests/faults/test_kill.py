"""The daemon is killed at every step of a payment and of a refund: no payment is lost or counted twice.

Each run is compared with the one that lived. victim.py says which moments are steps.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import select

from db.engine import Database
from db.tables import Entitlement, EntitlementGrant, OutboxMessage, StripeEvent
from payments.notices import Notice
from payments.sale.catalog import order_of
from payments.sale.catalog_file import load_catalog
from payments.sale.payload import PayloadSigner
from payments.telegram import invoice_of
from sandbox.server import SandboxServer, running_sandbox
from sandbox.settings import Settings
from tests.conftest import BOT_ID, Databases
from tests.faults.victim import NEVER, Victim, brings_money, brings_refund_command, living
from tests.support.bots import talking_bot
from tests.support.waiting import WAIT_SECONDS, until

pytestmark = pytest.mark.engines("sqlite", "postgresql")

TOKEN: Final = f"{BOT_ID}:kill-tests-kill-tests-kill-tests-00"
CATALOG: Final = Path(__file__).parents[2] / "catalog.example.toml"
BUYER_ID: Final = 7001
ADMIN_ID: Final = 7002
STEPS_MAX: Final = 100
AT_ONCE: Final = 6
"""Lives that are led side by side: they wait more than they work."""


@dataclass(frozen=True)
class Story:
    """A sandbox with a buyer and an admin, and a database that outlives the daemon."""

    server: SandboxServer
    database_url: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "TELEGRAM_BOT_TOKEN": TOKEN,
            "TELEGRAM_API_URL": self.server.url,
            "DATABASE_URL": self.database_url,
            "CATALOG_FILE": str(CATALOG),
            "ADMIN_IDS": str(ADMIN_ID),
            # Its steps would fall among those that are counted, each time elsewhere.
            "RECONCILE_MINUTES": "0",
        }

    async def send_invoice(self) -> int:
        """Send the buyer an invoice as /buy does; return its message id."""
        plan = load_catalog(CATALOG).on_sale[0]
        async with talking_bot(self.server.url, TOKEN) as bot:
            message = await bot(
                invoice_of(plan, BUYER_ID, order_of(plan, BUYER_ID), PayloadSigner(TOKEN), provider_token="")
            )
        return message.message_id

    async def told(self, chat_id: int, words: str) -> int:
        """Count the messages of the bot that hold these words."""
        return sum(words in message.message.get("text", "") for message in await self.server.client.chat(chat_id))

    async def is_unnoted(self, words: str, notice: Notice) -> bool:
        """Tell whether Telegram has taken the buyer's message, and our commit of it is missing."""
        database = Database(self.database_url)
        async with database.reading() as session:
            noted = await session.scalar(
                select(OutboxMessage.id).where(
                    OutboxMessage.chat_id == BUYER_ID, OutboxMessage.kind == notice, OutboxMessage.sent_at.is_not(None)
                )
            )
        await database.dispose()
        return noted is None and await self.told(BUYER_ID, words) > 0

    async def row_count(self, event_id: str) -> int:
        """Count the audit rows of this id."""
        database = Database(self.database_url)
        async with database.reading() as session:
            rows = (await session.scalars(select(StripeEvent.id).where(StripeEvent.event_id == event_id))).all()
        await database.dispose()
        return len(rows)

    async def outcome(self) -> dict[str, Any]:
        """Return what the money and the access have come to, less our own ids and times."""
        database = Database(self.database_url)
        async with database.reading() as session:
            events = await session.scalars(select(StripeEvent).order_by(StripeEvent.event_id))
            grants = await session.scalars(select(EntitlementGrant))
            access = await session.scalars(select(Entitlement))
            found = {
                "events": [
                    (e.event_type, e.status, e.outcome, e.amount_cents, e.currency, e.reason, e.requested_by, e.due_at)
                    for e in events
                ],
                "grants": [
                    (g.entitlement_type, g.source.split(":")[0], g.duration_days, g.revoked_at is None, g.revoke_reason)
                    for g in grants
                ],
                "access": [(a.entitlement_type, a.expires_at is None, a.revoked_at is None) for a in access],
            }
        await database.dispose()
        found["ledger"] = [("source" in row, row["amount"]) for row in (await self.server.client.ledger(0, 100))]
        return found


@asynccontextmanager
async def a_second_life(story: Story) -> AsyncIterator[None]:
    """Run the daemon again; the block begins when it has caught up and waits for more, and it ends in peace."""
    client = story.server.client
    lived = (await client.calls())[-1].number
    with living(story.environment) as heir:
        await client.wait_for_call("getMe", after=lived, timeout_seconds=WAIT_SECONDS)
        await client.wait_until_polling(timeout_seconds=WAIT_SECONDS)
        yield
        await client.wait_until_confirmed()
        assert await heir.stop() == 0


@asynccontextmanager
async def a_story(databases: Databases) -> AsyncIterator[Story]:
    async with databases() as url, running_sandbox(Settings(token=TOKEN, seed=1)) as server:
        await server.client.add_person("Ann", id=BUYER_ID, balance_stars=1000, started=True)
        await server.client.add_person("Boss", id=ADMIN_ID, started=True)
        yield Story(server, url)


@dataclass(frozen=True)
class End:
    """How a story ended: the money and the access, how often the buyer was told, and how often that may be."""

    outcome: dict[str, Any]
    told: int
    told_max: int
    victim: Victim


async def pay(databases: Databases, kill_at: int) -> End:
    """Tell the story of a payment, with a death at a step of it and a second life; NEVER: without."""
    async with a_story(databases) as story:
        invoice = await story.send_invoice()
        with living(story.environment, kill_at=kill_at, arms=brings_money) as victim:
            payment = await story.server.client.pay(BUYER_ID, message_id=invoice)
            assert payment.charge_id is not None, payment

            async def is_over() -> bool:
                return not victim.is_alive or await story.told(BUYER_ID, "Thank you") > 0

            await until(is_over)
            await victim.stop()
        told_max = 1 + await story.is_unnoted("Thank you", Notice.GRANTED)
        async with a_second_life(story):
            await story.server.client.wait_for_text(BUYER_ID, "Thank you")
        return End(await story.outcome(), await story.told(BUYER_ID, "Thank you"), told_max, victim)


async def refund(databases: Databases, kill_at: int) -> End:
    """Tell the story of a refund from the command to both confirmations, with a death at a step of it."""
    async with a_story(databases) as story:
        client = story.server.client
        invoice = await story.send_invoice()
        with living(story.environment, kill_at=kill_at, arms=brings_refund_command) as victim:
            payment = await client.pay(BUYER_ID, message_id=invoice)
            await client.wait_for_text(BUYER_ID, "Thank you")
            command = f"/refund {payment.charge_id} as agreed"
            await client.send_text(ADMIN_ID, command)

            async def is_over() -> bool:
                done = await story.told(BUYER_ID, "given back") and await story.told(ADMIN_ID, "went back")
                return not victim.is_alive or bool(done)

            await until(is_over)
            await victim.stop()
        told_max = 1 + await story.is_unnoted("given back", Notice.REFUNDED)
        async with a_second_life(story):
            # A chat command may be lost in a crash; what it has begun on record may not.
            if not await story.row_count(f"refund:{payment.charge_id}"):
                await client.send_text(ADMIN_ID, command)
            await client.wait_for_text(BUYER_ID, "given back")
            await client.wait_for_text(ADMIN_ID, "went back")
        return End(await story.outcome(), await story.told(BUYER_ID, "given back"), told_max, victim)


@pytest.mark.criterion("C1", "C3", "C9", "S8")
@pytest.mark.parametrize(("tell", "steps_min"), [(pay, 15), (refund, 32)])
async def test_a_kill_at_any_step_changes_nothing(
    databases: Databases, tell: Callable[[Databases, int], Awaitable[End]], steps_min: int
) -> None:
    lived = await tell(databases, NEVER)
    assert lived.told == 1
    deaths = 0
    for first in range(1, STEPS_MAX, AT_ONCE):
        steps = range(first, first + AT_ONCE)
        ends = await asyncio.gather(*(tell(databases, step) for step in steps))
        for step, end in zip(steps, ends, strict=True):
            died_at = f"killed at step {step}: {end.victim.names()[-1]}"
            assert end.outcome == lived.outcome, died_at
            assert 1 <= end.told <= end.told_max, died_at
            deaths += end.victim.exit_code == -signal.SIGKILL
        if deaths < steps[-1]:
            assert deaths >= steps_min
            return
    pytest.fail(f"the story has more than {STEPS_MAX} steps")
