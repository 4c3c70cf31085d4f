"""Telegram's updates about subscriptions, and the buttons to cancel one, after a question, or to resume it."""

from aiogram import Bot, Router
from aiogram.types import CallbackQuery
from aiogram.utils.callback_answer import CallbackAnswer

from bot.chat.subscriptions import SubscriptionButton, SubscriptionPages, Wish
from bot.chat.talk import edit, place_of_button, say
from bot.chat.words import Words
from bot.handlers.places import is_own_chat
from payments.audit.facts import SubscriptionFact
from payments.telegram import TelegramPaymentHandler


def make_router() -> Router:
    """Return the router of subscriptions."""
    router = Router(name="subscriptions")
    router.subscription.register(on_change)
    router.callback_query.register(on_button, SubscriptionButton.filter())
    return router


async def on_change(_: object, fact: SubscriptionFact, payments: TelegramPaymentHandler) -> None:
    """Settle a subscription's change of state, which is on record."""
    await payments.handle_subscription(fact)


async def on_button(
    query: CallbackQuery,
    callback_data: SubscriptionButton,
    bot: Bot,
    words: Words,
    subscriptions: SubscriptionPages,
    callback_answer: CallbackAnswer,
) -> None:
    """Carry out a subscription's button; an alert refuses one of somebody else's subscription, or out of date.

    It answers a second tap with the result of the first.
    """
    wish, place = callback_data.wish, place_of_button(query)
    sender_id, subscription_id = query.from_user.id, callback_data.subscription_id
    row = await subscriptions.press(wish, subscription_id, sender_id) if is_own_chat(place, sender_id) else None
    if row is not None:
        text, keyboard = subscriptions.answer(words, wish, row)
        await (edit if wish in {Wish.CANCEL_NOW, Wish.KEEP} else say)(bot, place, text, keyboard)
    elif is_own_chat(place, sender_id) and await subscriptions.is_done(wish, subscription_id, sender_id):
        callback_answer.text = words.plain("toast.resumed" if wish is Wish.RESUME else "toast.cancelled")
    else:
        callback_answer.text = words.plain("toast.stale")
        callback_answer.show_alert = True
