"""A user's own account: /status with access and subscriptions, and /history with payments and refunds."""

from typing import Final

from aiogram import Bot, Router
from aiogram.types import CallbackQuery, InlineKeyboardMarkup, Message
from aiogram.utils.callback_answer import CallbackAnswer
from markupsafe import Markup

from bot.chat.bot_name import CommandHere
from bot.chat.history_pages import HistoryButton, HistoryPages
from bot.chat.moved_chats import AdminChat
from bot.chat.subscriptions import SubscriptionPages
from bot.chat.talk import answer, edit, place_of_button
from bot.chat.words import Words
from bot.handlers.places import IN_PRIVATE, is_own_chat
from db.clock import Clock
from payments.notices import Admins
from payments.telegram import TelegramPaymentHandler

SUBSCRIPTIONS_MAX: Final = 10
"""Subscriptions in one message: those whose date comes next."""


def make_router() -> Router:
    """Return the router of a user's account: /status, /history, and the buttons under any history."""
    router = Router(name="account")
    router.message.filter(IN_PRIVATE)
    router.message.register(on_status, CommandHere("status", ignore_case=True))
    router.message.register(on_history, CommandHere("history", ignore_case=True))
    router.callback_query.register(on_page_button, HistoryButton.filter())
    return router


async def on_status(
    message: Message, words: Words, clock: Clock, payments: TelegramPaymentHandler, subscriptions: SubscriptionPages
) -> None:
    """Answer /status with the open access and its ends, and with the subscriptions, a button for each.

    It first settles a payment made just before the command, because the person asks about it.
    """
    await payments.settle_untried(message.chat.id)
    now = clock()
    account = await payments.read_account(message.chat.id, now)
    if account is None or not (account.holdings or account.subscriptions):
        await answer(message, words.say("status.nothing"))
        return
    holdings, rows = account.holdings, account.subscriptions[:SUBSCRIPTIONS_MAX]
    lines = [words.access(each.entitlement_type, subscriptions.until(each, rows), now) for each in holdings]
    lines += [subscriptions.line(words, row) for row in rows]
    for_life = {each.entitlement_type for each in holdings if each.expires_at is None}
    buttons = [subscriptions.button(words, row, for_life) for row in rows]
    keyboard = InlineKeyboardMarkup(inline_keyboard=[[button] for button in buttons if button is not None])
    await answer(
        message,
        Markup("\n").join([words.say("status.title"), *lines]),
        keyboard if keyboard.inline_keyboard else None,
    )


async def on_history(message: Message, words: Words, history: HistoryPages) -> None:
    """Answer /history with the newest page of the user's own payments and refunds."""
    page = await history.show(words, HistoryButton(telegram_id=message.chat.id))
    if page is None:
        await answer(message, words.say("history.nothing"))
    else:
        await answer(message, page.text, keyboard=page.keyboard)


async def on_page_button(
    query: CallbackQuery,
    callback_data: HistoryButton,
    bot: Bot,
    words: Words,
    history: HistoryPages,
    admins: Admins,
    admin_chat: AdminChat,
    callback_answer: CallbackAnswer,
) -> None:
    """Turn a history to another page; an alert refuses a page that is not the presser's, or not there.

    It turns an admin's page only where an admin may ask for it, because strangers would read it elsewhere.
    """
    sender_id, place = query.from_user.id, place_of_button(query)
    may_see = is_own_chat(place, sender_id) and sender_id == callback_data.telegram_id
    if callback_data.for_admin:
        is_here = is_own_chat(place, sender_id) or await admin_chat.is_it(place.chat_id)
        may_see = sender_id in admins.ids and is_here
    page = await history.show(words, callback_data) if may_see else None
    if page is None:
        callback_answer.text = words.plain("toast.stale")
        callback_answer.show_alert = True
        return
    await edit(bot, place, page.text, page.keyboard)
