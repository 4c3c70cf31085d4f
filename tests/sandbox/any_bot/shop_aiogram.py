"""A shop written with aiogram as anybody writes it: a Dispatcher that polls, nothing of Starledger's."""

from aiogram import Bot, Dispatcher, F
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import TelegramBadRequest
from aiogram.filters import Command, CommandObject
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup, LabeledPrice, Message, PreCheckoutQuery

shop = Dispatcher()


@shop.message(Command("start"))
async def start(message: Message) -> None:
    await message.answer(r"*Welcome*\. Send /buy or /join\.", parse_mode="MarkdownV2")


@shop.message(Command("buy"))
async def buy(message: Message) -> None:
    prices = [LabeledPrice(label="A book", amount=50)]
    await message.answer_invoice("A book", "About Stars", "book", "XTR", prices)


@shop.message(Command("join"))
async def join(message: Message, bot: Bot) -> None:
    prices = [LabeledPrice(label="The club", amount=70)]
    link = await bot.create_invoice_link(
        "The club", "Every month", "club", "XTR", prices, subscription_period=30 * 24 * 60 * 60
    )
    button = InlineKeyboardButton(text="Join", url=link)
    await message.answer("The club", reply_markup=InlineKeyboardMarkup(inline_keyboard=[[button]]))


@shop.pre_checkout_query()
async def check(query: PreCheckoutQuery) -> None:
    await query.answer(ok=True)


@shop.message(F.successful_payment)
async def thank(message: Message) -> None:
    if message.successful_payment is not None:
        charge_id = message.successful_payment.telegram_payment_charge_id
        await message.answer(f"Thank you: <code>{charge_id}</code>", parse_mode="HTML")


@shop.message(Command("refund"))
async def refund(message: Message, command: CommandObject, bot: Bot) -> None:
    try:
        await bot.refund_star_payment(message.chat.id, command.args or "")
    except TelegramBadRequest as refusal:
        await message.answer(refusal.message)
    else:
        await message.answer("It went back")


@shop.message(Command("ledger"))
async def ledger(message: Message, bot: Bot) -> None:
    rows = stars = 0
    while page := (await bot.get_star_transactions(offset=rows, limit=2)).transactions:
        rows += len(page)
        stars += sum(row.amount if row.source else -row.amount for row in page)
    await message.answer(f"{rows} rows, {stars} Stars")


async def run(token: str, url: str) -> None:
    """Poll the Bot API server at `url` until cancelled."""
    async with Bot(token, session=AiohttpSession(api=TelegramAPIServer.from_base(url))) as bot:
        await shop.start_polling(bot, handle_signals=False)
