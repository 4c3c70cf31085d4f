"""TelegramPaymentHandler, the front door of payments: every handler of the bot asks here for money matters.

It sends invoices, answers pre-checkouts, and settles charges, refunds and changes of subscriptions. The requests of
payments/payment_desk.py are part of it.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from aiogram import Bot
from aiogram.methods import SendInvoice
from aiogram.types import InlineKeyboardMarkup, LabeledPrice, Message

from db.clock import Clock
from db.engine import Database, Priority
from db.states import STARS_CURRENCY
from db.tables import StripeEvent
from db.users import find_user
from payments.audit import events, fact_rows
from payments.audit.facts import ChargeFact, MoneyFact, RefundFact, SubscriptionFact
from payments.checkout import CheckoutAnswer, CheckoutDesk, CheckoutQuery, find_obstacle_on_record
from payments.methods import STARS, method_of
from payments.metrics import INVOICES_SENT, PRE_CHECKOUTS
from payments.payment_desk import PaymentDesk
from payments.sale.catalog import Plan, order_of
from payments.sale.eligibility import PurchaseObstacle, Sale
from payments.sale.payload import Order, PayloadSigner
from payments.settlement.worker import Worker
from payments.subscriptions.chain import PERIOD
from payments.subscriptions.keeper import SubscriptionKeeper

__all__ = [
    "START_BUY",
    "CheckoutQuery",
    "TelegramPaymentHandler",
    "invoice_of",
]

START_BUY: Final = "buy_"
"""`/start buy_CODE` is `/buy CODE`: a forwarded invoice's button sends it (Bot API, sendInvoice: start_parameter)."""

UNTRIED_MAX: Final = 10
"""Charges of one buyer that one answer waits for."""


def invoice_of(plan: Plan, chat_id: int, order: Order, signer: PayloadSigner, provider_token: str) -> SendInvoice:
    """Return the Telegram call that sends a plan's invoice; Stars need an empty token (Bot API, sendInvoice)."""
    return SendInvoice(
        chat_id=chat_id,
        title=plan.title,
        description=plan.description,
        payload=signer.sign(order),
        currency=order.currency,
        prices=[LabeledPrice(label=plan.title, amount=order.amount)],
        provider_token=provider_token,
        start_parameter=START_BUY + plan.code,
    )


