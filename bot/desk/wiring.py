"""Wires the parts of a desk, the same for the daemon, the operator's commands, the tests and the benchmarks."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiogram import Bot, Dispatcher

from bot.chat.moved_chats import AdminChat
from bot.handlers.dispatcher import make_dispatcher
from bot.sending.notices import NoticeRenderer
from bot.sending.outbox import Outbox
from bot.sending.pace import Pace
from bot.settings import MESSAGES_PER_SECOND
from db.clock import Clock
from db.engine import Database
from db.timings import PRODUCTION, Timings
from payments.channel import Channels
from payments.checkout import CheckoutDesk
from payments.effects import OutwardEffects
from payments.ledger.fetching import TelegramLedger
from payments.ledger.rebuild import WholePass
from payments.ledger.reconciliation import Reconciliation
from payments.notices import Admins
from payments.pause import Pause
from payments.recording.recorder import Recorder
from payments.refunds.sending import RefundSender
from payments.sale.catalog import Catalog
from payments.sale.payload import PayloadSigner
from payments.settlement.settlement import Settlement
from payments.settlement.worker import Worker
from payments.subscriptions.chain import Terms
from payments.subscriptions.editor import RenewalEditor
from payments.subscriptions.keeper import SubscriptionKeeper
from payments.subscriptions.reminders import Reminders
from payments.telegram import TelegramPaymentHandler


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The wired parts of a desk; none of them runs by itself."""

    settlement: Settlement
    checkouts: CheckoutDesk
    recorder: Recorder
    worker: Worker
    keeper: SubscriptionKeeper
    outbox: Outbox
    whole_pass: WholePass
    reconciliation: Reconciliation
    handler: TelegramPaymentHandler
    admin_chat: AdminChat
    dispatcher: Dispatcher

    def wake(self) -> None:
        """Wake the loops of the desk.

        A caller does so because something is on record to settle or to tell.
        """
        for loop in (self.worker.loop, self.keeper.loop, self.outbox.loop):
            loop.wake()


def make_desk(  # noqa: PLR0913 - all that a desk is made of, named in one place
    *,
    bot: Bot,
    database: Database,
    catalog: Catalog,
    signer: PayloadSigner,
    clock: Clock,
    channels: Channels,
    admins: Admins,
    terms: Terms,
    payment_token: str | None = None,
    support_contact: str | None = None,
    telegram_now: Clock | None = None,
    pause: Pause | None = None,
    messages_per_second: int = MESSAGES_PER_SECOND,
    ensure_active: Callable[[], Awaitable[None]] | None = None,
    timings: Timings = PRODUCTION,
) -> Desk:
    """Wire a desk on a database.

    `channels` are the ways by which money goes back, and `payment_token` opens sales by card. `telegram_now` gives
    Telegram's present; None: the clock is Telegram's. All that send to Telegram share `pause`. The recorder calls
    `ensure_active` before each recording; it raises when another desk has taken over.
    """
    pause = pause or Pause(clock)
    effects = OutwardEffects(clock, admins)
    settlement = Settlement(catalog, signer, clock, effects, terms, telegram_now=telegram_now)
    notices = NoticeRenderer(clock)
    pace, idle_seconds = Pace(clock, pause, timings, messages_per_second), timings.loop_idle_seconds
    outbox = Outbox(bot, database, notices.render, clock, notices.keyboard, admins, pace, idle_seconds)
    on_owed = outbox.loop.wake
    sender = RefundSender(database, channels, clock)
    worker = Worker(database, settlement, sender, clock, on_owed, pause, idle_seconds)
    book = settlement.subscriptions
    editor = RenewalEditor(database, bot, book, effects, clock, pause)
    reminders = Reminders(database, catalog, signer, clock, terms.remind_days)
    keeper = SubscriptionKeeper(database, book, editor, reminders, clock, on_owed, idle_seconds)
    checkouts = CheckoutDesk(
        database, catalog, signer, clock, timings.checkout_seconds, sells_by_card=payment_token is not None
    )
    ledger = TelegramLedger(bot)

    def wake() -> None:
        desk.wake()

    handler = TelegramPaymentHandler(bot, database, signer, checkouts, worker, clock, payment_token, keeper=keeper)
    admin_chat = AdminChat(database, clock, admins.group_id, on_owed)
    desk = Desk(
        settlement=settlement,
        checkouts=checkouts,
        recorder=Recorder(database, clock, admins, timings.record_seconds, ensure_active),
        worker=worker,
        keeper=keeper,
        outbox=outbox,
        whole_pass=WholePass(database, ledger, catalog, signer, clock, terms),
        reconciliation=Reconciliation(database, ledger, signer, clock, admins, on_recovered=wake),
        handler=handler,
        admin_chat=admin_chat,
        dispatcher=make_dispatcher(
            handler=handler,
            database=database,
            catalog=catalog,
            signer=signer,
            clock=clock,
            admins=admins,
            admin_chat=admin_chat,
            support_contact=support_contact,
            on_owed=on_owed,
            timings=timings,
        ),
    )
    return desk
