"""The storefront: it sends the invoice of a plan on sale, unless the buyer may not buy it."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from aiogram.filters.callback_data import CallbackData
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup
from loguru import logger

from bot.chat.refused_invoices import RefusedInvoices
from bot.chat.talk import Place, in_topic, is_topic_gone, say
from bot.chat.words import Words
from db.errors import is_away
from db.states import STARS_CURRENCY
from payments.sale.catalog import Catalog, Plan
from payments.sale.eligibility import Payer, PurchaseObstacle, Sale, find_obstacle
from payments.telegram import TelegramPaymentHandler
from payments.telegram_errors import is_refusal

if TYPE_CHECKING:
    from loguru import Logger

LOOKS_MAX: Final = 16
"""The number of questions to the database that may be under way at once."""

_CHAT_REFUSALS: Final = (
    "chat not found",
    "user not found",
    "group chat",
    "peer_id_invalid",
    "user_id_invalid",
    "chat_write_forbidden",
    "chat_restricted",
    "chat_admin_required",
    "not enough rights",
    "have no rights",
)
"""Telegram's words when it refuses the chat, and not the invoice."""


class CardButton(CallbackData, prefix="card"):
    """The data of a button under an invoice in Stars: the plan and the currency of its invoice by card."""

    code: str
    currency: str


