"""The shop: /buy, /buy CODE, /start buy_CODE and the buttons under the plans, answered with plans and invoices."""

from collections.abc import Sequence
from typing import Final

from aiogram import Bot, F, Router
from aiogram.filters import CommandObject
from aiogram.types import CallbackQuery, InlineKeyboardButton, InlineKeyboardMarkup, Message
from aiogram.utils.callback_answer import CallbackAnswer

from bot.chat.bot_name import CommandHere
from bot.chat.storefront import CardButton, Storefront
from bot.chat.talk import answer, place_of_button, topic_of
from bot.chat.words import Words
from bot.handlers.places import IN_PRIVATE, is_own_chat
from db.states import STARS_CURRENCY
from payments.sale.catalog import Plan
from payments.sale.eligibility import PurchaseObstacle
from payments.sale.payload import CODE_PATTERN
from payments.telegram import START_BUY

_PLAN_BUTTON: Final = F.data.regexp(rf"{CODE_PATTERN}\Z")
"""The data of a plan's button is its code and no more; the data of all other buttons has a colon."""


def make_router() -> Router:
    """Return the router of the shop."""
    router = Router(name="shop")
    router.message.filter(IN_PRIVATE)
    router.message.register(on_buy, CommandHere("buy", ignore_case=True))
    router.message.register(on_buy_link, CommandHere("start", ignore_case=True, magic=F.args.startswith(START_BUY)))
    router.callback_query.register(on_plan_button, _PLAN_BUTTON)
    router.callback_query.register(on_card_button, CardButton.filter())
    return router


async def on_buy(message: Message, command: CommandObject, bot: Bot, words: Words, storefront: Storefront) -> None:
    """Answer /buy with the plans, and /buy CODE with that plan's invoice at once."""
    if command.args:
        await _sell(message, command.args, bot, words, storefront)
    elif storefront.plans:
        await answer(message, words.say("buy.choose"), keyboard=_keyboard(words, storefront.plans))
    else:
        await answer(message, words.say("buy.nothing"))


async def on_buy_link(message: Message, command: CommandObject, bot: Bot, words: Words, storefront: Storefront) -> None:
    """Answer /start buy_CODE, which a forwarded invoice's button sends, as /buy CODE."""
    await _sell(message, (command.args or "").removeprefix(START_BUY), bot, words, storefront)


async def on_plan_button(
    query: CallbackQuery, bot: Bot, words: Words, storefront: Storefront, callback_answer: CallbackAnswer
) -> None:
    """Send the invoice of the chosen plan; an alert tells that the button's plan is no longer on sale."""
    code, topic_id = query.data or "", _topic_of(query)
    obstacle = await storefront.offer(bot, query.from_user.id, code, words, topic_id=topic_id)
    _answer(callback_answer, words, obstacle)


async def on_card_button(
    query: CallbackQuery,
    callback_data: CardButton,
    bot: Bot,
    words: Words,
    storefront: Storefront,
    callback_answer: CallbackAnswer,
) -> None:
    """Send the invoice by card beside the one in Stars, made out to the presser of the button."""
    wanted = callback_data
    buyer_id, topic_id = query.from_user.id, _topic_of(query)
    obstacle = await storefront.offer(bot, buyer_id, wanted.code, words, wanted.currency, topic_id=topic_id)
    _answer(callback_answer, words, obstacle)


def _answer(callback_answer: CallbackAnswer, words: Words, obstacle: PurchaseObstacle | None) -> None:
    if obstacle is not None:
        callback_answer.text = words.plain(f"toast.{obstacle}")
        callback_answer.show_alert = True


def _topic_of(query: CallbackQuery) -> int | None:
    """Return the topic of a pressed button in the presser's own chat; None where no invoice may go."""
    place = place_of_button(query)
    return place.topic_id if is_own_chat(place, query.from_user.id) else None


async def _sell(message: Message, code: str, bot: Bot, words: Words, storefront: Storefront) -> None:
    # The chat is private, so its id is the buyer's.
    obstacle = await storefront.offer(bot, message.chat.id, code.strip().lower(), words, topic_id=topic_of(message))
    if obstacle is PurchaseObstacle.HELD_FOR_LIFE:
        await answer(message, words.say("buy.for_life"))
    elif obstacle is PurchaseObstacle.SUBSCRIBED:
        await answer(message, words.say("buy.subscribed"))
    elif obstacle is PurchaseObstacle.NOT_ON_SALE and storefront.plans:
        await answer(message, words.say("buy.unknown"), keyboard=_keyboard(words, storefront.plans))
    elif obstacle is PurchaseObstacle.NOT_ON_SALE:
        await answer(message, words.say("buy.nothing"))


def _keyboard(words: Words, plans: Sequence[Plan]) -> InlineKeyboardMarkup:
    rows = []
    for plan in plans:
        text = words.plain("button.plan", title=plan.title, price=words.money(plan.price_stars, STARS_CURRENCY))
        rows.append([InlineKeyboardButton(text=text, callback_data=plan.code)])
    return InlineKeyboardMarkup(inline_keyboard=rows)
