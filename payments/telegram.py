"""Telegram's side of every payment, in Stars or by card: invoices out, pre-checkouts answered, charges in."""

from collections.abc import Mapping
from typing import Final

from aiogram import Bot
from aiogram.methods import SendInvoice
from aiogram.types import InlineKeyboardMarkup, LabeledPrice, Message

from db.clock import Clock
from db.engine import Database, Priority
from db.tables import STARS_CURRENCY, StripeEvent
from payments.audit import events
from payments.audit.facts import ChargeFact, MoneyFact, RefundFact
from payments.checkout import CheckoutAnswer, CheckoutDesk, CheckoutQuery
from payments.methods import STARS, method_of
from payments.metrics import INVOICES_SENT, PRE_CHECKOUTS
from payments.sale.catalog import Plan
from payments.sale.payload import Order, PayloadSigner
from payments.settlement.worker import Worker
from payments.subscriptions.chain import PERIOD

START_BUY: Final = "buy_"
"""`/start buy_CODE` is `/buy CODE`: what a forwarded copy opens (Bot API, sendInvoice: start_parameter)."""


def order_of(plan: Plan, buyer_telegram_id: int, currency: str = STARS_CURRENCY) -> Order:
    """Return the order of a plan by this buyer; raises ValueError when it has no price in the currency."""
    amount = plan.price(currency)
    if amount is None:
        raise ValueError(f"the plan {plan.code} has no price in {currency}")
    return Order(
        plan=plan.code,
        days=plan.days,
        subscription=plan.subscription,
        amount=amount,
        currency=currency,
        buyer_telegram_id=buyer_telegram_id,
    )


def invoice_of(plan: Plan, chat_id: int, order: Order, signer: PayloadSigner, provider_token: str = "") -> SendInvoice:
    """Return the call that sends a plan's invoice to a chat; the token is empty for Stars (Bot API, sendInvoice)."""
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


class TelegramPaymentHandler:
    """What the bot's handlers ask about payments. Buyers are known by their Telegram ids."""

    def __init__(
        self,
        bot: Bot,
        database: Database,
        signer: PayloadSigner,
        desk: CheckoutDesk,
        worker: Worker,
        clock: Clock,
        provider_token: str | None = None,
    ) -> None:
        """Prepare; `provider_token` opens the channel of cards."""
        self._bot = bot
        self._database = database
        self._signer = signer
        self._desk = desk
        self._worker = worker
        self._clock = clock
        self._provider_token = provider_token

    def card_prices(self, plan: Plan) -> Mapping[str, int]:
        """Return the prices that a plan can be paid by card for now, by currency, in minor units."""
        return {} if self._provider_token is None else plan.prices

    async def send_invoice(
        self,
        chat_id: int,
        buyer_telegram_id: int,
        plan: Plan,
        currency: str = STARS_CURRENCY,
        keyboard: InlineKeyboardMarkup | None = None,
        *,
        topic_id: int | None = None,
    ) -> Message:
        """Send a plan's invoice, into a topic of the chat if one is given.

        Its signed payload says all that was sold, so nothing is written here.

        A forwarded copy opens the bot instead of being paid by somebody else. Raises aiogram's errors, and
        ValueError when the plan has no price in the currency.
        """
        method = method_of(currency)
        provider_token = "" if method is STARS else self._provider_token or ""
        order = order_of(plan, buyer_telegram_id, currency)
        invoice = invoice_of(plan, chat_id, order, self._signer, provider_token)
        sent = await self._bot(invoice.model_copy(update={"reply_markup": keyboard, "message_thread_id": topic_id}))
        INVOICES_SENT.labels(method.name).inc()
        return sent

    async def create_invoice_link(self, buyer_telegram_id: int, plan: Plan) -> str:
        """Return a link that opens the payment window of a subscription, to be paid by this buyer.

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

    async def validate_pre_checkout(self, query: CheckoutQuery) -> CheckoutAnswer:
        """Decide a pre-checkout query within the deadline of payments/checkout.py."""
        answer = await self._desk.decide(query)
        PRE_CHECKOUTS.labels(answer.value).inc()
        return answer

    async def handle_successful_payment(self, charge: ChargeFact) -> StripeEvent | None:
        """Settle a charge, recorded before or not; return its event, None when another process is at it.

        Raises SQLAlchemy's errors when the database is away, and UnrecordableError when the charge contradicts its row.
        """
        return await self._handle(charge)

    async def handle_refund(self, refund: RefundFact) -> StripeEvent | None:
        """Settle a refund that Telegram tells of, whoever made it; as handle_successful_payment."""
        return await self._handle(refund)

    async def _handle(self, fact: MoneyFact) -> StripeEvent | None:
        async with self._database.reading() as session:
            known = await events.find_told(session, fact)
        # A refund that was asked for here is on record before Telegram has told of it.
        if known is None or known.webhook_timestamp is None:
            async with self._database.transaction(Priority.WORKER) as session:
                await events.record(session, [fact], self._clock())
                known = await events.find_told(session, fact)
        return await self._worker.process(fact.event_id if known is None else known.event_id)
