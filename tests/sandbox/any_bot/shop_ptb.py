"""A shop written with python-telegram-bot as anybody writes it, with nothing of Starledger's."""

import asyncio
from typing import Any

from telegram import InlineKeyboardButton, InlineKeyboardMarkup, LabeledPrice, Message, Update
from telegram.error import BadRequest
from telegram.ext import (
    ApplicationBuilder,
    CommandHandler,
    ContextTypes,
    MessageHandler,
    PreCheckoutQueryHandler,
    filters,
)

Context = ContextTypes.DEFAULT_TYPE


def message_of(update: Update) -> Message:
    if update.message is None:
        raise ValueError("these handlers are for messages")
    return update.message


async def start(update: Update, _: Context) -> None:
    await message_of(update).reply_markdown_v2(r"*Welcome*\. Send /buy or /join\.")


async def buy(update: Update, _: Context) -> None:
    await message_of(update).reply_invoice("A book", "About Stars", "book", "XTR", [LabeledPrice("A book", 50)])


async def join(update: Update, context: Context) -> None:
    link = await context.bot.create_invoice_link(
        "The club", "Every month", "club", "XTR", [LabeledPrice("The club", 70)], subscription_period=30 * 24 * 60 * 60
    )
    keyboard = InlineKeyboardMarkup([[InlineKeyboardButton("Join", url=link)]])
    await message_of(update).reply_text("The club", reply_markup=keyboard)


async def check(update: Update, _: Context) -> None:
    if update.pre_checkout_query is not None:
        await update.pre_checkout_query.answer(ok=True)


async def thank(update: Update, _: Context) -> None:
    message = message_of(update)
    if message.successful_payment is not None:
        await message.reply_html(f"Thank you: <code>{message.successful_payment.telegram_payment_charge_id}</code>")


async def refund(update: Update, context: Context) -> None:
    message = message_of(update)
    try:
        await context.bot.refund_star_payment(message.chat_id, " ".join(context.args or []))
    except BadRequest as refusal:
        await message.reply_text(refusal.message)
    else:
        await message.reply_text("It went back")


async def ledger(update: Update, context: Context) -> None:
    rows = stars = 0
    while page := (await context.bot.get_star_transactions(offset=rows, limit=2)).transactions:
        rows += len(page)
        stars += sum(int(row.amount) if row.source else -int(row.amount) for row in page)
    await message_of(update).reply_text(f"{rows} rows, {stars} Stars")


async def run(token: str, url: str) -> None:
    """Poll the Bot API server at `url` until cancelled."""
    shop: Any = ApplicationBuilder().token(token).base_url(f"{url}/bot").base_file_url(f"{url}/file/bot").build()
    for command in (start, buy, join, refund, ledger):
        shop.add_handler(CommandHandler(command.__name__, command))
    shop.add_handler(PreCheckoutQueryHandler(check))
    shop.add_handler(MessageHandler(filters.SUCCESSFUL_PAYMENT, thank))
    async with shop:
        await shop.start()
        await shop.updater.start_polling()
        try:
            await asyncio.Event().wait()
        finally:
            await shop.updater.stop()
            await shop.stop()
