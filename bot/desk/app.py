"""The daemon: makes the database, the lock, the bot and the desk from the settings, and runs them until a signal."""

import asyncio
import contextlib
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from aiogram import Bot
from aiogram.types import Update
from loguru import logger

from bot.calls.network import say_way
from bot.calls.telegram_time import TelegramTime
from bot.chat.commands import register_patiently
from bot.desk.channels import OpenChannels, Surroundings, open_channels
from bot.desk.clock_watch import ClockWatch
from bot.desk.ledger_watch import LedgerWatch
from bot.desk.parts import make_admins, make_bot, make_signer, make_telegram_time, open_clock
from bot.desk.start import prepare
from bot.desk.stop import stop_signal
from bot.desk.tasks import background, first
from bot.desk.wiring import make_desk
from bot.monitoring.monitor import Monitor, Part
from bot.poll.conflicts import ConflictAlert
from bot.poll.intake import Intake
from bot.poll.lanes import Lanes
from bot.poll.polling import poll_forever
from bot.sending.pause_keeper import PauseKeeper
from bot.settings import Settings
from db.clock import Clock
from db.engine import Database
from db.errors import is_away
from db.lock import DeskLock, desk_lock
from db.timings import Timings
from payments.audit.facts import Fact
from payments.checkout import OldCheckouts
from payments.pause import Pause
from payments.sale.catalog import Catalog
from payments.sale.catalog_file import load_catalog
from payments.sale.offered_terms import record_offered_terms
from payments.telegram_errors import TELEGRAM_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Daemon:
    """One running desk: the poll, the loops, and the tasks beside them."""

    def __init__(  # noqa: PLR0913, PLR0917 - all that a desk is made of
        self,
        settings: Settings,
        catalog: Catalog,
        database: Database,
        lock: DeskLock,
        bot: Bot,
        clock: Clock,
        pause: Pause,
        channels: OpenChannels,
        telegram_time: TelegramTime,
        timings: Timings,
    ) -> None:
        """Wire the desk; `telegram_time` gives Telegram's present."""
        admins, signer, token = make_admins(settings), make_signer(settings), settings.payment_token
        desk = make_desk(
            bot=bot,
            database=database,
            catalog=catalog,
            signer=signer,
            clock=clock,
            channels=channels.by_name,
            admins=admins,
            terms=settings.terms,
            payment_token=None if token is None else token.get_secret_value(),
            support_contact=settings.support_contact,
            telegram_now=telegram_time,
            pause=pause,
            messages_per_second=settings.messages_per_second,
            ensure_active=lock.ensure,
            timings=timings,
        )
        self._desk, self._bot, self._database, self._lock = desk, bot, database, lock
        self._catalog, self._clock, self._admins, self._timings = catalog, clock, admins, timings
        ledger_watch = LedgerWatch(
            database, desk.whole_pass, desk.reconciliation, settings.reconcile_minutes, desk.wake, timings
        )
        watches = channels.watches(Surroundings(database, catalog, signer, clock, admins, timings, desk.wake))
        self._lanes = Lanes(self._feed, on_full=desk.worker.loop.wake)
        self._intake = Intake(bot, desk.recorder, self._lanes, timings)
        on_owed = desk.outbox.loop.wake
        self._conflicts = ConflictAlert(database, clock, admins, on_owed)
        clock_watch = ClockWatch(bot, telegram_time, database, clock, admins, on_owed)
        self._beside: list[Callable[[], Coroutine[Any, Any, None]]] = [
            ledger_watch.run,
            clock_watch.run,
            OldCheckouts(database, clock, telegram_time).run,
            *(watch.run for watch in watches.values()),
        ]
        self._loops = [desk.worker.loop, desk.outbox.loop, desk.keeper.loop]
        self._runs = [desk.worker.loop.run, desk.outbox.run, desk.keeper.loop.run]

        self.parts: dict[str, Part] = {
            "payments": desk.recorder,
            "worker": desk.worker.loop,
            "outbox": desk.outbox.loop,
            "subscriptions": desk.keeper.loop,
            "ledger": ledger_watch,
            "clock": clock_watch,
            **watches,
        }
        self.pulses = {"worker": desk.worker.loop.pulse, "subscriptions": desk.keeper.loop.pulse}

    async def run(self, stop: asyncio.Event) -> None:
        """Run the desk until `stop` is set.

        1. Note the terms on offer, and process the events that are due.
        2. Start the lanes, the loops (worker, outbox, subscriptions), the tasks beside them, and the poll.
        3. Wait for `stop`, or for a task that ends by itself: that is a bug, or another desk.
        4. Cancel the poll, so that the desk takes nothing new.
        5. Finish the updates and the items under way, and confirm the last updates to Telegram.

        Raises what ended a task.
        """
        if not await first(asyncio.create_task(self._catch_up()), stop):
            return
        self._lanes.start()
        async with (
            background([self._open_admin_chat()]),
            background([self._watch_lock(), *(run() for run in self._beside)]) as beside,
            background([run() for run in self._runs]) as loops,
            background([poll_forever(self._intake, self._conflicts, self._timings)]) as (polling,),
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
                await record_offered_terms(session, self._catalog, self._clock())
            await self._desk.worker.catch_up()
        except Exception as error:
            if not is_away(error):
                raise
            logger.warning("the database is away: due events are processed when it is back")

    async def _finish(self, loops: list[asyncio.Task[None]]) -> None:
        """Finish the updates and items under way, within `finish_seconds`; the next start does the rest."""
        try:
            async with asyncio.timeout(self._timings.finish_seconds):
                await self._lanes.close(self._timings.lanes_seconds)
                for loop in self._loops:
                    loop.stop()
                await asyncio.wait(loops)
                await self._desk.checkouts.close()
                await self._desk.recorder.close()
                with contextlib.suppress(*TELEGRAM_ERRORS):
                    await self._intake.confirm()
        except TimeoutError:
            logger.warning(
                "stopping: not all was finished within {} s, the next start goes on", self._timings.finish_seconds
            )

    async def _open_admin_chat(self) -> None:
        """Find the present id of the admins' group, and register the menus of commands."""
        chat_id = self._desk.admin_chat.setting
        try:
            await self._desk.admin_chat.look(self._bot)
            chat_id = await self._desk.admin_chat.current_id()
        except Exception as error:
            if not is_away(error):
                raise
            logger.warning("the admins' group is not looked for: {}", type(error).__name__)
        await register_patiently(self._bot, self._admins.ids, chat_id)

    async def _watch_lock(self) -> None:
        """Check the desk's lock again and again. Raises AnotherDeskError, which ends the daemon, when it is lost."""
        while True:
            await asyncio.sleep(self._timings.lock_check_seconds)
            try:
                await self._lock.ensure()
            except Exception as error:
                if not is_away(error):
                    raise

    async def _feed(self, update: Update, fact: Fact | None) -> None:
        await self._desk.dispatcher.feed_update(self._bot, update, fact=fact)


async def run_desk(settings: Settings, timings: Timings) -> None:
    """Run the daemon until SIGTERM or SIGINT; a second one ends the process at once.

    Raises SettingsError, CatalogError, WrongDatabaseError and AnotherDeskError: each is one line for the seller.
    """
    catalog = load_catalog(settings.catalog_file)
    stop = stop_signal(timings.end_seconds)
    async with AsyncExitStack() as stack:
        database = Database(settings.database_url.get_secret_value(), timings)
        stack.push_async_callback(database.dispose)
        clock = await open_clock(settings, stack, timings)
        telegram_time = make_telegram_time(settings, clock)
        bot = make_bot(settings, telegram_time)
        stack.push_async_callback(bot.session.close)
        say_way(settings)
        lock = desk_lock(settings.database_url.get_secret_value(), settings.bot_id, timings)
        database.pin_server(lambda: lock.server)
        lock.on_doubt = database.doubt
        stack.push_async_callback(lock.release)
        pause = Pause(clock)
        bot.session.middleware(PauseKeeper(pause))
        monitor = Monitor(clock, lock, timings)
        bot.session.middleware(monitor.meter)
        await stack.enter_async_context(monitor.running(settings.http_port, database))
        starting = asyncio.create_task(
            prepare(settings, database, lock, bot, clock, monitor.health, telegram_time, timings)
        )
        if await first(starting, stop):
            logger.info("ready: {} plans on sale", len(catalog.on_sale))
            channels = await stack.enter_async_context(open_channels(settings, bot))
            daemon = Daemon(settings, catalog, database, lock, bot, clock, pause, channels, telegram_time, timings)
            monitor.watch_desk(daemon.parts, daemon.pulses)
            await daemon.run(stop)
