"""A shop's bot without a database: the least that aiogram costs for a purchase."""

import asyncio
import logging
import os
from typing import Final

from aiogram import Bot, Dispatcher, F
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.filters import Command
from aiogram.types import (
    CallbackQuery,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    LabeledPrice,
    Message,
    PreCheckoutQuery,
)

PLAN: Final = "premium_monthly"
TITLE: Final = "Premium, 30 days"
STARS: Final = 200

shop = Dispatcher()


@shop.message(Command("buy"))
async def show_plans(message: Message) -> None:
    """Answer /buy with the plan's button."""
    button = InlineKeyboardButton(text=f"{TITLE} for {STARS} Stars", callback_data=PLAN)
    await message.answer("Choose a plan:", reply_markup=InlineKeyboardMarkup(inline_keyboard=[[button]]))


@shop.callback_query(F.data == PLAN)
async def send_invoice(query: CallbackQuery, bot: Bot) -> None:
    """Answer the plan's button with the invoice."""
    prices = [LabeledPrice(label=TITLE, amount=STARS)]
    await bot.send_invoice(query.from_user.id, TITLE, "Everything, for 30 days", PLAN, "XTR", prices)
    await query.answer()


@shop.pre_checkout_query()
async def accept(query: PreCheckoutQuery) -> None:
    """Answer a pre-checkout query: yes."""
    await query.answer(ok=True)


@shop.message(F.successful_payment)
async def thank(message: Message) -> None:
    """Answer a payment with the confirmation."""
    await message.answer("Thank you! Your access is open.")


async def run() -> None:
    """Poll the Bot API server of the environment until a signal."""
    logging.basicConfig(level=logging.INFO)
    server = TelegramAPIServer.from_base(os.environ["TELEGRAM_API_URL"])
    async with Bot(os.environ["TELEGRAM_BOT_TOKEN"], session=AiohttpSession(api=server)) as bot:
        await shop.start_polling(bot)


if __name__ == "__main__":
    asyncio.run(run())
