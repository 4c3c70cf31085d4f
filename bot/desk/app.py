"""The composition root: settings in, everything wired, run until told to stop."""

import asyncio
import contextlib
from contextlib import AsyncExitStack
from typing import Final

from aiogram import Bot
from aiogram.types import Update
from loguru import logger

from bot.calls.network import say_way
from bot.calls.telegram_time import TelegramTime
from bot.chat.commands import register_patiently
from bot.chat.moved_chats import AdminChat
from bot.desk.channels import OpenChannels, Surroundings, open_channels
from bot.desk.clock_watch import ClockWatch
from bot.desk.ledger_watch import LedgerWatch
from bot.desk.parts import make_admins, make_bot, make_signer, make_telegram_time, open_clock
from bot.desk.start import prepare
from bot.desk.stop import stop_signal
from bot.desk.tasks import background, first
from bot.handlers import make_dispatcher
from bot.monitoring.monitor import Monitor, Part
from bot.poll.conflicts import ConflictAlert
from bot.poll.intake import Intake
from bot.poll.lanes import Lanes
from bot.poll.polling import poll_forever
from bot.sending.notices import NoticeRenderer
from bot.sending.outbox import Outbox
from bot.sending.pace import Pace
from bot.sending.pause_keeper import PauseKeeper
from bot.settings import Settings
from db.clock import Clock
from db.engine import Database
from db.errors import is_away
from db.lock import DeskLock, desk_lock
from payments.audit.facts import Fact
from payments.checkout import CheckoutDesk, OldCheckouts
from payments.effects import OutwardEffects
from payments.ledger.fetching import TelegramLedger
from payments.ledger.rebuild import WholePass
from payments.ledger.reconciliation import Reconciliation
from payments.pause import Pause
from payments.recording.recorder import Recorder
from payments.refunds.sending import RefundSender
from payments.sale.catalog import Catalog, load_catalog
from payments.sale.offered_terms import note_offered
from payments.settlement.settlement import Settlement
from payments.settlement.worker import Worker
from payments.subscriptions.editor import RenewalEditor
from payments.subscriptions.keeper import SubscriptionKeeper
from payments.subscriptions.reminders import Reminders
from payments.telegram import TelegramPaymentHandler
from payments.telegram_errors import TELEGRAM_ERRORS

FINISH_SECONDS: Final = 8
LANES_SECONDS: Final = 4
LOCK_SECONDS: Final = 1


