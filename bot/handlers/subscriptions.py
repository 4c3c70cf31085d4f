"""What Telegram tells of subscriptions, and the buttons below them: cancel, after a question, and take up again."""

from aiogram import Bot, Router
from aiogram.types import CallbackQuery
from aiogram.utils.callback_answer import CallbackAnswer

from bot.subscriptions import SubscriptionButton, SubscriptionDesk, Wish
from bot.words import Words
from payments.facts import SubscriptionFact


def make_router() -> Router:
    """Return the router of subscriptions."""
    router = Router(name="subscriptions")
    router.subscription.register(on_change)
    router.callback_query.register(on_button, SubscriptionButton.filter())
    return router


async def on_change(_: object, fact: SubscriptionFact, subscriptions: SubscriptionDesk) -> None:
    """Settle a change of state that is on record."""
    await subscriptions.settle(fact)


async def on_button(
    query: CallbackQuery,
    callback_data: SubscriptionButton,
    bot: Bot,
    words: Words,
    subscriptions: SubscriptionDesk,
    callback_answer: CallbackAnswer,
) -> None:
    """Do what a button says; one of another's subscription, or one that is out of date, is refused by an alert."""
    wish = callback_data.wish
    row = await subscriptions.press(wish, callback_data.subscription_id, query.from_user.id)
    if row is None or query.message is None:
        callback_answer.text = words.plain("toast.stale")
        callback_answer.show_alert = True
        return
    text, keyboard = subscriptions.answer(words, wish, row)
    # By its ids: of a message that is too old, Telegram sends nothing else (Bot API, InaccessibleMessage).
    chat_id, message_id = query.message.chat.id, query.message.message_id
    if wish in {Wish.CANCEL_NOW, Wish.KEEP}:
        await bot.edit_message_text(text, chat_id=chat_id, message_id=message_id, reply_markup=keyboard)
    else:
        await bot.send_message(chat_id, text, reply_markup=keyboard)
