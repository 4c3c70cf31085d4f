"""What is offered, and to whom: the step before an invoice."""

import enum
from collections.abc import Mapping

from aiogram import Bot
from aiogram.filters.callback_data import CallbackData
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup
from loguru import logger

from bot.words import Words
from db.clock import Clock
from db.engine import Database
from db.tables import STARS_CURRENCY, User
from entitlements import EntitlementService
from payments.catalog import Catalog, Plan
from payments.subscriptions import running
from payments.telegram import TelegramPaymentHandler


class Refusal(enum.StrEnum):
    """Why somebody gets no invoice."""

    NOT_ON_SALE = "not_on_sale"
    HELD_FOR_LIFE = "held_for_life"
    SUBSCRIBED = "subscribed"


class CardButton(CallbackData, prefix="card"):
    """What a button under an invoice in Stars holds: the plan that it brings an invoice of, to be paid by card."""

    code: str
    currency: str


class Storefront:
    """The plans on sale, and their invoices for buyers known by their Telegram ids."""

    def __init__(self, handler: TelegramPaymentHandler, database: Database, catalog: Catalog, clock: Clock) -> None:
        self._handler = handler
        self._database = database
        self._clock = clock
        self._by_code = {plan.code: plan for plan in catalog.on_sale}

    @property
    def plans(self) -> tuple[Plan, ...]:
        """What /buy offers, in the order of the catalog."""
        return tuple(self._by_code.values())

    async def offer(
        self, bot: Bot, buyer_telegram_id: int, code: str, words: Words, currency: str = STARS_CURRENCY
    ) -> Refusal | None:
        """Send a plan's invoice, or a subscription's button, to the buyer, unless there is a reason not to.

        One in Stars has a button for each currency in which the plan can be paid by card.
        Raises aiogram's errors, and SQLAlchemy's errors when the database is away.
        """
        plan = self._by_code.get(code)
        if plan is None:
            return Refusal.NOT_ON_SALE
        card_prices = self._handler.card_prices(plan)
        price = plan.price_stars if currency == STARS_CURRENCY else card_prices.get(currency)
        if price is None:
            return Refusal.NOT_ON_SALE
        buyer, now = User.telegram_id == buyer_telegram_id, self._clock()
        async with self._database.reading() as session:
            held = await EntitlementService(session).held_for_life(buyer, None)
            subscribed = await running.opened(session, buyer, now) if plan.subscription else frozenset()
        if held.issuperset(plan.entitlements):
            return Refusal.HELD_FOR_LIFE
        if not subscribed.isdisjoint(plan.entitlements):
            return Refusal.SUBSCRIBED
        if plan.subscription:
            await self._send_button(bot, buyer_telegram_id, plan, words)
        else:
            keyboard = _ways_to_pay(plan, card_prices, words) if currency == STARS_CURRENCY and card_prices else None
            await self._handler.send_invoice(buyer_telegram_id, buyer_telegram_id, plan, currency, keyboard)
        sent = logger.bind(telegram_id=buyer_telegram_id, plan=plan.code, price=price, currency=currency)
        sent.info("an invoice was sent")
        return None

    async def _send_button(self, bot: Bot, buyer_telegram_id: int, plan: Plan, words: Words) -> None:
        link = await self._handler.create_invoice_link(buyer_telegram_id, plan)
        price = words.money(plan.price_stars, STARS_CURRENCY)
        text = words.say("buy.subscription", title=plan.title, description=plan.description, price=price)
        button = InlineKeyboardButton(text=words.plain("button.subscribe", price=price), url=link)
        keyboard = InlineKeyboardMarkup(inline_keyboard=[[button]])
        await bot.send_message(buyer_telegram_id, text, reply_markup=keyboard)


def _ways_to_pay(plan: Plan, card_prices: Mapping[str, int], words: Words) -> InlineKeyboardMarkup:
    """Return the buttons of an invoice in Stars: the first one pays it (Bot API, sendInvoice: reply_markup)."""
    pay = words.plain("button.pay", price=words.money(plan.price_stars, STARS_CURRENCY))
    rows = [[InlineKeyboardButton(text=pay, pay=True)]]
    for currency, amount in card_prices.items():
        text = words.plain("button.card", price=words.money(amount, currency))
        rows.append(
            [InlineKeyboardButton(text=text, callback_data=CardButton(code=plan.code, currency=currency).pack())]
        )
    return InlineKeyboardMarkup(inline_keyboard=rows)
