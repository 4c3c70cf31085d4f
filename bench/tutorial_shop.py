"""A shop as a tutorial writes it: aiogram and SQLAlchemy, a table of payments, one of customers, two commits a payment.

It keeps none of the desk's promises: a crash between the two commits loses the access, a repeated update fails, and
nothing can be refunded, told again or compared with Telegram's ledger.
"""

import asyncio
import logging
import os
from datetime import UTC, datetime, timedelta
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
from sqlalchemy import BigInteger, DateTime
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bench.bare_bot import PLAN, STARS, TITLE

SQLITE_BUSY_SECONDS: Final = 60


class Base(DeclarativeBase):
    """The base of the shop's tables."""


class Customer(Base):
    """A customer, and the end of the paid time."""

    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    paid_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Payment(Base):
    """A payment in Stars."""

    __tablename__ = "payments"
    id: Mapped[int] = mapped_column(primary_key=True)
    charge_id: Mapped[str] = mapped_column(unique=True)
    customer_id: Mapped[int] = mapped_column(BigInteger)
    stars: Mapped[int]
    paid_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


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
async def open_access(message: Message, sessions: async_sessionmaker[AsyncSession]) -> None:
    """Record a payment, open the access, and answer with the confirmation."""
    paid, now, customer_id = message.successful_payment, datetime.now(UTC), message.chat.id
    if paid is None:
        return
    charge_id = paid.telegram_payment_charge_id
    async with sessions() as session:
        session.add(Payment(charge_id=charge_id, customer_id=customer_id, stars=paid.total_amount, paid_at=now))
        await session.commit()
    async with sessions() as session:
        customer = await session.get(Customer, customer_id)
        if customer is None:
            customer = Customer(id=customer_id)
            session.add(customer)
        customer.paid_until = (customer.paid_until or now) + timedelta(days=30)
        await session.commit()
    await message.answer("Thank you! Your access is open.")


async def run() -> None:
    """Make the tables, and poll the Bot API server of the environment until a signal."""
    logging.basicConfig(level=logging.INFO)
    # By its own default SQLite gives up a locked file after five seconds, and a buyer of a busy machine gets no answer.
    patience = {"timeout": SQLITE_BUSY_SECONDS} if os.environ["DATABASE_URL"].startswith("sqlite") else {}
    engine = create_async_engine(os.environ["DATABASE_URL"], connect_args=patience)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    server = TelegramAPIServer.from_base(os.environ["TELEGRAM_API_URL"])
    async with Bot(os.environ["TELEGRAM_BOT_TOKEN"], session=AiohttpSession(api=server)) as bot:
        await shop.start_polling(bot, sessions=async_sessionmaker(engine, expire_on_commit=False))
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(run())