class Desk:
    """The running parts of one daemon, wired."""

    def __init__(  # noqa: PLR0913, PLR0917 - all that a desk is made of, wired in one place
        self,
        settings: Settings,
        catalog: Catalog,
        database: Database,
        lock: DeskLock,
        bot: Bot,
        clock: Clock,
        pause: Pause,
        channels: OpenChannels,
        telegram_time: TelegramTime | None = None,
    ) -> None:
        """Wire them; `telegram_time` gives Telegram's present (None: the clock is Telegram's)."""
        admins = make_admins(settings)
        signer = make_signer(settings)
        effects = OutwardEffects(clock, admins)
        settlement = Settlement(catalog, signer, clock, effects, settings.terms, telegram_now=telegram_time)
        notices = NoticeRenderer(clock)
        self.outbox = Outbox(
            bot,
            database,
            notices.render,
            clock,
            notices.keyboard,
            admins,
            Pace(clock, pause),
        )
        sender = RefundSender(database, channels.by_name, clock)
        self.worker = Worker(database, settlement, sender, clock, on_progress=self.outbox.loop.wake, pause=pause)
        book = settlement.subscriptions
        self.keeper = SubscriptionKeeper(
            database,
            book,
            RenewalEditor(database, bot, book, effects, clock, pause),
            Reminders(database, catalog, signer, clock, settings.remind_days),
            clock,
            on_progress=self.outbox.loop.wake,
        )
        token = settings.payment_token.get_secret_value() if settings.payment_token is not None else None
        self.checkouts = CheckoutDesk(database, catalog, signer, clock, sells_by_card=token is not None)
        self._old_checkouts = OldCheckouts(database, clock, telegram_time)
        self.recorder = Recorder(database, clock, admins, ensure_active=lock.ensure)
        ledger = TelegramLedger(bot)
        self.ledger_watch = LedgerWatch(
            database,
            WholePass(database, ledger, catalog, signer, clock, settings.terms),
            Reconciliation(database, ledger, signer, clock, admins, on_recovered=self._wake),
            settings.reconcile_minutes,
            on_complete=self._wake,
        )
        self.watches = channels.watches(Surroundings(database, catalog, signer, clock, admins, self._wake))
        self._bot, self._database, self._catalog, self._clock = bot, database, catalog, clock
        self._admin_chat = AdminChat(database, clock, admins.group_id, self.outbox.loop.wake)
        self._admins = admins
        self._lock = lock
        self._dispatcher = make_dispatcher(
            handler=TelegramPaymentHandler(bot, database, signer, self.checkouts, self.worker, clock, token),
            database=database,
            catalog=catalog,
            signer=signer,
            clock=clock,
            worker=self.worker,
            keeper=self.keeper,
            admins=admins,
            admin_chat=self._admin_chat,
            support_contact=settings.support_contact,
            on_owed=self.outbox.loop.wake,
        )
        self.lanes = Lanes(self._feed)
        self.intake = Intake(bot, self.recorder, self.lanes)
        self.conflicts = ConflictAlert(database, clock, admins, on_owed=self.outbox.loop.wake)

        time = telegram_time or TelegramTime(clock)
        self.clock_watch = ClockWatch(bot, time, database, clock, admins, self.outbox.loop.wake)

        self.parts: dict[str, Part] = {
            "payments": self.recorder,
            "worker": self.worker.loop,
            "outbox": self.outbox.loop,
            "subscriptions": self.keeper.loop,
            "ledger": self.ledger_watch,
            "clock": self.clock_watch,
            **self.watches,
        }
        self.pulses = {"worker": self.worker.loop.pulse, "subscriptions": self.keeper.loop.pulse}

    async def run(self, stop: asyncio.Event) -> None:
        """Work off what is due, then poll and work until `stop` is set; then finish what was begun."""
        if not await first(asyncio.create_task(self._catch_up()), stop):
            return
        self.lanes.start()
        finished = [self.worker.loop.run(), self.outbox.loop.run(), self.keeper.loop.run()]
        cancelled = [
            self._watch_lock(),
            self.ledger_watch.run(),
            self.clock_watch.run(),
            self._old_checkouts.run(),
            *(watch.run() for watch in self.watches.values()),
        ]
        async with (
            background([self._open_admin_chat()]),
            background(cancelled) as beside,
            background(finished) as loops,
            background([poll_forever(self.intake, self.conflicts)]) as (polling,),
        ):
            stopping = asyncio.create_task(stop.wait())
            done, _ = await asyncio.wait({*beside, *loops, polling, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            logger.info("stopping")
            polling.cancel()
            await asyncio.wait({polling})
            await self._finish(loops)
        for task in done - {stopping}:
            task.result()

    async def _catch_up(self) -> None:
        try:
            async with self._database.transaction() as session:
                await note_offered(session, self._catalog, self._clock())
            await self.worker.catch_up()
        except Exception as error:
            if not is_away(error):
                raise
            logger.warning("what is due is worked off when the database is back")

    async def _finish(self, loops: list[asyncio.Task[None]]) -> None:
        """End what was begun, as far as it goes in the time; the rest is on record, and the next start goes on."""
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                await self.lanes.close(LANES_SECONDS)
                self.worker.loop.stop()
                self.outbox.loop.stop()
                self.keeper.loop.stop()
                await asyncio.wait(loops)
                await self.checkouts.close()
                await self.recorder.close()
                with contextlib.suppress(*TELEGRAM_ERRORS):
                    await self.intake.confirm()
        except TimeoutError:
            logger.warning("stopping: not all was finished within {} s, the next start goes on", FINISH_SECONDS)

    def _wake(self) -> None:
        self.worker.loop.wake()
        self.keeper.loop.wake()
        self.outbox.loop.wake()

    async def _open_admin_chat(self) -> None:
        """Find the admins' group under the id that it has now, and tell Telegram the menus."""
        chat_id = self._admin_chat.setting
        try:
            await self._admin_chat.look(self._bot)
            chat_id = await self._admin_chat.current_id()
        except Exception as error:
            if not is_away(error):
                raise
            logger.warning("the admins' group is not looked for: {}", type(error).__name__)
        await register_patiently(self._bot, self._admins.ids, chat_id)

    async def _watch_lock(self) -> None:
        """End, and the desk with it, when another one has taken over."""
        while True:
            await asyncio.sleep(LOCK_SECONDS)
            try:
                await self._lock.ensure()
            except Exception as error:
                if not is_away(error):
                    raise

    async def _feed(self, update: Update, fact: Fact | None) -> None:
        await self._dispatcher.feed_update(self._bot, update, fact=fact)


async def run_desk(settings: Settings) -> None:
    """Run the daemon until SIGTERM or SIGINT; a second one ends the process at once.

    Raises SettingsError, CatalogError, WrongDatabaseError and AnotherDeskError: each is one line for the seller.
    """
    catalog = load_catalog(settings.catalog_file)
    stop = stop_signal()
    async with AsyncExitStack() as stack:
        database = Database(settings.database_url.get_secret_value())
        stack.push_async_callback(database.dispose)
        clock = await open_clock(settings, stack)
        telegram_time = make_telegram_time(settings, clock)
        bot = make_bot(settings, telegram_time)
        stack.push_async_callback(bot.session.close)
        say_way(settings)
        lock = desk_lock(settings.database_url.get_secret_value(), settings.bot_id)
        database.pin_server(lambda: lock.server)
        lock.on_doubt = database.doubt
        stack.push_async_callback(lock.release)
        pause = Pause(clock)
        bot.session.middleware(PauseKeeper(pause))
        monitor = Monitor(clock, lock)
        bot.session.middleware(monitor.meter)
        await stack.enter_async_context(monitor.running(settings.http_port, database))
        starting = asyncio.create_task(prepare(settings, database, lock, bot, clock, monitor.health, telegram_time))
        if await first(starting, stop):
            logger.info("ready: {} plans on sale", len(catalog.on_sale))
            channels = await stack.enter_async_context(open_channels(settings, bot))
            desk = Desk(settings, catalog, database, lock, bot, clock, pause, channels, telegram_time)
            monitor.watch_desk(desk.parts, desk.pulses)
            await desk.run(stop)
