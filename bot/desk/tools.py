"""The tools of an operator's command that calls Telegram or Stripe, beside a running desk or without one."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiogram import Bot

from bot.desk.channels import OpenChannels, open_channels
from bot.desk.parts import make_admins, make_bot, make_signer, open_clock
from bot.desk.wiring import Desk, make_desk
from bot.settings import Settings
from db.clock import Clock
from db.engine import Database
from db.states import EventOutcome
from db.tables import StripeEvent
from db.timings import PRODUCTION
from payments.notices import Admins
from payments.sale.catalog import Catalog
from payments.sale.catalog_file import load_catalog
from payments.sale.payload import PayloadSigner
from payments.settlement.worker import Worker


@dataclass(frozen=True, slots=True)
class Tools:
    """The parts of a desk for an operator's command."""

    bot: Bot
    catalog: Catalog
    signer: PayloadSigner
    clock: Clock
    admins: Admins
    channels: OpenChannels

    def desk(self, settings: Settings, database: Database) -> Desk:
        """Wire a desk on a database."""
        return make_desk(
            bot=self.bot,
            database=database,
            catalog=self.catalog,
            signer=self.signer,
            clock=self.clock,
            channels=self.channels.by_name,
            admins=self.admins,
            terms=settings.terms,
        )

    def worker(self, settings: Settings, database: Database) -> Worker:
        """Make a worker; the running desk, or the next start, sends the notices that it owes."""
        return self.desk(settings, database).worker


@asynccontextmanager
async def tools(settings: Settings) -> AsyncIterator[Tools]:
    """Open the tools of a command. Raises CatalogError."""
    async with AsyncExitStack() as stack:
        bot = make_bot(settings)
        stack.push_async_callback(bot.session.close)
        clock = await open_clock(settings, stack, PRODUCTION)
        channels = await stack.enter_async_context(open_channels(settings, bot))
        catalog, signer = load_catalog(settings.catalog_file), make_signer(settings)
        yield Tools(bot, catalog, signer, clock, make_admins(settings), channels)


async def refund_once(settings: Settings, database: Database, refund: StripeEvent) -> StripeEvent | None:
    """Process a refund, and the refunds of the remainder that replace it; return the last one.

    None: another process works on it.
    """
    async with tools(settings) as having:
        desk = having.desk(settings, database)
        done = await desk.worker.process(refund.event_id)
        # Each refunds a smaller remainder than the one before, so the loop ends.
        while done is not None and done.outcome == EventOutcome.REPLACED:
            rest = await desk.handler.find_waiting_refund(done.refund_of or "")
            if rest is None:
                break
            done = await desk.worker.process(rest.event_id)
        return done
