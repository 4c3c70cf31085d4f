"""A made-up third channel: one method, one entry among the open channels, and the running desk does the rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

import pytest

from bot.calls.telegram_time import TelegramTime
from bot.desk.app import Daemon
from bot.desk.channels import OpenChannel, OpenChannels, Surroundings
from bot.desk.parts import make_bot
from bot.monitoring.health import HealthState
from bot.monitoring.monitor import Monitor
from bot.settings import Settings
from db.clock import utc_now
from db.engine import Database
from db.lock import desk_lock
from db.timings import PRODUCTION
from payments import methods
from payments.audit import fact_rows
from payments.audit.facts import ChargeFact, Person
from payments.channel import RefundOrder
from payments.methods import Method
from payments.pause import Pause
from payments.sale.catalog_file import load_catalog
from payments.sale.payload import Order, PayloadSigner
from payments.stars import StarsChannel
from sandbox.server import SandboxServer, running_sandbox
from sandbox.settings import Settings as SandboxSettings
from tests.support.daemon import CATALOG, TOKEN
from tests.support.waiting import until

SHELLS: Final = Method(
    "shells", event_id_prefix="shells:", source_prefix="", currency="SHL", outside="shells", gives_back_parts=False
)


class Beach:
    """A provider that takes shells in its own place, tells of it by its own loop, and gives them back."""

    method = SHELLS

    def __init__(self) -> None:
        self.washed_up: asyncio.Queue[ChargeFact] = asyncio.Queue()
        self.refunded: list[RefundOrder] = []
        self.trouble: str | None = None

    async def refund(self, order: RefundOrder) -> None:
        """Give shells back."""
        self.refunded.append(order)


class BeachWatch:
    """The loop that hears of what was paid in shells."""

    def __init__(self, beach: Beach, around: Surroundings) -> None:
        self._beach = beach
        self._around = around

    @property
    def trouble(self) -> str | None:
        """The trouble that keeps it from hearing."""
        return self._beach.trouble

    async def run(self) -> None:
        """Put on record what is washed up."""
        while True:
            charge = await self._beach.washed_up.get()
            async with self._around.database.transaction() as session:
                await fact_rows.record(session, [charge], self._around.clock())
            self._around.wake()


@asynccontextmanager
async def running_desk(server: SandboxServer, url: str, channel: OpenChannel) -> AsyncIterator[Monitor]:
    """Run the desk beside the block, with Stars and one more channel."""
    settings = Settings.model_validate(
        {
            "telegram_bot_token": TOKEN,
            "telegram_api_url": server.url,
            "database_url": url,
            "catalog_file": CATALOG,
            "admin_ids": [person.id for person in await server.client.persons() if person.first_name == "Max"],
        }
    )
    async with AsyncExitStack() as stack:
        database = Database(url)
        stack.push_async_callback(database.dispose)
        bot = make_bot(settings)
        stack.push_async_callback(bot.session.close)
        lock = desk_lock(url)
        stack.push_async_callback(lock.release)
        await lock.acquire()
        monitor = Monitor(utc_now, lock)
        channels = OpenChannels([OpenChannel(StarsChannel(bot)), channel])
        catalog, time = load_catalog(CATALOG), TelegramTime(utc_now)
        desk = Daemon(settings, catalog, database, lock, bot, utc_now, Pause(utc_now), channels, time, PRODUCTION)
        monitor.watch_desk(desk.parts, desk.pulses)
        stop = asyncio.Event()
        running = asyncio.create_task(desk.run(stop))
        try:
            yield monitor
        finally:
            stop.set()
            await running


def paid_in_shells(buyer: Person) -> ChargeFact:
    """Return a payment of an invoice in shells, as the provider tells it."""
    plan = load_catalog(CATALOG).on_sale[0]
    order = Order(plan.code, plan.days, plan.subscription, 7, "SHL", buyer.telegram_id)
    return ChargeFact(SHELLS.event_id("1"), buyer, 7, "SHL", PayloadSigner(TOKEN).sign(order), utc_now())


@pytest.mark.criterion("I6", "N4")
async def test_a_third_channel_sells_hears_and_gives_back_and_shows_its_trouble(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(methods.METHODS, SHELLS.name, SHELLS)
    beach = Beach()
    async with running_sandbox(SandboxSettings(token=TOKEN, seed=1)) as server:
        ann = await server.client.add_person("Ann", started=True)
        boss = await server.client.add_person("Max", started=True)
        async with running_desk(server, database_url, OpenChannel(beach, partial(BeachWatch, beach))) as monitor:
            charge = paid_in_shells(Person(ann.id))
            await beach.washed_up.put(charge)
            await server.client.wait_for_text(ann.id, "Thank you")
            await server.client.send_text(boss.id, f"/refund {charge.event_id} too many")
            await server.client.wait_for_text(boss.id, "went back")
            assert [(each.charge_id, each.amount, each.currency) for each in beach.refunded] == [("1", 7, "SHL")]

            async def is_healthy() -> bool:
                return monitor.health.look() is HealthState.HEALTHY

            await until(is_healthy)
            beach.trouble = "the tide is in"
            assert monitor.health.report()["troubles"][SHELLS.name]["why"] == "the tide is in"