class TelegramPaymentHandler(PaymentDesk):
    """The payment desk with Telegram beside it; it knows buyers by their Telegram ids."""

    def __init__(
        self,
        bot: Bot,
        database: Database,
        signer: PayloadSigner,
        checkouts: CheckoutDesk,
        worker: Worker,
        clock: Clock,
        provider_token: str | None = None,
        *,
        keeper: SubscriptionKeeper,
    ) -> None:
        """Prepare; `provider_token` opens the channel of cards."""
        super().__init__(database, clock)
        self._bot = bot
        self._signer = signer
        self._checkouts = checkouts
        self._worker = worker
        self._keeper = keeper
        self._provider_token = provider_token

    def wake(self) -> None:
        """Wake the worker and the loop over subscriptions.

        A caller does so because something has become due.
        """
        self._worker.loop.wake()
        self._keeper.loop.wake()

    @property
    def grace(self) -> timedelta:
        """The time that access lasts after a failed renewal."""
        return self._keeper.terms.grace

    def card_prices(self, plan: Plan) -> Mapping[str, int]:
        """Return a plan's prices for cards by currency, in minor units; none while cards are off."""
        return {} if self._provider_token is None else plan.prices

    async def send_invoice(
        self,
        chat_id: int,
        buyer_telegram_id: int,
        plan: Plan,
        currency: str,
        keyboard: InlineKeyboardMarkup | None,
        *,
        topic_id: int | None,
    ) -> Message:
        """Send a plan's invoice into a chat, or into its topic `topic_id`.

        The desk writes no row, because the signed payload says all that it sells. Nobody else can pay a forwarded copy:
        its button opens the bot. Raises aiogram's errors, and ValueError when the plan has no price in the currency.
        """
        method = method_of(currency)
        provider_token = "" if method is STARS else self._provider_token or ""
        order = order_of(plan, buyer_telegram_id, currency)
        invoice = invoice_of(plan, chat_id, order, self._signer, provider_token)
        sent = await self._bot(invoice.model_copy(update={"reply_markup": keyboard, "message_thread_id": topic_id}))
        INVOICES_SENT.labels(method.name).inc()
        return sent

    async def create_invoice_link(self, buyer_telegram_id: int, plan: Plan) -> str:
        """Create a link that opens the payment window of a subscription for this buyer.

        Telegram sells subscriptions by links only (Bot API, createInvoiceLink: subscription_period). Raises aiogram's
        errors.
        """
        link = await self._bot.create_invoice_link(
            title=plan.title,
            description=plan.description,
            payload=self._signer.sign(order_of(plan, buyer_telegram_id)),
            currency=STARS_CURRENCY,
            prices=[LabeledPrice(label=plan.title, amount=plan.price_stars)],
            provider_token="",
            subscription_period=int(PERIOD.total_seconds()),
        )
        INVOICES_SENT.labels(STARS.name).inc()
        return link

    async def find_obstacle(self, sale: Sale) -> PurchaseObstacle | None:
        """Find, by the rows on record, the reason why a buyer may not buy a plan; None: the buyer may.

        Raises SQLAlchemy's errors when the database is away.
        """
        async with self._database.reading() as session:
            return await find_obstacle_on_record(session, sale, self._clock())

    async def validate_pre_checkout(self, query: CheckoutQuery) -> CheckoutAnswer:
        """Decide a pre-checkout within the deadline of payments/checkout.py, and count the verdict."""
        answer = await self._checkouts.decide(query)
        PRE_CHECKOUTS.labels(answer.value).inc()
        return answer

    async def handle_successful_payment(self, charge: ChargeFact, *, is_recorded: bool = False) -> StripeEvent | None:
        """Settle a charge, on record already or not; return its event. None: another process works on it.

        `is_recorded`: the caller has recorded this very charge, as the intake does, so the settlement need not compare
        it with its row first. Raises SQLAlchemy's errors when the database is away, and UnrecordableError when the
        charge contradicts its row.
        """
        settled = await self._worker.process(charge.event_id) if is_recorded else None
        return settled or await self._handle(charge)

    async def handle_refund(self, refund: RefundFact) -> StripeEvent | None:
        """Settle a refund that Telegram reports, made by anybody, as handle_successful_payment settles a charge."""
        return await self._handle(refund)

    async def handle_subscription(self, change: SubscriptionFact) -> None:
        """Settle a change of a subscription that Telegram has reported and the desk has recorded.

        Raises SQLAlchemy's errors when the database is away.
        """
        await self._keeper.settle(change)

    async def settle_untried(self, telegram_id: int) -> None:
        """Settle a buyer's charges on record that nobody has tried yet, the oldest first, at most UNTRIED_MAX.

        Raises the errors of handle_successful_payment.
        """
        async with self._database.reading() as session:
            user = await find_user(session, telegram_id)
            untried = await events.untried(session, user.id, UNTRIED_MAX) if user else ()
        for event_id in untried:
            await self._worker.process(event_id)

    async def _handle(self, fact: MoneyFact) -> StripeEvent | None:
        """Settle a charge or a refund, and record it first if the caller has not.

        The intake records before it dispatches; a program that embeds the desk may call with a fact of its own.
        """
        async with self._database.reading() as session:
            known = await fact_rows.find_fact_row(session, fact)
        # A refund requested here is on record before Telegram reports it.
        if known is None or known.webhook_timestamp is None:
            async with self._database.transaction(Priority.WORKER) as session:
                await fact_rows.record(session, [fact], self._clock())
                known = await fact_rows.find_fact_row(session, fact)
        return await self._worker.process(fact.event_id if known is None else known.event_id)
