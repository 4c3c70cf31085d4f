"""What an operator's command does with Telegram and Stripe, beside a running desk or without one."""

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
from db.tables import Outcome, StripeEvent
from db.timings import PRODUCTION
from payments.notices import Admins
from payments.refunds.asking import find_waiting
from payments.sale.catalog import Catalog, load_catalog
from payments.sale.payload import PayloadSigner
from payments.settlement.worker import Worker


@dataclass(frozen=True, slots=True)
class Tools:
    """What an operator's command needs of a desk that it runs beside, or without."""

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
        """Make what processes events; notices that come of it are delivered by the running desk, or the next start."""
        return self.desk(settings, database).worker


@asynccontextmanager
async def tools(settings: Settings) -> AsyncIterator[Tools]:
    """Make the tools of a command, with a Telegram to call. Raises CatalogError."""
    async with AsyncExitStack() as stack:
        bot = make_bot(settings)
        stack.push_async_callback(bot.session.close)
        clock = await open_clock(settings, stack, PRODUCTION)
        channels = await stack.enter_async_context(open_channels(settings, bot))
        catalog, signer = load_catalog(settings.catalog_file), make_signer(settings)
        yield Tools(bot, catalog, signer, clock, make_admins(settings), channels)


async def refund_once(settings: Settings, database: Database, refund: StripeEvent) -> StripeEvent | None:
    """Bring about a refund beside a running desk or without one, or what has replaced it, and return that.

    None: another process is at it.
    """
    async with tools(settings) as having:
        worker = having.worker(settings, database)
        done = await worker.process(refund.event_id)
        # Each is of less than the one before.
        while done is not None and done.outcome == Outcome.REPLACED:
            async with database.reading() as session:
                rest = await find_waiting(session, done.refund_of or "")
            if rest is None:
                break
            done = await worker.process(rest.event_id)
        return done