class Storefront:
    """The plans on sale, and the invoices that buyers get for them."""

    def __init__(
        self,
        handler: TelegramPaymentHandler,
        catalog: Catalog,
        refused: RefusedInvoices,
        look_seconds: float,
        looks_max: int = LOOKS_MAX,
    ) -> None:
        """Make the storefront; `refused` tells the admins of invoices that Telegram refuses."""
        self._handler = handler
        self._refused = refused
        self._look_seconds = look_seconds
        self._looks_max = looks_max
        self._catalog = catalog
        self._looks: set[asyncio.Task[PurchaseObstacle | None]] = set()

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plans that /buy offers, in the order of the catalog."""
        return self._catalog.on_sale

    async def offer(
        self,
        bot: Bot,
        buyer_telegram_id: int,
        code: str,
        words: Words,
        currency: str = STARS_CURRENCY,
        *,
        topic_id: int | None,
    ) -> PurchaseObstacle | None:
        """Send a plan's invoice, or a subscription's button; return the obstacle to the sale if there is one.

        The message goes into the topic of the buyer's chat, if the caller names one. An invoice in Stars has a button
        for each currency in which a buyer can pay the plan by card. When Telegram refuses the invoice, the storefront
        tells the buyer so, with the ways to pay that are left, and tells the admins. While the database is away it
        sends the invoice all the same, because the pre-checkout asks again. Raises aiogram's errors.
        """
        plan = self._catalog.get(code)
        if plan is None:
            return PurchaseObstacle.NOT_ON_SALE
        card_prices = self._handler.card_prices(plan)
        price = plan.price_stars if currency == STARS_CURRENCY else card_prices.get(currency)
        if price is None:
            return PurchaseObstacle.NOT_ON_SALE
        sale = Sale(plan, buyer_telegram_id, plan.subscription)
        # The catalog decides first, without a query; then the buyer's access and subscriptions do.
        obstacle = find_obstacle(sale, Payer(buyer_telegram_id), is_paid=False) or await self._find_recorded_obstacle(
            sale
        )
        if obstacle is not None:
            return obstacle
        place = Place(buyer_telegram_id, topic_id)
        try:
            if plan.subscription:
                await self._send_button(bot, place, plan, words)
            else:
                await self._send_invoice(place, plan, currency, words)
        except TelegramBadRequest as error:
            if not is_invoice_refused(error):
                raise
            await self._refused.note(plan, currency, price, error.message)
            await self._tell_refused(bot, place, plan, currency, words)
            return None
        sent = logger.bind(telegram_id=buyer_telegram_id, plan=plan.code, price=price, currency=currency)
        sent.info("the storefront sent an invoice")
        return None

    async def _find_recorded_obstacle(self, sale: Sale) -> PurchaseObstacle | None:
        """Return the obstacle to a sale that is on record; None as well when the database is too slow to answer."""
        bound = _bound(sale)
        if len(self._looks) >= self._looks_max:
            bound.warning(
                "the storefront offers a plan without asking the database: {} questions wait", self._looks_max
            )
            return None
        look = asyncio.create_task(self._query_obstacle(sale))
        self._looks.add(look)
        look.add_done_callback(self._looks.discard)
        # asyncio.wait_for would wait for the cancelled query, which waits for the database.
        done, _ = await asyncio.wait({look}, timeout=self._look_seconds)
        if done:
            return look.result()
        bound.warning("the storefront offers a plan without asking the database: it does not answer")
        look.add_done_callback(_log_late_error)
        return None

    async def _query_obstacle(self, sale: Sale) -> PurchaseObstacle | None:
        try:
            return await self._handler.find_obstacle(sale)
        except Exception as error:
            if not is_away(error):
                raise
            _bound(sale).warning(
                "the storefront offers a plan without asking the database: it is away ({})", type(error).__name__
            )
            return None

    async def _send_invoice(self, place: Place, plan: Plan, currency: str, words: Words) -> None:
        card_prices = self._handler.card_prices(plan)
        keyboard = _ways_to_pay(plan, card_prices, words) if currency == STARS_CURRENCY and card_prices else None
        buyer = place.chat_id
        await in_topic(
            place.topic_id,
            lambda topic_id: self._handler.send_invoice(buyer, buyer, plan, currency, keyboard, topic_id=topic_id),
        )

    async def _send_button(self, bot: Bot, place: Place, plan: Plan, words: Words) -> None:
        link = await self._handler.create_invoice_link(place.chat_id, plan)
        price = words.money(plan.price_stars, STARS_CURRENCY)
        text = words.say("buy.subscription", title=plan.title, description=plan.description, price=price)
        button = InlineKeyboardButton(text=words.plain("button.subscribe", price=price), url=link)
        await say(bot, place, text, InlineKeyboardMarkup(inline_keyboard=[[button]]))

    async def _tell_refused(self, bot: Bot, place: Place, plan: Plan, currency: str, words: Words) -> None:
        """Tell the buyer that Telegram refuses an invoice, and name the ways to pay that are left."""
        ways = {} if plan.subscription else {STARS_CURRENCY: plan.price_stars, **self._handler.card_prices(plan)}
        left = {way: amount for way, amount in ways.items() if not self._refused.is_known(plan, way)}
        if not left:
            await say(bot, place, words.say("buy.refused", title=plan.title))
            return
        price = words.money(ways[currency], currency)
        keyboard = [[_way_button(plan, way, amount, words)] for way, amount in left.items()]
        text = words.say("buy.refused.other_ways", title=plan.title, price=price)
        await say(bot, place, text, InlineKeyboardMarkup(inline_keyboard=keyboard))


def _bound(sale: Sale) -> "Logger":
    """Return a log whose lines name the buyer and the plan of a sale."""
    return logger.bind(telegram_id=sale.buyer_telegram_id, plan=sale.plan.code if sale.plan else None)


def _log_late_error(look: asyncio.Task[PurchaseObstacle | None]) -> None:
    if not look.cancelled() and (error := look.exception()) is not None:
        logger.opt(exception=error).error(
            "a question of the storefront to the database failed after its plan was offered"
        )


def is_invoice_refused(error: TelegramBadRequest) -> bool:
    """Tell whether Telegram refuses an invoice for its content, and not for its chat.

    Telegram has many words for an invoice (Telegram API, messages.sendMedia), and few for a chat.
    """
    said = error.message.lower()
    return is_refusal(error) and not is_topic_gone(error) and not any(words in said for words in _CHAT_REFUSALS)


def _way_button(plan: Plan, currency: str, amount: int, words: Words) -> InlineKeyboardButton:
    if currency == STARS_CURRENCY:
        text = words.plain("button.plan", title=plan.title, price=words.money(amount, currency))
        return InlineKeyboardButton(text=text, callback_data=plan.code)
    text = words.plain("button.card", price=words.money(amount, currency))
    return InlineKeyboardButton(text=text, callback_data=CardButton(code=plan.code, currency=currency).pack())


def _ways_to_pay(plan: Plan, card_prices: Mapping[str, int], words: Words) -> InlineKeyboardMarkup:
    """Return the buttons below an invoice in Stars: the first one pays it (Bot API, sendInvoice)."""
    pay = words.plain("button.pay", price=words.money(plan.price_stars, STARS_CURRENCY))
    rows = [[InlineKeyboardButton(text=pay, pay=True)]]
    rows += [[_way_button(plan, currency, amount, words)] for currency, amount in card_prices.items()]
    return InlineKeyboardMarkup(inline_keyboard=rows)
